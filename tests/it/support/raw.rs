//! Requests written byte by byte, for what no client library would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::TestApp;

/// Longer than any response takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to the server.
pub(crate) struct Raw(TcpStream);

/// A response as it came over the wire.
#[derive(Debug)]
pub(crate) struct RawResponse {
    /// 0 if the server closed the connection without a response.
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    /// Opens a connection.
    pub(crate) async fn connect(app: &TestApp) -> Self {
        Self(TcpStream::connect(app.server.http).await.unwrap())
    }

    /// Sends bytes. If the server has hung up, the response shows it.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    /// Closes the sending side.
    pub(crate) async fn finish_sending(&mut self) {
        let _ = self.0.shutdown().await;
    }

    /// Reads one response head, such as that of `100 Continue`.
    pub(crate) async fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        let read = async {
            while !head.ends_with(b"\r\n\r\n") {
                match self.0.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap();
        String::from_utf8_lossy(&head).into_owned()
    }

    /// Reads until the server closes; request that with `Connection: close`.
    pub(crate) async fn read_response(&mut self) -> RawResponse {
        let mut bytes = Vec::new();
        // A reset ends the response too; bytes received before it count.
        let _ = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await.unwrap();
        RawResponse::parse(&bytes)
    }
}

impl RawResponse {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, body) = end.map_or((bytes, &[][..]), |end| (&bytes[..end], &bytes[end + 4..]));
        let head = String::from_utf8_lossy(head).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head, body: body.to_vec() }
    }
}

impl TestApp {
    /// The path of a URL of this server.
    pub(crate) fn path_of<'a>(&self, url: &'a str) -> &'a str {
        url.strip_prefix(&self.base).unwrap()
    }

    /// Sends one request as it is and reads until the server closes.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> RawResponse {
        let mut raw = Raw::connect(self).await;
        raw.send(request).await;
        raw.read_response().await
    }
}
