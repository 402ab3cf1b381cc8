//! `dossier storage migrate` when something is wrong: a wrong byte is never accepted, and what went
//! wrong is named.

use std::sync::Arc;

use dossier::actions::migrate::{Places, migrate};
use dossier::actions::sweep::sweep;
use dossier::blobs::{BlobKey, Blobs, StagedKey, Whole};
use dossier::db::Inspection;
use dossier::domain::store_place::{StoreKeys, StorePlace};
use serde_json::{Value, json};

use crate::full_disk::Disk;
use crate::storage::{
    At, delete, is_there, moved, nothing_is_wrong, settings, uploaded, with_settings,
};
use crate::support::proxy::{Fault, Proxy};
use crate::support::tus::csv;
use crate::support::{Bucket, Dossier, TestApp, bucket, run};

/// More than two parts.
const LARGE: usize = 20 << 20;
/// Stands in every file of three thousand bytes, and in none of less than a thousand.
const MARK: &str = "0000200\n";

/// A server on its data folder, and a bucket to move to.
async fn on_disk() -> (TestApp, At) {
    let app = TestApp::start_with(&settings(&At::DataFolder, None)).await;
    let new = At::bucket(&app, "new");
    (app, new)
}

async fn move_to(app: &TestApp, new: &At) -> (Option<i32>, Value, String) {
    let (ended, said) = moved(app.data(), new, Some(&At::DataFolder), new).await;
    (ended.code, said, ended.err)
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_cut_and_lost_originals_are_named_and_the_others_go() {
    let (app, new) = on_disk().await;
    for number in 0..6 {
        uploaded(&app, csv(3_000 + number)).await;
    }
    uploaded(&app, csv(LARGE)).await;
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
    let (code, said, _) = move_to(&app, &new).await;
    assert_eq!((code, &said["copied"], &said["left"]), (Some(1), &json!(3), &json!(4)), "{said}");
    let told = said["problems"].as_array().unwrap();
    let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    for (number, problem) in
        [(0, "another SHA-256"), (1, "100 bytes, 3001 expected"), (2, "old place"), (6, "SHA-256")]
    {
        let blob: uuid::Uuid = name(&originals[number]).parse().unwrap();
        let is_it = |line: &&Value| line.as_str().unwrap().contains(&blob.to_string());
        let line = told.iter().find(is_it).unwrap().as_str().unwrap();
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
    let proxy = Proxy::before(bucket::address().to_string()).await;
    let url = new.at(proxy.address);
    (At::Bucket(Bucket { url, ..new }), proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_altered_on_their_way_are_never_accepted() {
    let app = TestApp::start_with(&settings(&At::DataFolder, None)).await;
    let (new, proxy) = behind_proxy(&app).await;
    for bytes in [csv(500), csv(3_000), csv(LARGE)] {
        uploaded(&app, bytes).await;
    }
    for fault in [Fault::AskedAltered(MARK), Fault::AnsweredAltered(MARK)] {
        proxy.fails(fault);
        let (code, said, err) = move_to(&app, &new).await;
        assert!(matches!(code, Some(1 | 2)), "{fault:?} {said} {err}");
        // What was read back well may have been settled.
        let there = new.originals(app.data());
        let sizes: Vec<_> = there.keys().map(|path| path.metadata().unwrap().len()).collect();
        assert!(sizes.iter().all(|size| *size == 500), "{fault:?} {sizes:?}");
    }
    proxy.fails(Fault::None);
    let (code, said, err) = move_to(&app, &new).await;
    assert_eq!((code, &said["left"]), (Some(0), &json!(0)), "{said} {err}");
    nothing_is_wrong(app.data(), &new, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_away_ends_the_move_and_the_next_one_goes_on() {
    let app = TestApp::start_with(&settings(&At::DataFolder, None)).await;
    let (new, proxy) = behind_proxy(&app).await;
    for bytes in [csv(3_000), csv(LARGE)] {
        uploaded(&app, bytes).await;
    }
    proxy.fails(Fault::AnswersLost("CompleteMultipartUpload"));
    let (code, _, err) = move_to(&app, &new).await;
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("goes on from here: cannot be kept at the new place"), "{err}");
    proxy.fails(Fault::Away);
    let (code, _, err) = move_to(&app, &new).await;
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("the new place: the bucket") && err.contains("cannot be used"), "{err}");
    proxy.fails(Fault::None);
    let (code, said, err) = move_to(&app, &new).await;
    assert_eq!((code, &said["left"]), (Some(0), &json!(0)), "{said} {err}");
    assert_eq!(new.moving(app.data()).len(), 0);
    nothing_is_wrong(app.data(), &new, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_places_and_keys_are_said_in_plain_words() {
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
    for (to, keys, places, said) in [
        (url, wrong, &both, "secret access key is wrong"),
        (&*other.url, wrong, &both, "one of the two places"),
        (url, wrong, &alone, "names this place already"),
        ("s3://x", wrong, &both, "--to: blobs: bucket: must be"),
        ("nowhere", wrong, &both, "--to: blobs: is no URL"),
    ] {
        let command = ["storage", "migrate", "--to", to, "--to-credentials-file", keys];
        let arguments = with_settings(&command, app.data(), places);
        let ended = tokio::task::spawn_blocking(move || run(&arguments)).await.unwrap();
        assert_eq!((ended.code, &*ended.out), (Some(2), ""), "{ended:?}");
        assert!(ended.err.contains(said) && !ended.err.contains("hidden"), "{}", ended.err);
    }
    let same = [("blobs", url), ("blobs_also", url)];
    let arguments = with_settings(&["serve"], app.data(), &same);
    let ended = tokio::task::spawn_blocking(move || run(&arguments)).await.unwrap();
    assert!(ended.err.contains("blobs_also names the same place as blobs"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_move_and_leaves_nothing_half() {
    let Some(disk) = Disk::mounted("24m") else { return };
    let data = disk.path().join("data");
    let old = At::Bucket(bucket::make(&data.join("old")));
    let app = TestApp::start_on(disk.path(), &settings(&old, None)).await;
    let mut files = Vec::new();
    for number in 0..10 {
        files.push(uploaded(&app, csv((3 << 20) + number)).await);
    }
    app.nothing_staged().await;
    let at = [&settings(&At::DataFolder, Some(&old))[..], &[("data", data.to_str().unwrap())]];
    let app = app.restart_with(&at.concat()).await;
    let (ended, _) = moved(&data, &At::DataFolder, Some(&old), &At::DataFolder).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.err.contains("No space left"), "{}", ended.err);
    for file in &files {
        is_there(&app, file).await;
    }
    disk.remount("size=64m").await;
    let (ended, said) = moved(&data, &At::DataFolder, Some(&old), &At::DataFolder).await;
    assert_eq!((ended.code, &said["rows"]), (Some(0), &json!(10)), "{ended:?}");
    nothing_is_wrong(&data, &At::DataFolder, None).await;
    assert_eq!(At::DataFolder.moving(&data).len(), 0);
    drop(app.stop().await);
}

/// A place as the command opens it.
fn opened(app: &TestApp, at: &At) -> Blobs {
    let keys = std::fs::read_to_string(at.keys()).ok();
    let keys = keys.map(|text| StoreKeys::parse_file(&text).unwrap());
    let place = StorePlace::parse(at.url()).unwrap();
    Blobs::open_at(app.data(), &place, keys.as_ref(), LARGE as u64).unwrap()
}

/// Copies the only original as a move does that is killed before it has looked at its row.
async fn copied_by_a_killed_move(app: &TestApp, old: &At, new: &At) {
    let row = app.inspect(|rows| {
        let mut found = Vec::new();
        rows.each_blob(|row| found.push(row)).unwrap();
        assert_eq!(found.len(), 1);
        found[0]
    });
    let key = BlobKey { site: row.site_id, blob: row.blob_id };
    let named = StagedKey { key, attachment: row.attachment_id };
    let whole = Whole { named, size_bytes: row.size_bytes, sha256: row.sha256 };
    let [from, to] = [old, new].map(|at| opened(app, at));
    tokio::task::spawn_blocking(move || to.take_over(&from, &whole).unwrap()).await.unwrap();
    assert_eq!((new.originals(app.data()).len(), new.moving(app.data()).len()), (1, 1));
}

/// Both kinds of new places, each with an old one of the other kind.
async fn both_ways(more: &[(&str, &str)]) -> [(TestApp, At, At); 2] {
    let local = TestApp::start_with(&[&settings(&At::DataFolder, None)[..], more].concat()).await;
    let new = At::bucket(&local, "new");
    let folder = tempfile::tempdir().unwrap();
    let old = At::Bucket(bucket::make(folder.path()));
    let remote = TestApp::start_with(&[&settings(&old, None)[..], more].concat()).await;
    [(local, At::DataFolder, new), (remote, old, At::DataFolder)]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_before_a_killed_move_had_looked_at_its_row_does_not_stay() {
    for (app, old, new) in both_ways(&[("removal_grace_seconds", "0")]).await {
        let file = uploaded(&app, csv(3_000)).await;
        copied_by_a_killed_move(&app, &old, &new).await;
        // This server has removed it at the old place before it was copied.
        delete(&app, &file).await;
        sweep(app.app()).await.unwrap();
        let (ended, said) = moved(app.data(), &new, Some(&old), &new).await;
        assert_eq!((ended.code, &said["rows"]), (Some(0), &json!(0)), "{ended:?}");
        let left = [old.originals(app.data()).len(), new.originals(app.data()).len()];
        assert_eq!((left, new.moving(app.data()).len()), ([0, 0], 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_while_it_is_copied_does_not_stay_at_the_new_place() {
    for (app, old, new) in both_ways(&[]).await {
        let files = [uploaded(&app, csv(3_000)).await, uploaded(&app, csv(4_000)).await];
        app.nothing_staged().await;
        let [from, to] = [&old, &new].map(|at| opened(&app, at));
        let (app, runtime) = (Arc::new(app), tokio::runtime::Handle::current());
        let (shared, [deleted, _]) = (Arc::clone(&app), files);
        let moving = tokio::task::spawn_blocking(move || {
            let rows = Inspection::open(&shared.rows()).unwrap();
            let mut deleted = Some(deleted);
            // Told for the first time when the rows were read and nothing was copied yet. The bytes are
            // still at the old place, for downloads that run.
            migrate(&rows, &Places { from: &from, to: &to }, &mut |_| {
                if let Some(deleted) = deleted.take() {
                    runtime.block_on(delete(&shared, &deleted));
                }
            })
            .unwrap()
        });
        let moved = moving.await.unwrap();
        assert_eq!((moved.copied, moved.gone, moved.is_complete()), (1, 1, true), "{moved:?}");
        assert_eq!(old.originals(app.data()).len(), 2);
        assert_eq!((new.originals(app.data()).len(), new.moving(app.data()).len()), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_move_had_not_read_back_is_copied_again() {
    for (app, old, new) in both_ways(&[]).await {
        uploaded(&app, csv(3_000)).await;
        app.nothing_staged().await;
        copied_by_a_killed_move(&app, &old, &new).await;
        let place = new.originals(app.data()).into_keys().next().unwrap();
        let mut altered = std::fs::read(&place).unwrap();
        altered[2_000] ^= 1;
        std::fs::write(&place, altered).unwrap();
        let (ended, said) = moved(app.data(), &new, Some(&old), &new).await;
        assert_eq!((ended.code, &said["copied"]), (Some(0), &json!(1)), "{ended:?}");
        assert_eq!(new.moving(app.data()).len(), 0);
        nothing_is_wrong(app.data(), &new, None).await;
    }
}

/// What the command may hold while it copies large originals.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn r28_large_originals_move_in_little_memory() {
    const FILES: usize = 8;
    // Far less than the 160 MiB that move. A debug build takes 29 MiB at rest already.
    const MOST_KIB: u64 = 96 << 10;

    let (app, new) = on_disk().await;
    for _ in 0..FILES {
        uploaded(&app, csv(LARGE)).await;
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
    let ended = process.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!((1..MOST_KIB).contains(&peak_kib), "{peak_kib} KiB");
}
