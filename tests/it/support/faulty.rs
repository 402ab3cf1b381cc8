//! A TCP proxy before a server, which a test can make fail.
#![expect(clippy::disallowed_methods, reason = "it ends with the runtime of its test")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// They end at once.
    Refused,
    /// Each ends after so many bytes of answers.
    Cut(usize),
    /// Every `ETag` in an answer to a GET is another one.
    WrongEtag,
    /// The answer to a request that contains this is lost, though the request arrives.
    AnswerLost(&'static str),
}

/// A proxy that lives as long as the test.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    fault: Arc<Mutex<Fault>>,
}

impl Proxy {
    /// Starts a proxy before a server.
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fault = Arc::new(Mutex::new(Fault::None));
        let shared = Arc::clone(&fault);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let fault = Arc::clone(&shared);
                tokio::spawn(async move {
                    let server = TcpStream::connect(server).await.unwrap();
                    // A connection that ends is what a test wants to see.
                    let _ = carry(client, server, &fault).await;
                });
            }
        });
        Self { address, fault }
    }

    /// From now on, also for connections that are there.
    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
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
                let fault = *fault.lock().unwrap();
                if read == 0 || fault == Fault::Refused {
                    return Ok(());
                }
                if let Fault::AnswerLost(mark) = fault {
                    is_lost |= asked[..read].windows(mark.len()).any(|w| w == mark.as_bytes());
                }
                is_get = asked.starts_with(b"GET ");
                server.write_all(&asked[..read]).await?;
            }
            read = server.read(&mut answered) => {
                let mut read = read?;
                let fault = *fault.lock().unwrap();
                if read == 0 || fault == Fault::Refused || is_lost {
                    return Ok(());
                }
                if let Fault::Cut(most) = fault {
                    read = read.min(most.saturating_sub(answered_bytes));
                }
                if fault == Fault::WrongEtag && is_get {
                    falsify_etag(&mut answered[..read]);
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

fn falsify_etag(answer: &mut [u8]) {
    const NAME: &[u8] = b"etag: \"";
    let found = answer.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME));
    if let Some(digit) = found.and_then(|start| answer.get_mut(start + NAME.len())) {
        *digit = if *digit == b'0' { b'1' } else { b'0' };
    }
}
