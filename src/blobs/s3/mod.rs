//! The store in a bucket, through `object_store`. Calls to it run on threads of their own and have
//! deadlines; callers wait for them on blocking threads. What the bucket answers is not believed: sizes
//! are compared, and what was fetched is counted.

mod link;
mod marks;
mod moving;
mod probe;
mod reading;
mod sending;
mod streaming;

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::aws::AmazonS3;
use object_store::client::ClientOptions;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutPayload};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;

use super::key::{BLOBS, BlobKey, Part};
use super::walk::{LOST_AND_FOUND, found};
pub use link::Trouble;
pub use probe::{Failed, Probe, Step};
pub use reading::{Reading, Remote};
pub(super) use sending::Sending;

/// How long a small call may take, with its retries.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long a part, or a whole listing, may take.
const LONG_DEADLINE: Duration = Duration::from_mins(2);
/// How long a presigned URL opens: long enough to begin, since a download that has begun goes on.
const PRESIGNED_LIFE: Duration = Duration::from_mins(5);
/// Bytes of parts that are in memory at once in this process, in MiB: further uploads wait.
const BUFFERS_MIB: u32 = 16;

/// A bucket.
pub(super) struct S3 {
    client: Arc<AmazonS3>,
    /// How the client calls the store.
    options: ClientOptions,
    /// Makes PUTs whose bytes are still on their way; `None` where that would not be safe.
    streams: Option<reqwest::Client>,
    prefix: String,
    /// Size of parts, so that the largest upload has not too many.
    part_bytes: u64,
    buffers: Arc<Semaphore>,
    handle: Handle,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl S3 {
    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}{name}", self.prefix))
    }

    fn part_path(&self, key: BlobKey, part: Part) -> Path {
        let (site, directory) = (key.site_directory(), key.directory());
        self.path(&format!("{BLOBS}/{site}/{directory}/{}", key.file(part)))
    }

    fn head(&self, path: &Path) -> io::Result<Option<ObjectMeta>> {
        let (client, path) = (Arc::clone(&self.client), path.clone());
        found(self.wait(DEADLINE, async move { client.head(&path).await }))
    }

    fn put(&self, path: Path, bytes: impl Into<Bytes>) -> io::Result<()> {
        self.put_later(path, bytes).wait()
    }

    /// Begins to write a small object.
    fn put_later(&self, path: Path, bytes: impl Into<Bytes>) -> link::Pending<()> {
        let (client, payload) = (Arc::clone(&self.client), PutPayload::from(bytes.into()));
        self.begin(DEADLINE, async move { client.put(&path, payload).await.map(drop) })
    }

    /// Reads a small object.
    fn get(&self, path: Path) -> io::Result<Bytes> {
        let client = Arc::clone(&self.client);
        self.wait(LONG_DEADLINE, async move {
            let answer = client.get(&path).await?;
            let size_bytes = answer.meta.size;
            let bytes = answer.bytes().await?;
            link::check_length(bytes.len() as u64, size_bytes)?;
            Ok(bytes)
        })
    }

    /// Deletes an object. One that is not there is no error.
    fn delete(&self, path: Path) -> io::Result<()> {
        let client = Arc::clone(&self.client);
        let deleted = self.wait(DEADLINE, async move { client.delete(&path).await });
        found(deleted).map(drop)
    }

    /// Names and sizes of all objects below a name, which ends with a slash.
    fn list(&self, below: &str) -> io::Result<Vec<(String, u64)>> {
        let (client, path) = (Arc::clone(&self.client), self.path(below.trim_end_matches('/')));
        let listed = self.wait(LONG_DEADLINE, async move {
            client.list(Some(&path)).try_collect::<Vec<ObjectMeta>>().await
        })?;
        let start = self.prefix.len() + below.len();
        let name = |path: &Path| path.as_ref().get(start..).unwrap_or_default().to_owned();
        Ok(listed.iter().map(|meta| (name(&meta.location), meta.size)).collect())
    }

    /// The names of the sites that have originals.
    pub(super) fn site_names(&self) -> io::Result<Vec<String>> {
        let (client, path) = (Arc::clone(&self.client), self.path(BLOBS));
        let listed =
            self.wait(LONG_DEADLINE, async move { client.list_with_delimiter(Some(&path)).await })?;
        let names = listed.common_prefixes.iter().chain(listed.objects.iter().map(|o| &o.location));
        Ok(names.filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    /// Names and sizes beside a blob.
    pub(super) fn blob_names(&self, any: BlobKey) -> io::Result<Vec<(String, u64)>> {
        self.list(&format!("{BLOBS}/{}/{}/", any.site_directory(), any.directory()))
    }

    pub(super) fn size_of(&self, key: BlobKey) -> io::Result<Option<u64>> {
        Ok(self.head(&self.part_path(key, Part::Original))?.map(|meta| meta.size))
    }

    pub(super) fn remote(&self, key: BlobKey, size_bytes: u64) -> Remote {
        let path = self.part_path(key, Part::Original);
        Remote::new(Arc::clone(&self.client), path, size_bytes, self.handle.clone())
    }

    /// Fetches a part whole.
    pub(super) fn fetch(&self, key: BlobKey, part: Part, file: &mut File) -> io::Result<()> {
        let path = self.part_path(key, part);
        let meta = self.head(&path)?.ok_or(io::ErrorKind::NotFound)?;
        let remote = Remote::new(Arc::clone(&self.client), path, meta.size, self.handle.clone());
        remote.of_version(meta.e_tag).copy_to(0, meta.size, file)?;
        file.seek(io::SeekFrom::Start(0)).map(drop)
    }

    pub(super) fn put_preview(&self, key: BlobKey, bytes: &[u8]) -> io::Result<()> {
        let preview = self.part_path(key, Part::Preview);
        self.put(preview.clone(), Bytes::copy_from_slice(bytes))?;
        // A delete may have come in between: what no blob stands behind must not stay.
        match self.size_of(key)? {
            Some(_) => Ok(()),
            None => self.delete(preview).and(Err(io::ErrorKind::NotFound.into())),
        }
    }

    pub(super) fn remove(&self, key: BlobKey) -> io::Result<()> {
        self.delete(self.part_path(key, Part::Original))?;
        // After the original, whose absence a maker looks for.
        self.delete(self.part_path(key, Part::Preview))
    }

    pub(super) fn set_aside(&self, key: BlobKey) -> io::Result<()> {
        let client = Arc::clone(&self.client);
        let from = self.part_path(key, Part::Original);
        let to = self.path(&format!("{LOST_AND_FOUND}/{}", key.aside()));
        found(self.wait(LONG_DEADLINE, async move { client.copy(&from, &to).await })).map(drop)
    }
}

/// Writes what arrives to a file, as it arrives.
fn write_all(mut reading: Reading, file: &mut File) -> io::Result<()> {
    while let Some(bytes) = reading.blocking_next()? {
        file.write_all(&bytes)?;
    }
    Ok(())
}

impl Drop for S3 {
    fn drop(&mut self) {
        // Not waited for: it may be dropped where nothing may block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
