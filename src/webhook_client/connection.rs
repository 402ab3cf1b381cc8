//! One HTTP/1.1 connection to a receiver. It is driven by whoever uses it and rests in between, so
//! no task is left behind.

use std::pin::Pin;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use url::{Position, Url};

use super::Answer;

/// Of an answer's body, so much is kept.
const KEPT_BYTES: usize = 1_024;
/// Of an answer's body, so much is read so that the connection can be used again.
const READ_BYTES: usize = 64 * 1_024;
/// Largest head of an answer.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
/// What an answer's status line and headers are not counted against.
const USER_AGENT: &str = concat!("dossier/", env!("CARGO_PKG_VERSION"));

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Driver = hyper::client::conn::http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// An open connection.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Option<Pin<Box<Driver>>>,
}

/// Why nothing came back.
pub(super) enum Failed {
    /// The other side had closed the connection.
    Closed,
    /// Anything else, in a few words.
    Other(String),
}

/// An answer whose head has come.
pub(super) struct Answered {
    connection: Connection,
    response: Response<Incoming>,
}

/// What is left of an answer.
pub(super) struct Body {
    pub(super) text: String,
    /// The connection, when the answer was read to its end.
    pub(super) reusable: Option<Connection>,
}

impl Connection {
    pub(super) async fn open(stream: impl Stream + 'static) -> Result<Self, String> {
        let stream: Box<dyn Stream> = Box::new(stream);
        let (sender, driver) = Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| describe(&error))?;
        Ok(Self { sender, driver: Some(Box::pin(driver)) })
    }

    pub(super) async fn send(
        mut self,
        url: &Url,
        token: &str,
    ) -> Result<(Answer, Answered), Failed> {
        let host = &url[Position::BeforeHost..Position::AfterPort];
        let request = Request::post(&url[Position::BeforePath..Position::AfterQuery])
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "text/plain")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(Bytes::copy_from_slice(token.as_bytes())))
            .map_err(|_| Failed::Other("the URL cannot be asked for".to_owned()))?;
        let sent = self.sender.send_request(request);
        let response = driven(&mut self.driver, sent).await.map_err(|error| {
            if error.is_canceled() || error.is_incomplete_message() || is_reset(&error) {
                Failed::Closed
            } else {
                Failed::Other(describe(&error))
            }
        })?;
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = Some(response.status().as_u16());
        let answer = Answer { status, retry_after, ..Answer::default() };
        Ok((answer, Answered { connection: self, response }))
    }
}

impl Answered {
    /// Reads the body, as far as it comes until then.
    pub(super) async fn body(self, deadline: Instant) -> Body {
        let Self { mut connection, response } = self;
        let (mut body, mut kept, mut read) = (response.into_body(), Vec::new(), 0);
        let reading = async {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                let data = frame.into_data().unwrap_or_default();
                read += data.len();
                let room = KEPT_BYTES - kept.len();
                kept.extend_from_slice(&data[..data.len().min(room)]);
                if read > READ_BYTES {
                    return false;
                }
            }
            true
        };
        let driving = driven(&mut connection.driver, reading);
        let ended = tokio::time::timeout_at(deadline, driving).await.unwrap_or(false);
        let is_open = ended && connection.driver.is_some() && !connection.sender.is_closed();
        Body {
            text: String::from_utf8_lossy(&kept).into_owned(),
            reusable: is_open.then_some(connection),
        }
    }
}

/// Drives the connection while something is waited for that it brings.
async fn driven<T>(driver: &mut Option<Pin<Box<Driver>>>, waiting: impl Future<Output = T>) -> T {
    let mut waiting = std::pin::pin!(waiting);
    loop {
        let Some(running) = driver else { return waiting.await };
        tokio::select! {
            biased;
            done = &mut waiting => return done,
            // How it ended shows in what is waited for.
            _ = running.as_mut() => *driver = None,
        }
    }
}

fn is_reset(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| {
        matches!(cause.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
    })
}

/// Words of ours: what the other side sent stays out of the log.
fn describe(error: &hyper::Error) -> String {
    if error.is_parse_too_large() {
        format!("the answer's head is larger than {MAX_HEAD_BYTES} bytes")
    } else if error.is_parse() {
        "the answer is not HTTP".to_owned()
    } else {
        "the exchange broke off".to_owned()
    }
}
