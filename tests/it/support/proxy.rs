//! A TCP proxy before PostgreSQL or a store that fails as networks and servers do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not at all.
    None,
    /// Connections end at once, also those that are there.
    Away,
    /// Each connection ends after so many bytes of answers.
    Cut(usize),
    /// Every `ETag` in an answer to a GET is another one.
    WrongEtag,
    /// Answers to requests that contain this are lost, though the requests arrive.
    AnswersLost(&'static str),
    /// The next request that contains this is handed on, but not its answer; its connection ends. Then
    /// nothing fails.
    AnswerLost(&'static str),
    /// This becomes something else in what is asked.
    AskedAltered(&'static str),
    /// This becomes something else in what is answered.
    AnsweredAltered(&'static str),
    /// The next request that contains this is not handed on; its connection ends. Then nothing fails.
    RequestLost(&'static str),
}

/// A proxy that lives as long as the test.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    fault: Arc<Mutex<Fault>>,
    cut: watch::Sender<()>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy before the server at `server`, as `host:port`.
    pub(crate) async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, (cut, _)) = (Arc::new(Mutex::new(Fault::None)), watch::channel(()));
        let (shared, cuts) = (Arc::clone(&fault), cut.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                while open.try_join_next().is_some() {}
                let mut ended = cuts.subscribe();
                let fault = Arc::clone(&shared);
                if *fault.lock().unwrap() == Fault::Away {
                    continue;
                }
                let server = TcpStream::connect(&server).await.unwrap();
                open.spawn(async move {
                    tokio::select! {
                        // A connection that ends is what a test wants to see.
                        _ = carry(client, server, &fault) => {}
                        _ = ended.changed() => {}
                    }
                });
            }
        });
        Self { address, fault, cut, _task: task }
    }

    /// From now on it fails so, also on connections that are there.
    pub(crate) fn fails(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
        if fault == Fault::Away {
            // Nobody may be connected.
            let _ = self.cut.send(());
        }
    }

    /// Whether a fault that comes once has come.
    pub(crate) fn has_failed(&self) -> bool {
        *self.fault.lock().unwrap() == Fault::None
    }
}

/// What is to become of a request, or of a part of one.
enum Request {
    Passed,
    Lost,
    WithoutAnswer,
}

fn fate(fault: &Mutex<Fault>, asked: &[u8]) -> Request {
    let has = |mark: &str| asked.windows(mark.len()).any(|window| window == mark.as_bytes());
    let mut fault = fault.lock().unwrap();
    match *fault {
        Fault::AnswersLost(mark) if has(mark) => Request::WithoutAnswer,
        Fault::AnswerLost(mark) if has(mark) => {
            *fault = Fault::None;
            Request::WithoutAnswer
        }
        Fault::RequestLost(mark) if has(mark) => {
            *fault = Fault::None;
            Request::Lost
        }
        _ => Request::Passed,
    }
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    fault: &Mutex<Fault>,
) -> std::io::Result<()> {
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let (mut answered_bytes, mut is_lost, mut is_get) = (0, false, false);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                match fate(fault, &asked[..read]) {
                    Request::Passed => {}
                    Request::Lost => return Ok(()),
                    Request::WithoutAnswer => is_lost = true,
                }
                if let Fault::AskedAltered(mark) = *fault.lock().unwrap() {
                    alter(&mut asked[..read], mark);
                }
                is_get = asked.starts_with(b"GET ");
                server.write_all(&asked[..read]).await?;
            }
            read = server.read(&mut answered) => {
                let mut read = read?;
                // The answer comes when the work is done; nobody hears of it.
                if read == 0 || is_lost {
                    return Ok(());
                }
                let fault = *fault.lock().unwrap();
                if let Fault::Cut(most) = fault {
                    read = read.min(most.saturating_sub(answered_bytes));
                }
                if fault == Fault::WrongEtag && is_get {
                    falsify_etag(&mut answered[..read]);
                }
                if let Fault::AnsweredAltered(mark) = fault {
                    alter(&mut answered[..read], mark);
                }
                answered_bytes += read;
                client.write_all(&answered[..read]).await?;
                if fault == Fault::Cut(answered_bytes) {
                    return Ok(());
                }
            }
        }
    }
}

fn alter(bytes: &mut [u8], mark: &str) {
    while let Some(start) = bytes.windows(mark.len()).position(|w| w == mark.as_bytes()) {
        bytes[start] ^= 1;
    }
}

fn falsify_etag(answer: &mut [u8]) {
    const NAME: &[u8] = b"etag: \"";
    let found = answer.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME));
    if let Some(digit) = found.and_then(|start| answer.get_mut(start + NAME.len())) {
        *digit = if *digit == b'0' { b'1' } else { b'0' };
    }
}
