//! `dossier storage migrate` under faults: wrong bytes are never accepted, and each problem is
//! reported.

use std::sync::Arc;

use dossier::actions::migrate::{Stores, migrate};
use dossier::actions::sweep::sweep;
use dossier::blobs::{BlobKey, Blobs, ExpectedOriginal, StagedKey};
use dossier::db::Inspection;
use dossier::domain::store_place::{StoreKeys, StoreLocation};
use serde_json::{Value, json};

use crate::full_disk::Disk;
use crate::storage::{
    At, assert_consistent_store, assert_readable, delete, migrate_to, settings, upload_file,
    with_settings,
};
use crate::support::proxy::{Fault, Proxy};
use crate::support::tus::csv;
use crate::support::{Bucket, Dossier, TestApp, bucket, run};

/// More than two parts.
const LARGE: usize = 20 << 20;
/// In every file of three thousand bytes and in none below a thousand.
const MARK: &str = "0000200\n";

/// A server with its bytes on disk, and a bucket to move them to.
async fn on_disk() -> (TestApp, At) {
    let app = TestApp::start_with(&settings(&At::DataFolder, None)).await;
    let new = At::bucket(&app, "new");
    (app, new)
}

async fn move_to(app: &TestApp, new: &At) -> (Option<i32>, Value, String) {
    let (output, report) = migrate_to(app.data(), new, Some(&At::DataFolder), new).await;
    (output.code, report, output.err)
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_truncated_and_lost_originals_are_reported_and_the_others_are_moved() {
    let (app, new) = on_disk().await;
    for number in 0..6 {
        upload_file(&app, csv(3_000 + number)).await;
    }
    upload_file(&app, csv(LARGE)).await;
    let mut originals: Vec<_> = At::DataFolder.originals(app.data()).into_keys().collect();
    originals.sort_by_key(|path| path.metadata().unwrap().len());
    let mut altered = std::fs::read(&originals[0]).unwrap();
    altered[2_000] ^= 1;
    std::fs::write(&originals[0], altered).unwrap();
    std::fs::write(&originals[1], csv(100)).unwrap();
    std::fs::remove_file(&originals[2]).unwrap();
    let mut altered = std::fs::read(&originals[6]).unwrap();
    altered[LARGE - 1] ^= 1;
    std::fs::write(&originals[6], altered).unwrap();
    let (code, report, _) = move_to(&app, &new).await;
    assert_eq!(
        (code, &report["copied"], &report["left"]),
        (Some(1), &json!(3), &json!(4)),
        "{report}"
    );
    let problems = report["problems"].as_array().unwrap();
    let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    for (number, problem) in [
        (0, "the SHA-256 differs"),
        (1, "100 bytes, 3001 expected"),
        (2, "old location"),
        (6, "SHA-256"),
    ] {
        let blob: uuid::Uuid = name(&originals[number]).parse().unwrap();
        let is_it = |line: &&Value| line.as_str().unwrap().contains(&blob.to_string());
        let line = problems.iter().find(is_it).unwrap().as_str().unwrap();
        assert!(line.contains(problem), "{line}");
    }
    let mut there: Vec<_> = new.originals(app.data()).keys().map(name).collect();
    let mut whole: Vec<_> = originals[3..6].iter().map(name).collect();
    there.sort();
    whole.sort();
    assert_eq!(there, whole);
    assert_eq!(new.moving(app.data()).len(), 0);
}

/// A bucket behind a proxy.
async fn behind_proxy(app: &TestApp) -> (At, Proxy) {
    let At::Bucket(new) = At::bucket(app, "new") else { panic!() };
    let proxy = Proxy::in_front_of(bucket::address().to_string()).await;
    let url = new.at(proxy.address);
    (At::Bucket(Bucket { url, ..new }), proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_altered_in_transit_are_never_accepted() {
    let app = TestApp::start_with(&settings(&At::DataFolder, None)).await;
    let (new, proxy) = behind_proxy(&app).await;
    for bytes in [csv(500), csv(3_000), csv(LARGE)] {
        upload_file(&app, bytes).await;
    }
    for fault in [Fault::RequestAltered(MARK), Fault::ResponseAltered(MARK)] {
        proxy.set_fault(fault);
        let (code, report, err) = move_to(&app, &new).await;
        assert!(matches!(code, Some(1 | 2)), "{fault:?} {report} {err}");
        // What was read back correctly may have been settled.
        let there = new.originals(app.data());
        let sizes: Vec<_> = there.keys().map(|path| path.metadata().unwrap().len()).collect();
        assert!(sizes.iter().all(|size| *size == 500), "{fault:?} {sizes:?}");
    }
    proxy.set_fault(Fault::None);
    let (code, report, err) = move_to(&app, &new).await;
    assert_eq!((code, &report["left"]), (Some(0), &json!(0)), "{report} {err}");
    assert_consistent_store(app.data(), &new, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_becomes_unavailable_ends_the_move_and_the_next_one_resumes() {
    let app = TestApp::start_with(&settings(&At::DataFolder, None)).await;
    let (new, proxy) = behind_proxy(&app).await;
    for bytes in [csv(3_000), csv(LARGE)] {
        upload_file(&app, bytes).await;
    }
    proxy.set_fault(Fault::ResponsesLost("CompleteMultipartUpload"));
    let (code, _, err) = move_to(&app, &new).await;
    assert_eq!(code, Some(2), "{err}");
    assert!(
        err.contains(
            "run the same command again to continue: cannot be stored at the new location"
        ),
        "{err}"
    );
    proxy.set_fault(Fault::Unavailable);
    let (code, _, err) = move_to(&app, &new).await;
    assert_eq!(code, Some(2), "{err}");
    assert!(
        err.contains("the new location: the bucket") && err.contains("cannot be used"),
        "{err}"
    );
    proxy.set_fault(Fault::None);
    let (code, report, err) = move_to(&app, &new).await;
    assert_eq!((code, &report["left"]), (Some(0), &json!(0)), "{report} {err}");
    assert_eq!(new.moving(app.data()).len(), 0);
    assert_consistent_store(app.data(), &new, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_locations_and_keys_are_reported_in_plain_words() {
    let (app, new) = on_disk().await;
    let other = At::bucket(&app, "other");
    let At::Bucket(bucket) = &new else { panic!() };
    let wrong = app.data().join("wrong");
    std::fs::write(
        &wrong,
        "[default]\naws_access_key_id = test-id\naws_secret_access_key = hidden\n",
    )
    .unwrap();
    let (url, wrong) = (&*bucket.url, wrong.to_str().unwrap());
    let both = settings(&new, Some(&At::DataFolder));
    let alone = settings(&new, None);
    let At::Bucket(other) = &other else { panic!() };
    for (to, keys, places, report) in [
        (url, wrong, &both, "secret access key is wrong"),
        (&*other.url, wrong, &both, "one of the two locations"),
        (url, wrong, &alone, "already names this location"),
        ("s3://x", wrong, &both, "--to: blobs: bucket: must be"),
        ("nowhere", wrong, &both, "--to: blobs: is not a URL"),
    ] {
        let command = ["storage", "migrate", "--to", to, "--to-credentials-file", keys];
        let arguments = with_settings(&command, app.data(), places);
        let output = tokio::task::spawn_blocking(move || run(&arguments)).await.unwrap();
        assert_eq!((output.code, &*output.out), (Some(2), ""), "{output:?}");
        assert!(output.err.contains(report) && !output.err.contains("hidden"), "{}", output.err);
    }
    let same = [("blobs", url), ("blobs_also", url)];
    let arguments = with_settings(&["serve"], app.data(), &same);
    let output = tokio::task::spawn_blocking(move || run(&arguments)).await.unwrap();
    assert!(output.err.contains("blobs_also names the same location as blobs"), "{}", output.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_move_and_leaves_no_partial_file() {
    let Some(disk) = Disk::mounted("24m") else { return };
    let data = disk.path().join("data");
    let old = At::Bucket(bucket::get_or_create(&data.join("old")));
    let app = TestApp::start_on(disk.path(), &settings(&old, None)).await;
    let mut files = Vec::new();
    for number in 0..10 {
        files.push(upload_file(&app, csv((3 << 20) + number)).await);
    }
    app.wait_until_staging_is_empty().await;
    let at = [&settings(&At::DataFolder, Some(&old))[..], &[("data", data.to_str().unwrap())]];
    let app = app.restart_with(&at.concat()).await;
    let (output, _) = migrate_to(&data, &At::DataFolder, Some(&old), &At::DataFolder).await;
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.err.contains("No space left"), "{}", output.err);
    for file in &files {
        assert_readable(&app, file).await;
    }
    disk.remount("size=64m").await;
    let (output, report) = migrate_to(&data, &At::DataFolder, Some(&old), &At::DataFolder).await;
    assert_eq!((output.code, &report["rows"]), (Some(0), &json!(10)), "{output:?}");
    assert_consistent_store(&data, &At::DataFolder, None).await;
    assert_eq!(At::DataFolder.moving(&data).len(), 0);
    drop(app.stop().await);
}

/// A location as the command opens it.
fn open_blobs(app: &TestApp, at: &At) -> Blobs {
    let keys = std::fs::read_to_string(at.keys()).ok();
    let keys = keys.map(|text| StoreKeys::parse_file(&text).unwrap());
    let path = StoreLocation::parse(at.url()).unwrap();
    Blobs::open_at(app.data(), &path, keys.as_ref(), LARGE as u64).unwrap()
}

/// Copies the only original, like a move that is killed before it has checked the row.
async fn copy_like_a_killed_move(app: &TestApp, old: &At, new: &At) {
    let row = app.inspect(|rows| {
        let mut found = Vec::new();
        rows.each_blob(|row| found.push(row)).unwrap();
        assert_eq!(found.len(), 1);
        found[0]
    });
    let key = BlobKey { site: row.site_id, blob: row.blob_id };
    let staged = StagedKey { key, attachment: row.attachment_id };
    let whole = ExpectedOriginal { staged, size_bytes: row.size_bytes, sha256: row.sha256 };
    let [from, to] = [old, new].map(|at| open_blobs(app, at));
    tokio::task::spawn_blocking(move || to.copy_from(&from, &whole).unwrap()).await.unwrap();
    assert_eq!((new.originals(app.data()).len(), new.moving(app.data()).len()), (1, 1));
}

/// Both kinds of new location, each with an old one of the other kind.
async fn both_directions(more: &[(&str, &str)]) -> [(TestApp, At, At); 2] {
    let local = TestApp::start_with(&[&settings(&At::DataFolder, None)[..], more].concat()).await;
    let new = At::bucket(&local, "new");
    let folder = tempfile::tempdir().unwrap();
    let old = At::Bucket(bucket::get_or_create(folder.path()));
    let remote = TestApp::start_with(&[&settings(&old, None)[..], more].concat()).await;
    [(local, At::DataFolder, new), (remote, old, At::DataFolder)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_deleted_before_a_killed_move_checked_its_row_is_removed() {
    for (app, old, new) in both_directions(&[("removal_grace_seconds", "0")]).await {
        let file = upload_file(&app, csv(3_000)).await;
        copy_like_a_killed_move(&app, &old, &new).await;
        // This server deleted it at the old location before it was copied.
        delete(&app, &file).await;
        sweep(app.app()).await.unwrap();
        let (output, report) = migrate_to(app.data(), &new, Some(&old), &new).await;
        assert_eq!((output.code, &report["rows"]), (Some(0), &json!(0)), "{output:?}");
        let left = [old.originals(app.data()).len(), new.originals(app.data()).len()];
        assert_eq!((left, new.moving(app.data()).len()), ([0, 0], 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_deleted_while_it_is_copied_is_removed_at_the_new_location() {
    for (app, old, new) in both_directions(&[]).await {
        let files = [upload_file(&app, csv(3_000)).await, upload_file(&app, csv(4_000)).await];
        app.wait_until_staging_is_empty().await;
        let [from, to] = [&old, &new].map(|at| open_blobs(&app, at));
        let (app, runtime) = (Arc::new(app), tokio::runtime::Handle::current());
        let (shared, [deleted, _]) = (Arc::clone(&app), files);
        let moving = tokio::task::spawn_blocking(move || {
            let rows = Inspection::open(&shared.database_location()).unwrap();
            let mut deleted = Some(deleted);
            // The first call comes after the rows were read and before anything was copied. The
            // bytes are still at the old location, for downloads in flight.
            migrate(&rows, &Stores { from: &from, to: &to }, &mut |_| {
                if let Some(deleted) = deleted.take() {
                    runtime.block_on(delete(&shared, &deleted));
                }
            })
            .unwrap()
        });
        let migrate_to = moving.await.unwrap();
        assert_eq!(
            (migrate_to.copied, migrate_to.gone, migrate_to.is_complete()),
            (1, 1, true),
            "{migrate_to:?}"
        );
        assert_eq!(old.originals(app.data()).len(), 2);
        assert_eq!((new.originals(app.data()).len(), new.moving(app.data()).len()), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_a_killed_move_had_not_verified_are_copied_again() {
    for (app, old, new) in both_directions(&[]).await {
        upload_file(&app, csv(3_000)).await;
        app.wait_until_staging_is_empty().await;
        copy_like_a_killed_move(&app, &old, &new).await;
        let path = new.originals(app.data()).into_keys().next().unwrap();
        let mut altered = std::fs::read(&path).unwrap();
        altered[2_000] ^= 1;
        std::fs::write(&path, altered).unwrap();
        let (output, report) = migrate_to(app.data(), &new, Some(&old), &new).await;
        assert_eq!((output.code, &report["copied"]), (Some(0), &json!(1)), "{output:?}");
        assert_eq!(new.moving(app.data()).len(), 0);
        assert_consistent_store(app.data(), &new, None).await;
    }
}

/// The peak memory of the command while it copies large originals.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn r28_moving_large_originals_uses_little_memory() {
    const FILES: usize = 8;
    // Far less than the 160 MiB that move. A debug build uses 29 MiB at rest.
    const MAX_KIB: u64 = 96 << 10;

    let (app, new) = on_disk().await;
    for _ in 0..FILES {
        upload_file(&app, csv(LARGE)).await;
    }
    let command = ["storage", "migrate", "--to", new.url()];
    let at = settings(&new, Some(&At::DataFolder));
    let mut process = Dossier::start(&with_settings(&command, app.data(), &at), &[]);
    let status = format!("/proc/{}/status", process.id());
    let mut peak_kib = 0;
    while process.is_running() {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|kib| kib.trim().trim_end_matches(" kB").parse().ok());
        peak_kib = peak.unwrap_or(peak_kib);
    }
    let output = process.wait();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!((1..MAX_KIB).contains(&peak_kib), "{peak_kib} KiB");
}
