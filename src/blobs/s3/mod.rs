//! The store in a bucket, through `object_store`. Calls run on dedicated threads and have
//! deadlines; callers wait for them on blocking threads. Responses of the bucket are not trusted:
//! sizes are compared, and fetched bytes are counted.

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
pub use link::StoreErrorKind;
pub use probe::{Probe, ProbeStep, StepFailure};
pub use reading::{RangeReader, Remote};
pub(super) use sending::Sending;

/// Deadline of a small call, including its retries.
const DEADLINE: Duration = Duration::from_secs(20);
/// Deadline of a part, or of a whole listing.
const LONG_DEADLINE: Duration = Duration::from_mins(2);
/// Lifetime of a presigned URL. It only has to cover the start: a running download continues.
const PRESIGNED_LIFETIME: Duration = Duration::from_mins(5);
/// Memory for parts in this process, in MiB. Further uploads wait.
const BUFFERS_MIB: u32 = 16;

/// A bucket.
pub(super) struct S3 {
    client: Arc<AmazonS3>,
    /// The HTTP settings of the client.
    options: ClientOptions,
    /// Sends PUTs whose bytes are still arriving; `None` where that would not be safe.
    streams: Option<reqwest::Client>,
    prefix: String,
    /// Size of parts, chosen so that the largest upload does not have too many.
    part_bytes: u64,
    buffers: Arc<Semaphore>,
    handle: Handle,
    /// `None` only during drop.
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
        self.begin_put(path, bytes).wait()
    }

    /// Begins to write a small object.
    fn begin_put(&self, path: Path, bytes: impl Into<Bytes>) -> link::Pending<()> {
        let (client, payload) = (Arc::clone(&self.client), PutPayload::from(bytes.into()));
        self.begin(DEADLINE, async move { client.put(&path, payload).await.map(drop) })
    }

    /// Reads a small object.
    fn get(&self, path: Path) -> io::Result<Bytes> {
        let client = Arc::clone(&self.client);
        self.wait(LONG_DEADLINE, async move {
            let response = client.get(&path).await?;
            let size_bytes = response.meta.size;
            let bytes = response.bytes().await?;
            link::check_length(bytes.len() as u64, size_bytes)?;
            Ok(bytes)
        })
    }

    /// Deletes an object. A missing one is not an error.
    fn delete(&self, path: Path) -> io::Result<()> {
        let client = Arc::clone(&self.client);
        let deleted = self.wait(DEADLINE, async move { client.delete(&path).await });
        found(deleted).map(drop)
    }

    /// Names and sizes of all objects below a name that ends with a slash.
    fn list(&self, below: &str) -> io::Result<Vec<(String, u64)>> {
        let (client, path) = (Arc::clone(&self.client), self.path(below.trim_end_matches('/')));
        let listed = self.wait(LONG_DEADLINE, async move {
            client.list(Some(&path)).try_collect::<Vec<ObjectMeta>>().await
        })?;
        let start = self.prefix.len() + below.len();
        let name = |path: &Path| path.as_ref().get(start..).unwrap_or_default().to_owned();
        Ok(listed.iter().map(|meta| (name(&meta.location), meta.size)).collect())
    }

    /// The names of sites that have originals.
    pub(super) fn site_names(&self) -> io::Result<Vec<String>> {
        let (client, path) = (Arc::clone(&self.client), self.path(BLOBS));
        let listed =
            self.wait(LONG_DEADLINE, async move { client.list_with_delimiter(Some(&path)).await })?;
        let names = listed.common_prefixes.iter().chain(listed.objects.iter().map(|o| &o.location));
        Ok(names.filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    /// Names and sizes of the objects in the folder of a blob.
    pub(super) fn blob_names(&self, sample: BlobKey) -> io::Result<Vec<(String, u64)>> {
        self.list(&format!("{BLOBS}/{}/{}/", sample.site_directory(), sample.directory()))
    }

    pub(super) fn size_of(&self, key: BlobKey) -> io::Result<Option<u64>> {
        Ok(self.head(&self.part_path(key, Part::Original))?.map(|meta| meta.size))
    }

    pub(super) fn remote(&self, key: BlobKey, size_bytes: u64) -> Remote {
        let path = self.part_path(key, Part::Original);
        Remote::new(Arc::clone(&self.client), path, size_bytes, self.handle.clone())
    }

    /// Downloads a part completely.
    pub(super) fn fetch(&self, key: BlobKey, part: Part, file: &mut File) -> io::Result<()> {
        let path = self.part_path(key, part);
        let meta = self.head(&path)?.ok_or(io::ErrorKind::NotFound)?;
        let remote = Remote::new(Arc::clone(&self.client), path, meta.size, self.handle.clone());
        remote.with_version(meta.e_tag).copy_to(0, meta.size, file)?;
        file.seek(io::SeekFrom::Start(0)).map(drop)
    }

    pub(super) fn put_preview(&self, key: BlobKey, bytes: &[u8]) -> io::Result<()> {
        let preview = self.part_path(key, Part::Preview);
        self.put(preview.clone(), Bytes::copy_from_slice(bytes))?;
        // The blob may have been deleted meanwhile: a preview without an original must not stay.
        match self.size_of(key)? {
            Some(_) => Ok(()),
            None => self.delete(preview).and(Err(io::ErrorKind::NotFound.into())),
        }
    }

    pub(super) fn remove(&self, key: BlobKey) -> io::Result<()> {
        self.delete(self.part_path(key, Part::Original))?;
        // After the original: a concurrent render checks for its absence.
        self.delete(self.part_path(key, Part::Preview))
    }

    pub(super) fn set_aside(&self, key: BlobKey) -> io::Result<()> {
        let client = Arc::clone(&self.client);
        let from = self.part_path(key, Part::Original);
        let to = self.path(&format!("{LOST_AND_FOUND}/{}", key.lost_and_found_name()));
        found(self.wait(LONG_DEADLINE, async move { client.copy(&from, &to).await })).map(drop)
    }
}

/// Writes bytes to a file as they arrive.
fn write_all(mut reader: RangeReader, file: &mut File) -> io::Result<()> {
    while let Some(bytes) = reader.blocking_next()? {
        file.write_all(&bytes)?;
    }
    Ok(())
}

impl Drop for S3 {
    fn drop(&mut self) {
        // Does not wait: drop may run where blocking is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
