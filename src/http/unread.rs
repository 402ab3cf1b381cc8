//! Reads, and throws away, what a handler left of a request's body, so that the client gets to
//! read the answer: HTTP/1 would break the connection under a client that is still sending,
//! and HTTP/2 would reset the stream, which some clients take for a failure even though the
//! answer is complete.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use hyper::body::{Frame, SizeHint};

/// What is still read of a body at most.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// How long that may take.
const MAX_TIME: Duration = Duration::from_secs(2);

/// The layer. A request without a body passes it untouched.
pub(super) async fn drain(request: Request, next: Next) -> Response {
    // A client that waits for "100 Continue" sends nothing that would need reading.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = Lent(Arc::new(Mutex::new(body)));
    let left = body.clone();
    let response = next.run(Request::from_parts(parts, Body::new(body))).await;
    let read_on = async {
        let (mut left, mut bytes) = (Body::new(left).into_data_stream(), 0);
        while let Some(Ok(chunk)) = left.next().await {
            bytes += chunk.len();
            if bytes > MAX_BYTES {
                break;
            }
        }
    };
    // Time-out or end: the answer goes out either way.
    let _ = tokio::time::timeout(MAX_TIME, read_on).await;
    response
}

/// A body that can be read on after its reader has dropped it.
#[derive(Clone)]
struct Lent(Arc<Mutex<Body>>);

impl Lent {
    fn body(&self) -> MutexGuard<'_, Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.body()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}
