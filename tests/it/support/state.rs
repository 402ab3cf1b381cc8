//! Everything that a server has stored, for tests of calls that must change nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dossier::domain::store_place::StoreLocation;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::{TestApp, bucket, database};

/// How long work may continue after its response, on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(20);

impl TestApp {
    /// Every row and every file beside the database, once nothing is in progress. Job leases are
    /// left out: they change by themselves.
    pub(crate) async fn snapshot(&self) -> Vec<String> {
        self.wait_until_staging_is_empty().await;
        let mut stored = match database::url_for(self.data()) {
            Some(url) => database::rows(url),
            None => rows(&self.data().join("dossier.db")),
        };
        stored.extend(self.blob_files().iter().map(|path| path.display().to_string()));
        stored
    }

    /// Waits until finished uploads have left the staging folder, which happens just after their
    /// response.
    pub(crate) async fn wait_until_staging_is_empty(&self) {
        let (started, mut staged) = (Instant::now(), files(&self.store_folder().join("staging")));
        while !staged.is_empty() {
            assert!(started.elapsed() < DEADLINE, "left in staging: {staged:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
            staged = files(&self.store_folder().join("staging"));
        }
    }

    /// Waits until the only file in the staging folder has this size.
    pub(crate) async fn wait_for_staged_bytes(&self, bytes: u64) {
        let started = Instant::now();
        loop {
            let staged = files(&self.store_folder().join("staging"));
            let sizes: Vec<u64> =
                staged.iter().map(|path| path.metadata().map_or(0, |data| data.len())).collect();
            if sizes == [bytes] {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "{sizes:?} bytes are staged, not {bytes}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The files that hold uploaded bytes and previews.
    pub(crate) fn blob_files(&self) -> Vec<PathBuf> {
        files(&self.store_folder().join("blobs"))
    }

    /// The states of resumable uploads in a bucket.
    pub(crate) fn states(&self) -> Vec<PathBuf> {
        files(&self.store_folder().join("states"))
    }

    /// The folder that holds `staging` and `blobs`, also for a bucket.
    pub(crate) fn store_folder(&self) -> PathBuf {
        match self.app().config.blobs {
            StoreLocation::Local => self.data().to_path_buf(),
            StoreLocation::S3(_) => bucket::get_or_create(self.data()).folder,
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        // A bucket has no empty folders.
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

fn rows(database: &Path) -> Vec<String> {
    let connection =
        Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut tables = connection
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'job_leases'")
        .unwrap();
    let tables: Vec<String> =
        tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut rows = Vec::new();
    for table in tables {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut found = statement.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let values: Vec<ValueRef<'_>> =
                (0..columns).map(|column| row.get_ref(column).unwrap()).collect();
            rows.push(format!("{table}: {values:?}"));
        }
    }
    rows.sort();
    rows
}
