//! A TCP proxy before PostgreSQL that fails as networks do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fault {
    /// Not at all.
    None,
    /// Connections are refused, and those that are there end.
    Away,
    /// The next COMMIT is not handed on; its connection ends. Then nothing fails.
    CommitLost,
    /// The next COMMIT is handed on, but not its answer; its connection ends. Then nothing fails.
    AnswerLost,
}

/// A running proxy.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: String,
    fault: Arc<AtomicU8>,
    cut: watch::Sender<()>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Starts one before the server at `target`, as `host:port`.
    pub(crate) async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (fault, (cut, _)) = (Arc::new(AtomicU8::new(0)), watch::channel(()));
        let (shared, cuts) = (Arc::clone(&fault), cut.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if shared.load(Ordering::SeqCst) == Fault::Away as u8 {
                    continue;
                }
                let server = TcpStream::connect(&target).await.unwrap();
                let (fault, mut ended) = (Arc::clone(&shared), cuts.subscribe());
                open.spawn(async move {
                    tokio::select! {
                        () = pass(client, server, &fault) => {}
                        _ = ended.changed() => {}
                    }
                });
            }
        });
        Self { address, fault, cut, _task: task }
    }

    /// From now on it fails so.
    pub(crate) fn fails(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
        if fault == Fault::Away {
            // Nobody may be connected.
            let _ = self.cut.send(());
        }
    }

    /// Whether a fault for one COMMIT has come.
    pub(crate) fn has_failed(&self) -> bool {
        self.fault.load(Ordering::SeqCst) == Fault::None as u8
    }
}

async fn pass(client: TcpStream, server: TcpStream, fault: &AtomicU8) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::io::copy(&mut from_server, &mut to_client);
    let questions = async {
        let mut bytes = vec![0; 64 * 1024];
        loop {
            let count = from_client.read(&mut bytes).await.unwrap_or(0);
            if count == 0 {
                return None;
            }
            let is_commit = bytes[..count].windows(6).any(|six| six == b"COMMIT");
            for lost in [Fault::CommitLost, Fault::AnswerLost] {
                let none = Fault::None as u8;
                if is_commit
                    && fault
                        .compare_exchange(lost as u8, none, Ordering::SeqCst, Ordering::SeqCst)
                        .is_ok()
                {
                    return Some((lost, bytes[..count].to_vec()));
                }
            }
            if to_server.write_all(&bytes[..count]).await.is_err() {
                return None;
            }
        }
    };
    let lost = tokio::select! {
        lost = questions => lost,
        _ = answers => None,
    };
    if let Some((Fault::AnswerLost, commit)) = lost {
        // Its answer comes when it is done; nobody hears of it.
        let _ = to_server.write_all(&commit).await;
        let _ = from_server.read(&mut [0; 1024]).await;
    }
}
