//! Drains what a handler left unread of a request's body, so that the client receives the response:
//! HTTP/1 would close the connection while the client is still sending, and HTTP/2 would reset the
//! stream, which some clients treat as a failure although the response is complete.

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

/// Most bytes to drain.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Longest time to drain.
const MAX_TIME: Duration = Duration::from_secs(2);

/// The layer. Requests without a body pass through untouched.
pub(super) async fn drain(request: Request, next: Next) -> Response {
    // A client that waits for "100 Continue" sends nothing that needs draining.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = SharedBody(Arc::new(Mutex::new(body)));
    let unread = body.clone();
    let response = next.run(Request::from_parts(parts, Body::new(body))).await;
    let drain = async {
        let (mut unread, mut bytes) = (Body::new(unread).into_data_stream(), 0);
        while let Some(Ok(chunk)) = unread.next().await {
            bytes += chunk.len();
            if bytes > MAX_BYTES {
                break;
            }
        }
    };
    // The response is sent whether or not the body ended in time.
    let _ = tokio::time::timeout(MAX_TIME, drain).await;
    response
}

/// A body that can still be read after the handler has dropped it.
#[derive(Clone)]
struct SharedBody(Arc<Mutex<Body>>);

impl SharedBody {
    fn body(&self) -> MutexGuard<'_, Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for SharedBody {
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
