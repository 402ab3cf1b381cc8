//! A backup is one point in time of a store in use, and is restored completely or not at all (R23,
//! S6).

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dossier::actions::backup;
use dossier::actions::sweep::sweep;
use dossier::app::App;
use dossier::blobs::Blobs;
use dossier::data_folder::DataFolder;
use dossier::db::Db;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::full_disk::Disk;
use crate::support::tus::csv;
use crate::support::{TestApp, failure, printed, run};

/// Creates a backup while the test's server runs, by its clock.
async fn back_up(app: &App, target: &Path) -> anyhow::Result<backup::Created> {
    let folder = DataFolder::existing(&app.config.data)?;
    let blobs = Blobs::open(folder.root(), &app.config)?;
    let db = Arc::new(Db::open(&dossier::db::DatabaseLocation::File(folder.database()?), 1)?);
    backup::create(folder, blobs, &db, app.clock.clone(), target.to_path_buf()).await
}

/// A stopped store with three attachments and one upload in progress, and a backup of it.
struct Stored {
    data: tempfile::TempDir,
    folder: tempfile::TempDir,
}

impl Stored {
    async fn new(backup: &str) -> Self {
        let (app, contact) = (TestApp::start().await, Uuid::new_v4());
        app.upload_csvs(contact, (0..3).map(|number| format!("{number}.csv"))).await;
        let (_, location) = app.tus_begin(contact, 100).await;
        app.tus_patch(&location, 0, &csv(60)).await;
        let data = app.stop().await;
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join(backup);
        let arguments = ["backup", "create", "--data", path(data.path()), path(&target)];
        let out = printed(&arguments);
        assert!(out.starts_with("Backed up 3 attachments, "), "{out}");
        Self { data, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn blob(&self) -> PathBuf {
        let sums = std::fs::read_to_string(self.path("b/SHA256SUMS")).unwrap();
        self.path("b").join(sums.lines().next().unwrap().split("  ").nth(1).unwrap())
    }

    /// The problems that `backup verify` reports.
    fn problems(&self, backup: &str) -> Vec<String> {
        let output = run(&["backup", "verify", "--json", path(&self.path(backup))]);
        let report: Value = serde_json::from_str(&output.out).unwrap();
        let problems: Vec<String> = serde_json::from_value(report["problems"].clone()).unwrap();
        assert_eq!(output.code, Some(i32::from(!problems.is_empty())), "{output:?}");
        problems
    }

    /// A restore fails and leaves nothing. Returns its error.
    fn failed_restore(&self, backup: &str) -> String {
        let target = self.path("restored");
        let problem =
            failure(&["backup", "restore", "--data", path(&target), path(&self.path(backup))]);
        assert!(!target.exists() && !self.path("restored.partial").exists());
        problem
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn fsck(data: &Path) -> Value {
    let output = run(&["fsck", "--hash", "--json", "--data", path(data)]);
    let report: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!((output.code, &report["total"]), (Some(0), &json!(0)), "{report}");
    report
}

#[tokio::test]
async fn a_restored_store_serves_what_the_original_served() {
    for backup in ["b", "b.tar"] {
        let (app, contact) = (TestApp::start().await, Uuid::new_v4());
        app.upload_csvs(contact, (0..3).map(|number| format!("{number}.csv"))).await;
        let before = app.list(contact).await.ok();
        let link = before["attachments"][1]["document"]["url"].as_str().unwrap().to_owned();
        let (data, folder) = (app.stop().await, tempfile::tempdir().unwrap());
        let (target, restored) = (folder.path().join(backup), folder.path().join("data"));
        printed(&["backup", "create", "--data", path(data.path()), path(&target)]);
        printed(&["backup", "verify", path(&target)]);
        let out = printed(&["backup", "restore", "--data", path(&restored), path(&target)]);
        assert!(out.starts_with("Restored 3 attachments, "), "{out}");
        assert_eq!(fsck(&restored)["files"], 3);
        let app = TestApp::start_on_existing(&restored).await;
        let after = app.list(contact).await.ok();
        let ids = |list: &Value| [0, 1, 2].map(|place| list["attachments"][place]["id"].clone());
        assert_eq!(ids(&after), ids(&before));
        let path = link.splitn(4, '/').nth(3).unwrap();
        let response = app.open(&format!("{}/{path}", app.base)).await;
        assert_eq!(response.body, b"name\n1.csv\n", "earlier links return the same bytes");
    }
}

#[tokio::test]
async fn a_backup_under_load_is_one_point_in_time() {
    let app = TestApp::start_with(&[("removal_grace_seconds", "0")]).await;
    let (contact, folder) = (Uuid::new_v4(), tempfile::tempdir().unwrap());
    let (done, target) = (AtomicBool::new(false), folder.path().join("b"));
    // One client uploads numbered files, another deletes them in order, and the sweep removes the
    // bytes.
    let (uploaded, deleted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let counts = || (uploaded.load(Ordering::SeqCst), deleted.load(Ordering::SeqCst));
    let uploads = async {
        while !done.load(Ordering::SeqCst) {
            let number = counts().0;
            let (name, file) = (format!("{number:05}.csv"), csv(3_000 + number));
            app.upload(contact, &name, "text/csv", &file).await.ok();
            uploaded.fetch_add(1, Ordering::SeqCst);
        }
    };
    let deletes = async {
        while !done.load(Ordering::SeqCst) {
            let (uploads, deletes) = counts();
            if uploads < deletes + 30 {
                tokio::task::yield_now().await;
                continue;
            }
            let list = app.list(contact).await.ok();
            assert_eq!(list["attachments"][0]["fileName"], format!("{deletes:05}.csv"));
            let id = list["attachments"][0]["id"].as_str().unwrap();
            app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
            deleted.fetch_add(1, Ordering::SeqCst);
            sweep(app.app()).await.unwrap();
        }
    };
    let backup = async {
        while counts().1 < 20 {
            tokio::task::yield_now().await;
        }
        let before = counts();
        let created = back_up(app.app(), &target).await;
        let after = counts();
        while counts().1 < after.1 + 20 {
            tokio::task::yield_now().await;
        }
        done.store(true, Ordering::SeqCst);
        created.unwrap();
        (before, after)
    };
    let ((), (), (before, after)) = tokio::join!(uploads, deletes, backup);
    let restored = folder.path().join("data");
    printed(&["backup", "restore", "--data", path(&restored), path(&target)]);
    fsck(&restored);
    let names = TestApp::start_on_existing(&restored).await.list_all(contact, "fileName").await;
    let first: usize = names[0][..5].parse().unwrap();
    let last = first + names.len();
    let one_moment: Vec<String> = (first..last).map(|number| format!("{number:05}.csv")).collect();
    assert_eq!(names, one_moment);
    // A response may have been in flight at the moment of the snapshot.
    assert!((before.1..=after.1 + 1).contains(&first), "{before:?} {first} {after:?}");
    assert!((before.0..=after.0 + 1).contains(&last), "{before:?} {last} {after:?}");
}

#[tokio::test]
async fn removal_waits_for_a_running_backup_but_not_for_a_dead_one() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let gone = async |app: &TestApp| {
        sweep(app.app()).await.unwrap();
        app.blob_files().is_empty()
    };
    for release in [true, false] {
        app.upload_csvs(contact, ["a.csv".to_owned()]).await;
        let id = app.list_all(contact, "id").await.pop().unwrap();
        app.wait_until_staging_is_empty().await;
        let (hold, db) = (Uuid::new_v4(), &app.app().db);
        db.hold_removals(hold, app.app().clock.now_ms() + 300_000).await.unwrap();
        app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
        app.advance_seconds(299);
        assert!(!gone(&app).await);
        if release {
            db.release_removals(hold, app.app().clock.now_ms()).await.unwrap();
        } else {
            app.advance_seconds(2);
        }
        assert!(gone(&app).await, "released: {release}");
    }
}

#[tokio::test]
async fn files_deleted_after_the_backup_stay_deleted() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    app.upload_csvs(contact, (0..3).map(|number| format!("{number}.csv"))).await;
    let folder = tempfile::tempdir().unwrap();
    let (older, newer) = (folder.path().join("older"), folder.path().join("newer"));
    back_up(app.app(), &older).await.unwrap();
    let ids = app.list_all(contact, "id").await;
    app.delete(&format!("/contacts/v4/attachments/{contact}/{}", ids[1])).await.ok();
    back_up(app.app(), &newer).await.unwrap();
    let data = app.stop().await;
    for erased_in in [data.path(), &newer] {
        let restored = folder.path().join(Uuid::new_v4().to_string());
        let arguments = ["backup", "restore", "--erased-in", path(erased_in)];
        let out = printed(&[&arguments[..], &["--data", path(&restored), path(&older)]].concat());
        assert!(out.contains("1 more were deleted after"), "{out}");
        assert_eq!(fsck(&restored)["files"], 2);
        let copy = TestApp::start_on_existing(&restored).await;
        assert_eq!(copy.list_all(contact, "id").await, [ids[0].clone(), ids[2].clone()]);
    }
}

#[tokio::test]
async fn a_cached_page_from_before_a_restore_is_not_reused() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    app.upload_csvs(contact, ["a.csv".to_owned()]).await;
    let folder = tempfile::tempdir().unwrap();
    let (target, restored) = (folder.path().join("b"), folder.path().join("data"));
    back_up(app.app(), &target).await.unwrap();
    app.upload_csvs(contact, ["b.csv".to_owned()]).await;
    let seen = app.list(contact).await.header("etag").to_owned();
    printed(&["backup", "restore", "--data", path(&restored), path(&target)]);
    let copy = TestApp::start_on_existing(&restored).await;
    copy.upload_csvs(contact, ["other.csv".to_owned()]).await;
    let path = format!("/contacts/v4/attachments/{contact}");
    let request = copy.request(reqwest::Method::GET, &path).header("if-none-match", seen);
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn altered_missing_and_foreign_files_are_reported_and_nothing_is_restored() {
    let stored = Stored::new("b").await;
    assert_eq!(stored.problems("b"), [""; 0]);
    let blob = stored.blob();
    let name = blob.strip_prefix(stored.path("b")).unwrap().display().to_string();
    let whole = std::fs::read(&blob).unwrap();
    for altered in [&whole[1..], &[&whole[..], b"more"].concat(), &[b"X", &whole[1..]].concat()] {
        std::fs::write(&blob, altered).unwrap();
        assert_eq!(stored.problems("b"), [format!("altered: {name}")]);
    }
    assert!(stored.failed_restore("b").contains(&format!("altered: {name}")));
    std::fs::remove_file(&blob).unwrap();
    assert_eq!(stored.problems("b"), [format!("missing: {name}")]);
    assert!(stored.failed_restore("b").contains(&format!("missing: {name}")));
    std::os::unix::fs::symlink("/etc/hostname", &blob).unwrap();
    assert_eq!(
        stored.problems("b"),
        [format!("not a regular file: {name}"), format!("missing: {name}")]
    );
    assert!(stored.failed_restore("b").contains("not a regular file"));
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, &whole).unwrap();
    let more = blob.with_file_name("..more");
    std::fs::write(&more, b"x").unwrap();
    std::fs::write(stored.path("b/notes.txt"), b"x").unwrap();
    std::fs::create_dir(stored.path("b/more")).unwrap();
    assert_eq!(stored.problems("b").len(), 3);
    assert!(stored.failed_restore("b").contains("not of this backup: more/"));
}

#[tokio::test]
async fn the_file_list_and_the_rows_are_verified_too() {
    let stored = Stored::new("b").await;
    let sums = std::fs::read(stored.path("b/SHA256SUMS")).unwrap();
    let first = sums.iter().position(|byte| *byte == b'\n').unwrap();
    // A list that misses one of its files is not the list that was written.
    std::fs::write(stored.path("b/SHA256SUMS"), &sums[first + 1..]).unwrap();
    let problems = stored.problems("b");
    assert_eq!(problems[0], "altered: SHA256SUMS");
    assert!(problems[1].starts_with("not of this backup: blobs/"), "{problems:?}");
    // Also when the list was altered to match: then rows and files disagree.
    std::fs::remove_file(stored.path("b").join({
        let line = String::from_utf8(sums[..first].to_vec()).unwrap();
        line.split("  ").nth(1).unwrap().to_owned()
    }))
    .unwrap();
    let mut about: Value =
        serde_json::from_slice(&std::fs::read(stored.path("b/backup.json")).unwrap()).unwrap();
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&sums[first + 1..]);
    about["sumsSha256"] = json!(dossier::archive::hex(&digest.into()));
    std::fs::write(stored.path("b/backup.json"), about.to_string()).unwrap();
    assert_eq!(stored.problems("b"), [""; 0]);
    assert!(stored.failed_restore("b").contains("rowWithoutBytes"));
    about["format"] = json!(2);
    std::fs::write(stored.path("b/backup.json"), about.to_string()).unwrap();
    assert!(stored.failed_restore("b").contains("has format 2, this release reads 1"));
}

#[tokio::test]
async fn a_truncated_or_foreign_tar_file_is_rejected() {
    let stored = Stored::new("b.tar").await;
    let whole = std::fs::read(stored.path("b.tar")).unwrap();
    for eighths in 1..8 {
        std::fs::write(stored.path("b.tar"), &whole[..whole.len() * eighths / 8]).unwrap();
        let output = run(&["backup", "verify", path(&stored.path("b.tar"))]);
        assert!(output.code != Some(0), "{eighths}: {output:?}");
        stored.failed_restore("b.tar");
    }
    for place in (0..whole.len()).step_by(whole.len() / 97) {
        let mut flipped = whole.clone();
        flipped[place] ^= 4;
        std::fs::write(stored.path("b.tar"), &flipped).unwrap();
        let target = stored.path("restored");
        let output =
            run(&["backup", "restore", "--data", path(&target), path(&stored.path("b.tar"))]);
        // Padding and a header's owner are not part of the backup; the restore is correct.
        if output.code == Some(0) {
            fsck(&target);
            std::fs::remove_dir_all(&target).unwrap();
        }
    }
    let mut hostile = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    hostile.append_link(&mut header, "blobs", "/tmp").unwrap();
    std::fs::write(stored.path("h.tar"), hostile.into_inner().unwrap()).unwrap();
    assert!(stored.failed_restore("h.tar").contains("does not begin with SHA256SUMS"));
    std::fs::write(stored.path("h.tar"), b"no tar").unwrap();
    assert!(stored.failed_restore("h.tar").contains("not a backup"));
}

#[tokio::test]
async fn a_damaged_store_is_not_backed_up() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    app.upload_csvs(contact, (0..2).map(|number| format!("{number}.csv"))).await;
    app.wait_until_staging_is_empty().await;
    let (files, folder) = (app.blob_files(), tempfile::tempdir().unwrap());
    std::fs::write(&files[0], b"rot").unwrap();
    std::fs::remove_file(&files[1]).unwrap();
    for target in ["b", "b.tar"] {
        let target = folder.path().join(target);
        let error = format!("{:#}", back_up(app.app(), &target).await.unwrap_err());
        assert!(error.starts_with("2 files differ from what was uploaded"), "{error}");
        assert!(error.contains("size differs from the 11 bytes of its row"), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn nothing_is_overwritten_and_leftovers_of_a_dead_process_do_not_block() {
    let stored = Stored::new("b").await;
    let data = stored.data.path();
    let created = stored.path("b");
    let again = ["backup", "create", "--data", path(data), path(&created)];
    assert!(failure(&again).contains("already exists"));
    let partial = stored.path("c.tar.partial");
    std::fs::create_dir_all(partial.join("content/blobs")).unwrap();
    std::fs::create_dir_all(partial.join("work")).unwrap();
    std::fs::write(partial.join("work/rows"), b"half").unwrap();
    printed(&["backup", "create", "--data", path(data), path(&stored.path("c.tar"))]);
    assert!(!partial.exists());
    assert_eq!(stored.problems("c.tar"), [""; 0]);
    let into = ["backup", "restore", "--data", path(data), path(&created)];
    assert!(failure(&into).contains("already exists"));
    // Secrets and rows stay private.
    let mode = |name| std::fs::metadata(stored.path(name)).unwrap().permissions().mode() & 0o777;
    let modes = ["b", "b/dossier.db", "b/signing.keys", "c.tar"].map(mode);
    assert_eq!(modes, [0o700, 0o600, 0o600, 0o600]);
}

#[tokio::test]
async fn a_full_disk_leaves_no_partial_backup() {
    let stored = Stored::new("b").await;
    let Some(disk) = Disk::mounted("48k") else { return };
    let data = stored.data.path();
    let target = disk.path().join("b");
    let output = run(&["backup", "create", "--data", path(data), path(&target)]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.err.contains("No space left") || output.err.contains("full"), "{}", output.err);
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
}
