//! A TCP proxy that lets a number of client bytes through, then holds or cuts the connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long bytes may take to pass on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// What happens once the bytes have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Hold,
    Cut,
}

struct State {
    target: Mutex<String>,
    passed: AtomicU64,
    /// The limit on bytes passed in total, applied once.
    stop: Mutex<Option<(u64, Then)>>,
    is_held: watch::Sender<bool>,
    cut: watch::Sender<u32>,
}

/// A running proxy.
pub(crate) struct Gate {
    /// Its address, in the form of a server URL.
    pub(crate) url: String,
    state: Arc<State>,
    _task: JoinSet<()>,
}

impl Gate {
    /// Starts a gate in front of a server such as `http://127.0.0.1:8080`.
    pub(crate) async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            target: Mutex::new(server.to_owned()),
            passed: AtomicU64::new(0),
            stop: Mutex::new(None),
            is_held: watch::channel(false).0,
            cut: watch::channel(0).0,
        });
        let shared = Arc::clone(&state);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (state, mut cut) = (Arc::clone(&shared), shared.cut.subscribe());
                open.spawn(async move {
                    tokio::select! {
                        () = state.pass(client) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { url, state, _task: task }
    }

    /// Cuts every connection, once, after this many client bytes in total.
    pub(crate) fn cut_after(&self, bytes: u64) {
        *self.state.stop.lock().unwrap() = Some((bytes, Then::Cut));
    }

    /// Holds everything after this many client bytes in total.
    pub(crate) fn hold_after(&self, bytes: u64) {
        *self.state.stop.lock().unwrap() = Some((bytes, Then::Hold));
    }

    /// Waits until bytes are being held.
    pub(crate) async fn wait_until_held(&self) {
        let mut is_held = self.state.is_held.subscribe();
        let held = tokio::time::timeout(PATIENCE, is_held.wait_for(|is_held| *is_held));
        held.await.unwrap_or_else(|_| panic!("{} bytes passed, none held", self.passed())).unwrap();
    }

    /// Lets everything through again.
    pub(crate) fn release(&self) {
        *self.state.stop.lock().unwrap() = None;
        self.state.is_held.send_replace(false);
    }

    /// Forwards to another server from now on and cuts open connections.
    pub(crate) fn redirect_to(&self, server: &str) {
        server.clone_into(&mut self.state.target.lock().unwrap());
        self.state.cut.send_modify(|cuts| *cuts += 1);
        self.release();
    }

    /// Client bytes that have passed.
    pub(crate) fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::SeqCst)
    }
}

impl State {
    async fn pass(&self, client: TcpStream) {
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let target = target.trim_start_matches("http://");
        // An unavailable server closes the connection.
        let Ok(server) = TcpStream::connect(target).await else { return };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let responses = tokio::io::copy(&mut from_server, &mut to_client);
        let requests = async {
            let mut bytes = vec![0; 64 * 1024];
            loop {
                let count = from_client.read(&mut bytes).await.unwrap_or(0);
                if count == 0 || to_server.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
                let passed = self.passed.fetch_add(count as u64, Ordering::SeqCst) + count as u64;
                let stop = *self.stop.lock().unwrap_or_else(PoisonError::into_inner);
                match stop {
                    Some((at, Then::Cut)) if passed >= at => {
                        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = None;
                        self.cut.send_modify(|cuts| *cuts += 1);
                        return;
                    }
                    Some((at, Then::Hold)) if passed >= at => {
                        let mut is_held = self.is_held.subscribe();
                        self.is_held.send_replace(true);
                        // The gate may have been dropped.
                        let _ = is_held.wait_for(|is_held| !is_held).await;
                    }
                    _ => {}
                }
            }
        };
        tokio::select! {
            _ = responses => {}
            () = requests => {}
        }
    }
}
