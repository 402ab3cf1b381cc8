//! The connection to the bucket: opening it, making calls and waiting for them, and translating
//! their errors. No text contains a credential.

use std::future::Future;
use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore as _, RetryConfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::{BUFFERS_MIB, DEADLINE, LONG_DEADLINE, S3, streaming};
use crate::domain::certificates;
use crate::domain::store_place::{Bucket, StoreKeys};

/// Default size of a part, unless the largest upload would then have too many. It is above the
/// minimum of 5 MiB that all stores require.
const PART_BYTES: u64 = 8 << 20;
/// Largest part, since parts are held in memory. It limits an upload to 640 GiB.
const MAX_PART_BYTES: u64 = 64 << 20;
/// Most parts of an upload that S3 accepts.
const MAX_PARTS: u64 = 10_000;
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the store may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Retries of a call, where it is idempotent.
const RETRIES: usize = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// Threads for calls: they wait for the network and sign.
const THREADS: usize = 2;

const TIMED_OUT: &str = "the store did not respond in time";

/// A call in progress.
pub(super) struct Pending<T> {
    outcome: mpsc::Receiver<io::Result<T>>,
    abort: AbortHandle,
}

impl<T> Pending<T> {
    /// Blocks until the call has ended.
    pub(super) fn wait(self) -> io::Result<T> {
        self.outcome.recv().unwrap_or_else(|_| Err(call_broke()))
    }

    /// Blocks until the call has ended, or aborts it after `limit`.
    pub(super) fn wait_for(self, limit: Duration) -> io::Result<T> {
        match self.outcome.recv_timeout(limit) {
            Ok(outcome) => outcome,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                self.abort.abort();
                Err(unavailable(TIMED_OUT))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(call_broke()),
        }
    }

    /// Aborts the call.
    pub(super) fn abort(self) {
        self.abort.abort();
    }
}

impl S3 {
    /// Prepares to use a bucket, without a call to it.
    ///
    /// # Errors
    ///
    /// When there are no credentials, or the certificates cannot be used.
    pub(crate) fn open(
        bucket: &Bucket,
        keys: Option<&StoreKeys>,
        largest_bytes: u64,
    ) -> anyhow::Result<Self> {
        let Some(keys) = keys else {
            bail!(
                "there are no credentials for the bucket {:?}: set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, or name a file in blobs_credentials_file",
                bucket.name
            );
        };
        let authorities = bucket.authorities.as_deref().map(authorities).transpose()?;
        let options = client_options(bucket, authorities.as_deref())?;
        let streams = streaming::client(bucket, authorities.as_deref())?;
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: FIRST_BACKOFF,
                max_backoff: MAX_BACKOFF,
                base: 2.0,
            },
            max_retries: RETRIES,
            retry_timeout: DEADLINE,
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&bucket.name)
            .with_region(&bucket.region)
            .with_virtual_hosted_style_request(bucket.is_host_style)
            .with_access_key_id(&keys.access_key_id)
            .with_secret_access_key(&keys.secret_access_key)
            // Not every store supports bulk deletes.
            .with_disable_bulk_delete(true)
            .with_client_options(options.clone())
            .with_retry(retry);
        if let Some(endpoint) = &bucket.endpoint {
            builder = builder.with_endpoint(endpoint_of(bucket, endpoint));
        }
        if let Some(token) = &keys.session_token {
            builder = builder.with_token(token);
        }
        if bucket.sends_checksums {
            builder = builder.with_checksum_algorithm(Checksum::SHA256);
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("bucket")
            .enable_all()
            .build()?;
        Ok(Self {
            client: Arc::new(builder.build()?),
            options,
            streams,
            prefix: bucket.prefix.clone(),
            part_bytes: part_bytes(largest_bytes),
            buffers: Arc::new(Semaphore::new(BUFFERS_MIB as usize)),
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Checks that the bucket can be used.
    ///
    /// # Errors
    ///
    /// When it cannot; the message states what is wrong and what to do.
    pub(crate) fn check(&self) -> io::Result<()> {
        let (client, path) = (Arc::clone(&self.client), self.path("staging"));
        self.wait(DEADLINE, async move { client.list_with_delimiter(Some(&path)).await }).map(drop)
    }

    /// Waits for a permit to hold `length` bytes in memory.
    pub(super) fn buffer(&self, length: u64) -> io::Result<OwnedSemaphorePermit> {
        let mib = u32::try_from(length.div_ceil(1 << 20)).unwrap_or(u32::MAX).clamp(1, BUFFERS_MIB);
        let buffers = Arc::clone(&self.buffers);
        self.wait(LONG_DEADLINE, async move {
            buffers.acquire_many_owned(mib).await.map_err(|error| object_store::Error::Generic {
                store: "S3",
                source: Box::new(error),
            })
        })
    }

    /// Begins a call.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        within: Duration,
        call: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Pending<T> {
        self.begin_boxed(within, call.boxed())
    }

    fn begin_boxed<T: Send + 'static>(
        &self,
        within: Duration,
        call: BoxFuture<'static, object_store::Result<T>>,
    ) -> Pending<T> {
        let (send, outcome) = mpsc::sync_channel(1);
        let task = self.handle.spawn(async move {
            let outcome = match tokio::time::timeout(within, call).await {
                Ok(outcome) => outcome.map_err(|error| translate_error(&error)),
                Err(_) => Err(unavailable(TIMED_OUT)),
            };
            // Fails when the caller no longer waits.
            let _ = send.send(outcome);
        });
        Pending { outcome, abort: task.abort_handle() }
    }

    /// Makes a call and blocks until it has ended.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        within: Duration,
        call: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        self.begin(within, call).wait()
    }
}

fn call_broke() -> io::Error {
    io::Error::other("a call to the store broke")
}

/// Size of parts with which an upload of this size does not have too many.
pub(super) fn part_bytes(largest_bytes: u64) -> u64 {
    let part_bytes = largest_bytes.div_ceil(MAX_PARTS).next_multiple_of(1 << 20);
    part_bytes.clamp(PART_BYTES, MAX_PART_BYTES)
}

/// The HTTP settings: timeouts, and the certificate authorities to trust.
fn client_options(
    bucket: &Bucket,
    authorities: Option<&[CertificateDer<'_>]>,
) -> anyhow::Result<ClientOptions> {
    let mut options = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(READ_TIMEOUT)
        .with_allow_http(bucket.endpoint.as_ref().is_some_and(|url| url.scheme() == "http"));
    if let Some(authorities) = authorities {
        options = options.with_no_system_certificates(true);
        for one in authorities {
            let certificate = Certificate::from_der(one).context("cannot use a certificate")?;
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

/// Reads the certificate authorities in a file.
fn authorities(file: &std::path::Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let problem = || format!("cannot read the certificates in {}", file.display());
    let read = CertificateDer::pem_file_iter(file).with_context(problem)?;
    let read: Vec<_> = read.collect::<Result<_, _>>().with_context(problem)?;
    if read.is_empty() {
        bail!("there is no certificate in {}, which blobs names as ca", file.display());
    }
    Ok(read)
}

/// With virtual-hosted-style requests, the bucket is part of the endpoint's host.
fn endpoint_of(bucket: &Bucket, endpoint: &url::Url) -> String {
    let mut endpoint = endpoint.clone();
    if bucket.is_host_style
        && let Some(host) = endpoint.host_str()
    {
        let host = format!("{}.{host}", bucket.name);
        // Both names are already validated.
        let _ = endpoint.set_host(Some(&host));
    }
    endpoint.as_str().trim_end_matches('/').to_owned()
}

/// Rejects a response of the wrong length.
pub(super) fn check_length(actual: u64, expected: u64) -> object_store::Result<()> {
    if actual == expected {
        return Ok(());
    }
    let source = format!("received {actual} bytes instead of {expected}").into();
    Err(object_store::Error::Generic { store: "S3", source })
}

/// Why the store does not do what was requested, by what can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The credentials lack the permission.
    Permission,
    /// The clock of this machine is wrong.
    Clock,
    /// The settings are wrong: bucket, region or credentials.
    Settings,
    /// The store is unavailable, or too busy.
    Unavailable,
}

/// An error from the store. Whatever its kind, the store may work again without a restart.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct StoreError {
    kind: StoreErrorKind,
    message: String,
}

fn store_error(kind: StoreErrorKind, message: String) -> io::Error {
    io::Error::new(io::ErrorKind::NetworkDown, StoreError { kind, message })
}

/// The store cannot be used now; the request itself is not at fault.
pub(super) fn unavailable(problem: impl Into<String>) -> io::Error {
    store_error(StoreErrorKind::Unavailable, problem.into())
}

/// The credentials lack the permission.
pub(super) fn permission_denied(problem: String) -> io::Error {
    store_error(StoreErrorKind::Permission, problem)
}

/// The kind of a store error; `None` when the store did respond, but wrongly.
pub(super) fn error_kind(error: &io::Error) -> Option<StoreErrorKind> {
    Some(error.get_ref()?.downcast_ref::<StoreError>()?.kind)
}

/// The version of an object changed: it was overwritten, or the store is unreliable.
pub(super) fn version_changed() -> io::Error {
    unavailable("the object was replaced: its ETag has changed")
}

/// The meaning of S3 error codes. The order matters: a text may contain several.
const KNOWN_CODES: [(&str, StoreErrorKind, &str); 10] = [
    (
        "NoSuchBucket",
        StoreErrorKind::Settings,
        "there is no such bucket: create it, or correct its name",
    ),
    ("InvalidAccessKeyId", StoreErrorKind::Settings, "the store does not know the access key id"),
    ("SignatureDoesNotMatch", StoreErrorKind::Settings, "the secret access key is wrong"),
    ("AuthorizationHeaderMalformed", StoreErrorKind::Settings, "the region is wrong"),
    (
        "PermanentRedirect",
        StoreErrorKind::Settings,
        "the bucket is in another region or at another endpoint",
    ),
    ("ExpiredToken", StoreErrorKind::Settings, "the session token has expired"),
    ("RequestTimeTooSkewed", StoreErrorKind::Clock, "the clock of this machine is wrong"),
    ("AccessDenied", StoreErrorKind::Permission, "these credentials lack the permission"),
    ("SlowDown", StoreErrorKind::Unavailable, "the store is too busy and asks for fewer requests"),
    ("ServiceUnavailable", StoreErrorKind::Unavailable, "the store reports that it is unavailable"),
];
/// Codes that mean that parts which the store had accepted no longer exist.
const PARTS_LOST: [&str; 2] = ["NoSuchUpload", "InvalidPart"];

/// Translates an error of the store.
pub(super) fn translate_error(error: &object_store::Error) -> io::Error {
    use object_store::Error;

    // A code in the text is more specific than the status.
    let text = error_chain(error);
    if let Some(explanation) = certificates::explain(&text) {
        let message = format!("the store cannot be verified: {explanation}");
        return store_error(StoreErrorKind::Settings, message);
    }
    if PARTS_LOST.iter().any(|code| text.contains(code)) {
        return io::ErrorKind::NotFound.into();
    }
    if let Some((code, kind, words)) = KNOWN_CODES.iter().find(|(code, ..)| text.contains(code)) {
        let time = store_time(&text).filter(|_| *kind == StoreErrorKind::Clock);
        let time = time.map(|time| format!("; the store's clock: {time}")).unwrap_or_default();
        return store_error(*kind, format!("{words} ({code}){time}"));
    }
    let text = truncated(&text);
    match error {
        Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, text),
        // A response to HEAD has no body with a code.
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            let message = format!("the store rejects these credentials or permissions: {text}");
            store_error(StoreErrorKind::Permission, message)
        }
        Error::Precondition { .. } => version_changed(),
        _ => unavailable(text),
    }
}

/// The store's time, which it reports when it rejects ours.
fn store_time(text: &str) -> Option<&str> {
    const MAX_CHARS: usize = 30;
    let time = text.split_once("<ServerTime>")?.1.split_once("</ServerTime>")?.0;
    let is_time = |c: char| c.is_ascii_digit() || matches!(c, 'T' | 'Z' | ':' | '-' | '.');
    (time.len() <= MAX_CHARS && time.chars().all(is_time)).then_some(time)
}

/// An error with its causes.
fn error_chain(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The start of a text, which may contain a whole response body.
fn truncated(text: &str) -> String {
    const MAX_CHARS: usize = 400;
    text.chars().take(MAX_CHARS).collect()
}
