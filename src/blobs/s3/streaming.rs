//! One PUT that goes to the bucket while its bytes arrive, for an upload that is larger than a part and whose
//! size is announced: nothing is read back or put together, and the store keeps nothing of what is given up.
//! Its last bytes are held back until the upload may come to be. Whatever goes wrong before that costs
//! nothing but time: everything is in the file of this machine, and goes in parts then.
//!
//! The signature does not cover the bytes, which are not known when it is made. So this way is taken where
//! something else keeps them whole: TLS, or the inside of this machine.

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
use super::{DEADLINE, LONG_DEADLINE, PRESIGNED_LIFE, S3};
use crate::domain::store_place::Bucket;

/// A single PUT has at most 5 GiB, by the rules of S3.
const MOST_BYTES: u64 = 5 << 30;
/// Pieces of a body that wait for the connection.
const PIECES: usize = 1;

/// An upload on its way.
pub(super) struct Streaming {
    send: mpsc::Sender<Bytes>,
    /// What came last. Without it the store has not all, and makes no object of it.
    held: Bytes,
    /// Bytes that are still to come.
    left_bytes: u64,
    answer: Option<Pending<StatusCode>>,
}

/// What such PUTs are made with, where they may be made.
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
        // The signature is for one address.
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
    /// Begins to send so many bytes to a place, if that can be done while they arrive.
    pub(super) fn stream(&self, path: &Path, size_bytes: u64) -> Option<Streaming> {
        let http = self.streams.clone()?;
        if size_bytes <= self.part_bytes || size_bytes > MOST_BYTES {
            return None;
        }
        let (send, pieces) = mpsc::channel::<Bytes>(PIECES);
        let body = Body::wrap_stream(stream::unfold(pieces, async |mut pieces| {
            pieces.recv().await.map(|piece| (Ok::<_, Infallible>(piece), pieces))
        }));
        let (client, path) = (Arc::clone(&self.client), path.clone());
        // As long as the bytes need to arrive, which others look after.
        let answer = self.begin(Duration::MAX, async move {
            let url = client.signed_url(Method::PUT, &path, PRESIGNED_LIFE).await?;
            let request = http.put(url).header(header::CONTENT_LENGTH, size_bytes).body(body);
            // Its text would name the address with the signature.
            let sent = request.send().await.map_err(reqwest::Error::without_url);
            Ok(sent.map_err(|source| generic(Box::new(source)))?.status())
        });
        Some(Streaming { send, held: Bytes::new(), left_bytes: size_bytes, answer: Some(answer) })
    }
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source }
}

impl Streaming {
    /// Takes the next bytes and hands those before them on. False when it cannot go on.
    pub(super) fn push(&mut self, s3: &S3, bytes: &Bytes) -> bool {
        let Some(left_bytes) = self.left_bytes.checked_sub(bytes.len() as u64) else {
            return false;
        };
        self.left_bytes = left_bytes;
        bytes.is_empty() || self.hand_on(s3, bytes.clone())
    }

    fn hand_on(&mut self, s3: &S3, next: Bytes) -> bool {
        let ready = std::mem::replace(&mut self.held, next);
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

    /// Sends what was held back and waits until the store has the object. `None` when it has not: the request
    /// had ended before, or was refused.
    ///
    /// # Errors
    ///
    /// When nobody knows whether it has.
    pub(super) fn finish(mut self, s3: &S3) -> Option<io::Result<()>> {
        if self.left_bytes > 0 || !self.hand_on(s3, Bytes::new()) {
            return None;
        }
        match self.answer.take()?.wait_for(LONG_DEADLINE) {
            Ok(status) if status.is_success() => Some(Ok(())),
            Ok(status) => {
                tracing::debug!(%status, "the store has refused an upload in one request");
                None
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            answer.abort();
        }
    }
}
