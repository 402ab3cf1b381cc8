//! One HTTP/1.1 connection to a receiver. The request that uses it also drives it, and nothing
//! drives it while idle. So there is no background task that could leak.

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

use super::PostOutcome;

/// Bytes of a response body that are logged.
const LOGGED_BYTES: usize = 1_024;
/// Bytes of a response body that are read so that the connection can be reused.
const MAX_BODY_BYTES: usize = 64 * 1_024;
/// Largest head of a response.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
const USER_AGENT: &str = concat!("dossier/", env!("CARGO_PKG_VERSION"));

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Driver = hyper::client::conn::http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// An open connection.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Option<Pin<Box<Driver>>>,
}

/// Why there is no response.
pub(super) enum SendError {
    /// The receiver had closed the connection.
    Closed,
    /// Anything else, in a few words.
    Other(String),
}

/// A response whose head has arrived.
pub(super) struct ResponseHead {
    connection: Connection,
    response: Response<Incoming>,
}

/// The body of a response.
pub(super) struct Body {
    pub(super) text: String,
    /// The connection, when the response was read to its end.
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
    ) -> Result<(PostOutcome, ResponseHead), SendError> {
        let host = &url[Position::BeforeHost..Position::AfterPort];
        let request = Request::post(&url[Position::BeforePath..Position::AfterQuery])
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "text/plain")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(Bytes::copy_from_slice(token.as_bytes())))
            .map_err(|_| SendError::Other("the URL cannot be requested".to_owned()))?;
        let sent = self.sender.send_request(request);
        let response = driven(&mut self.driver, sent).await.map_err(|error| {
            if error.is_canceled() || error.is_incomplete_message() || is_reset(&error) {
                SendError::Closed
            } else {
                SendError::Other(describe(&error))
            }
        })?;
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = Some(response.status().as_u16());
        let outcome = PostOutcome { status, retry_after, ..PostOutcome::default() };
        Ok((outcome, ResponseHead { connection: self, response }))
    }
}

impl ResponseHead {
    /// Reads as much of the body as arrives before the deadline.
    pub(super) async fn body(self, deadline: Instant) -> Body {
        let Self { mut connection, response } = self;
        let (mut body, mut logged, mut read) = (response.into_body(), Vec::new(), 0);
        let reading = async {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                let data = frame.into_data().unwrap_or_default();
                read += data.len();
                let room = LOGGED_BYTES - logged.len();
                logged.extend_from_slice(&data[..data.len().min(room)]);
                if read > MAX_BODY_BYTES {
                    return false;
                }
            }
            true
        };
        let driving = driven(&mut connection.driver, reading);
        let ended = tokio::time::timeout_at(deadline, driving).await.unwrap_or(false);
        let is_open = ended && connection.driver.is_some() && !connection.sender.is_closed();
        Body {
            text: String::from_utf8_lossy(&logged).into_owned(),
            reusable: is_open.then_some(connection),
        }
    }
}

/// Drives the connection while waiting for something that depends on it.
async fn driven<T>(driver: &mut Option<Pin<Box<Driver>>>, waiting: impl Future<Output = T>) -> T {
    let mut waiting = std::pin::pin!(waiting);
    loop {
        let Some(running) = driver else { return waiting.await };
        tokio::select! {
            biased;
            done = &mut waiting => return done,
            // If it failed, `waiting` returns the error.
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

/// Describes an error without text from the receiver, which must stay out of the log.
fn describe(error: &hyper::Error) -> String {
    if error.is_parse_too_large() {
        format!("the response head is larger than {MAX_HEAD_BYTES} bytes")
    } else if error.is_parse() {
        "the response is not HTTP".to_owned()
    } else {
        "the connection failed during the exchange".to_owned()
    }
}
