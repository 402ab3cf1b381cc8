//! A single PUT to the bucket while the bytes arrive, for an upload that is larger than a part and
//! has an announced size. Nothing is read back or assembled, and the store keeps nothing of a
//! cancelled upload.
//!
//! The last bytes are held back until the upload is accepted. A failure before that costs only
//! time: the local file has everything, and is then sent in parts.
//!
//! The signature does not cover the bytes, which are unknown when it is made. So a streaming PUT is
//! used only where something else protects their integrity: TLS, or a store on the same machine.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::stream;
use object_store::path::Path;
use object_store::signer::{Method, Signer as _};
use reqwest::{Body, Client, StatusCode, header, redirect};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use url::Host;

use super::link::{CONNECT_TIMEOUT, Pending};
use super::{DEADLINE, LONG_DEADLINE, PRESIGNED_LIFETIME, S3};
use crate::domain::store_place::Bucket;

/// Largest single PUT that S3 accepts: 5 GiB.
const MAX_BYTES: u64 = 5 << 30;
/// Chunks of a body that wait for the connection.
const QUEUED_CHUNKS: usize = 1;

/// A streaming PUT in progress.
pub(super) struct StreamingPut {
    send: mpsc::Sender<Bytes>,
    /// The last bytes received. Without them the store does not create the object.
    held_back: Bytes,
    /// Bytes that have not arrived yet.
    remaining_bytes: u64,
    response: Option<Pending<StatusCode>>,
}

/// The HTTP client for streaming PUTs; `None` where they would not be safe.
pub(super) fn client(
    bucket: &Bucket,
    authorities: Option<&[CertificateDer<'_>]>,
) -> anyhow::Result<Option<Client>> {
    let is_safe = bucket.endpoint.as_ref().is_none_or(|endpoint| match endpoint.host() {
        _ if endpoint.scheme() == "https" => true,
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    });
    if !is_safe || bucket.sends_checksums {
        return Ok(None);
    }
    let builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        // The signature is valid for one URL only.
        .redirect(redirect::Policy::none())
        .http1_only();
    let builder = match authorities {
        None => builder,
        Some(authorities) => {
            let read = |one: &CertificateDer<'_>| reqwest::Certificate::from_der(one);
            let read = authorities.iter().map(read).collect::<Result<Vec<_>, _>>();
            builder.tls_certs_only(read.context("cannot use the certificates")?)
        }
    };
    Ok(Some(builder.build().context("TLS is not available")?))
}

impl S3 {
    /// Starts a streaming PUT of `size_bytes`, if one is possible.
    pub(super) fn stream(&self, path: &Path, size_bytes: u64) -> Option<StreamingPut> {
        let http = self.streams.clone()?;
        if size_bytes <= self.part_bytes || size_bytes > MAX_BYTES {
            return None;
        }
        let (send, chunks) = mpsc::channel::<Bytes>(QUEUED_CHUNKS);
        let body = Body::wrap_stream(stream::unfold(chunks, async |mut chunks| {
            chunks.recv().await.map(|chunk| (Ok::<_, Infallible>(chunk), chunks))
        }));
        let (client, path) = (Arc::clone(&self.client), path.clone());
        // No deadline here: the caller enforces the pace at which bytes arrive.
        let response = self.begin(Duration::MAX, async move {
            let url = client.signed_url(Method::PUT, &path, PRESIGNED_LIFETIME).await?;
            let request = http.put(url).header(header::CONTENT_LENGTH, size_bytes).body(body);
            // The error text must not contain the URL with its signature.
            let sent = request.send().await.map_err(reqwest::Error::without_url);
            Ok(sent.map_err(|source| generic(Box::new(source)))?.status())
        });
        Some(StreamingPut {
            send,
            held_back: Bytes::new(),
            remaining_bytes: size_bytes,
            response: Some(response),
        })
    }
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source }
}

impl StreamingPut {
    /// Accepts the next bytes and forwards the previous ones. False when the request has failed.
    pub(super) fn push(&mut self, s3: &S3, bytes: &Bytes) -> bool {
        let Some(remaining_bytes) = self.remaining_bytes.checked_sub(bytes.len() as u64) else {
            return false;
        };
        self.remaining_bytes = remaining_bytes;
        bytes.is_empty() || self.forward(s3, bytes.clone())
    }

    fn forward(&mut self, s3: &S3, next: Bytes) -> bool {
        let ready = std::mem::replace(&mut self.held_back, next);
        if ready.is_empty() {
            return true;
        }
        match self.send.try_send(ready) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(ready)) => {
                let sent = self.send.send_timeout(ready, DEADLINE);
                s3.handle.block_on(sent).is_ok()
            }
        }
    }

    /// Sends the bytes held back and waits until the store has the object. `None` when it does not:
    /// the request had already failed, or was rejected.
    ///
    /// # Errors
    ///
    /// When the outcome is unknown.
    pub(super) fn finish(mut self, s3: &S3) -> Option<io::Result<()>> {
        if self.remaining_bytes > 0 || !self.forward(s3, Bytes::new()) {
            return None;
        }
        match self.response.take()?.wait_for(LONG_DEADLINE) {
            Ok(status) if status.is_success() => Some(Ok(())),
            Ok(status) => {
                tracing::debug!(%status, "the store rejected an upload in one request");
                None
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl Drop for StreamingPut {
    fn drop(&mut self) {
        if let Some(response) = self.response.take() {
            response.abort();
        }
    }
}
