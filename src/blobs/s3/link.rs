//! The way to the bucket: how it is opened, how calls are made and waited for, and what their errors
//! say. Never a key in any text.

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

/// Size of a part while the largest upload has few enough of them: above the 5 MiB that all stores
/// demand at least.
const PART_BYTES: u64 = 8 << 20;
/// Parts are never larger than this, since they are held in memory: so an upload has at most 640 GiB.
const MOST_PART_BYTES: u64 = 64 << 20;
/// Parts of an upload at most, by the rules of S3.
const MOST_PARTS: u64 = 10_000;
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the store may say nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// Tries of a call after the first, where trying again changes nothing.
const RETRIES: usize = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MOST_BACKOFF: Duration = Duration::from_secs(2);
/// Threads for calls: they wait for the network and sign.
const THREADS: usize = 2;

const TOO_LATE: &str = "the store did not answer in time";

/// A call that is under way.
pub(super) struct Pending<T> {
    answer: mpsc::Receiver<io::Result<T>>,
    abort: AbortHandle,
}

impl<T> Pending<T> {
    /// Blocks until it has ended.
    pub(super) fn wait(self) -> io::Result<T> {
        self.answer.recv().unwrap_or_else(|_| Err(broken()))
    }

    /// Blocks until it has ended, or gives it up after a while.
    pub(super) fn wait_for(self, limit: Duration) -> io::Result<T> {
        match self.answer.recv_timeout(limit) {
            Ok(outcome) => outcome,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                self.abort.abort();
                Err(away(TOO_LATE))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(broken()),
        }
    }

    /// Gives it up.
    pub(super) fn abort(self) {
        self.abort.abort();
    }
}

impl S3 {
    /// Gets ready to use a bucket, without a call to it.
    ///
    /// # Errors
    ///
    /// When there are no keys.
    pub(crate) fn open(
        bucket: &Bucket,
        keys: Option<&StoreKeys>,
        largest_bytes: u64,
    ) -> anyhow::Result<Self> {
        let Some(keys) = keys else {
            bail!(
                "there are no keys for the bucket {:?}: set AWS_ACCESS_KEY_ID and \
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
                max_backoff: MOST_BACKOFF,
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
            // Not every store knows deletes in bulk.
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

    /// Asks the bucket whether it can be used.
    ///
    /// # Errors
    ///
    /// When it cannot, with what is wrong and what to do.
    pub(crate) fn check(&self) -> io::Result<()> {
        let (client, path) = (Arc::clone(&self.client), self.path("staging"));
        self.wait(DEADLINE, async move { client.list_with_delimiter(Some(&path)).await }).map(drop)
    }

    /// Waits for room in memory.
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
        let (send, answer) = mpsc::sync_channel(1);
        let task = self.handle.spawn(async move {
            let outcome = match tokio::time::timeout(within, call).await {
                Ok(outcome) => outcome.map_err(|error| explained(&error)),
                Err(_) => Err(away(TOO_LATE)),
            };
            // Whoever does not wait does not want to know.
            let _ = send.send(outcome);
        });
        Pending { answer, abort: task.abort_handle() }
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

fn broken() -> io::Error {
    io::Error::other("a call to the store broke")
}

/// Size of the parts of an upload of so many bytes, so that it has not too many.
pub(super) fn part_bytes(largest_bytes: u64) -> u64 {
    let part_bytes = largest_bytes.div_ceil(MOST_PARTS).next_multiple_of(1 << 20);
    part_bytes.clamp(PART_BYTES, MOST_PART_BYTES)
}

/// How the store is called, and whom to believe that it is the store.
fn client_options(
    bucket: &Bucket,
    authorities: Option<&[CertificateDer<'_>]>,
) -> anyhow::Result<ClientOptions> {
    let mut options = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(SILENCE)
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

/// The authorities in a file.
fn authorities(file: &std::path::Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let problem = || format!("cannot read the certificates in {}", file.display());
    let read = CertificateDer::pem_file_iter(file).with_context(problem)?;
    let read: Vec<_> = read.collect::<Result<_, _>>().with_context(problem)?;
    if read.is_empty() {
        bail!("there is no certificate in {}, which blobs names as ca", file.display());
    }
    Ok(read)
}

/// In host style the bucket is a part of the endpoint's host.
fn endpoint_of(bucket: &Bucket, endpoint: &url::Url) -> String {
    let mut endpoint = endpoint.clone();
    if bucket.is_host_style
        && let Some(host) = endpoint.host_str()
    {
        let host = format!("{}.{host}", bucket.name);
        // Both are checked names.
        let _ = endpoint.set_host(Some(&host));
    }
    endpoint.as_str().trim_end_matches('/').to_owned()
}

/// An answer of another length than it should have.
pub(super) fn check_length(is: u64, should_be: u64) -> object_store::Result<()> {
    if is == should_be {
        return Ok(());
    }
    let source = format!("{is} bytes came instead of {should_be}").into();
    Err(object_store::Error::Generic { store: "S3", source })
}

/// What keeps the store from doing what was asked, as far as one can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The keys lack the right to it.
    Right,
    /// The clock of this machine is wrong.
    Clock,
    /// It is none of the store's that can be used with these settings: bucket, region, keys.
    Settings,
    /// The store is away, or too busy.
    Away,
}

/// An error of the store's; whatever the trouble is, it may work again without a new start.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
struct Troubled {
    trouble: Trouble,
    words: String,
}

fn troubled(trouble: Trouble, words: String) -> io::Error {
    io::Error::new(io::ErrorKind::NetworkDown, Troubled { trouble, words })
}

/// The store cannot be used now; it is no fault of what was asked.
pub(super) fn away(problem: impl Into<String>) -> io::Error {
    troubled(Trouble::Away, problem.into())
}

/// The keys lack the right to it.
pub(super) fn lacks_right(problem: String) -> io::Error {
    troubled(Trouble::Right, problem)
}

/// What kept the store from doing it; `None` when it did, and it is not as it should be.
pub(super) fn trouble(error: &io::Error) -> Option<Trouble> {
    Some(error.get_ref()?.downcast_ref::<Troubled>()?.trouble)
}

/// One object under two versions: it was written anew, or the store is not to be believed.
pub(super) fn other_version() -> io::Error {
    away("the object is not the one it was: its ETag has changed")
}

/// What codes of the store's mean. In this order: a text may contain several.
const KNOWN: [(&str, Trouble, &str); 10] = [
    ("NoSuchBucket", Trouble::Settings, "there is no such bucket: make it, or correct its name"),
    ("InvalidAccessKeyId", Trouble::Settings, "the store does not know the access key id"),
    ("SignatureDoesNotMatch", Trouble::Settings, "the secret access key is wrong"),
    ("AuthorizationHeaderMalformed", Trouble::Settings, "the region is wrong"),
    (
        "PermanentRedirect",
        Trouble::Settings,
        "the bucket is in another region or at another endpoint",
    ),
    ("ExpiredToken", Trouble::Settings, "the session token has expired"),
    ("RequestTimeTooSkewed", Trouble::Clock, "the clock of this machine is wrong"),
    ("AccessDenied", Trouble::Right, "these keys lack the right to it"),
    ("SlowDown", Trouble::Away, "the store is too busy and asks to be slower"),
    ("ServiceUnavailable", Trouble::Away, "the store says that it cannot be used now"),
];
/// Codes that say that parts which the store had taken are not there any more.
const PARTS_LOST: [&str; 2] = ["NoSuchUpload", "InvalidPart"];

/// What an error of the store means.
pub(super) fn explained(error: &object_store::Error) -> io::Error {
    use object_store::Error;

    // What a text names wins over what its status says.
    let text = chain(error);
    if let Some(words) = certificates::refused(&text) {
        let words = format!("the store cannot be believed: {words}");
        return troubled(Trouble::Settings, words);
    }
    if PARTS_LOST.iter().any(|code| text.contains(code)) {
        return io::ErrorKind::NotFound.into();
    }
    if let Some((code, trouble, words)) = KNOWN.iter().find(|(code, ..)| text.contains(code)) {
        let time = store_time(&text).filter(|_| *trouble == Trouble::Clock);
        let time = time.map(|time| format!("; the store's says {time}")).unwrap_or_default();
        return troubled(*trouble, format!("{words} ({code}){time}"));
    }
    let text = shown(&text);
    match error {
        Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, text),
        // An answer to HEAD has no body that says more.
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            troubled(Trouble::Right, format!("the store refuses these keys or rights: {text}"))
        }
        Error::Precondition { .. } => other_version(),
        _ => away(text),
    }
}

/// The time at the store, which it says when it refuses ours.
fn store_time(text: &str) -> Option<&str> {
    const MOST_CHARACTERS: usize = 30;
    let time = text.split_once("<ServerTime>")?.1.split_once("</ServerTime>")?.0;
    let is_time = |c: char| c.is_ascii_digit() || matches!(c, 'T' | 'Z' | ':' | '-' | '.');
    (time.len() <= MOST_CHARACTERS && time.chars().all(is_time)).then_some(time)
}

/// An error with what caused it.
fn chain(error: &object_store::Error) -> String {
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

/// Not an answer's whole body.
fn shown(text: &str) -> String {
    const MOST_CHARACTERS: usize = 400;
    text.chars().take(MOST_CHARACTERS).collect()
}
