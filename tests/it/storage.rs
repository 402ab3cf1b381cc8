//! `dossier storage migrate`: bytes move while the server is in use, and none is ever missing
//! (R25).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dossier::actions::sweep::sweep;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::files::{decoded, eventually, jpeg, quarters};
use crate::support::tus::csv;
use crate::support::{
    Bucket, CommandOutput, Dossier, TestApp, bucket, database, run, runs_long_forms,
};

/// More than two parts.
const LARGE: usize = 20 << 20;

/// A location of the bytes.
pub(crate) enum At {
    DataFolder,
    Bucket(Bucket),
}

impl At {
    /// Buckets of one test differ by name.
    pub(crate) fn bucket(app: &TestApp, name: &str) -> Self {
        Self::Bucket(bucket::get_or_create(&app.data().join(name)))
    }

    pub(crate) fn url(&self) -> &str {
        match self {
            Self::DataFolder => "local",
            Self::Bucket(bucket) => &bucket.url,
        }
    }

    pub(crate) fn keys(&self) -> &str {
        match self {
            Self::DataFolder => "",
            Self::Bucket(bucket) => bucket.credentials.to_str().unwrap(),
        }
    }

    /// The originals stored there, with size and modification time to detect rewrites.
    pub(crate) fn originals(&self, data: &Path) -> HashMap<PathBuf, (u64, std::time::SystemTime)> {
        let folder = match self {
            Self::DataFolder => data,
            Self::Bucket(bucket) => &bucket.folder,
        };
        let of = |path: PathBuf| {
            let metadata = path.metadata().ok()?;
            let id = std::os::unix::fs::MetadataExt::ino(&metadata);
            Some((path, (id, metadata.modified().ok()?)))
        };
        let is_original = |path: &PathBuf| path.extension().is_none();
        let files = names_below(&folder.join("blobs")).into_iter().filter(is_original);
        files.filter_map(of).collect()
    }

    /// The copies of moves that are not settled yet.
    pub(crate) fn moving(&self, data: &Path) -> Vec<PathBuf> {
        match self {
            Self::DataFolder => names_below(&data.join("moving")),
            Self::Bucket(bucket) => names_below(&bucket.folder.join("moving")),
        }
    }

    fn remove(&self, data: &Path) {
        let folder = match self {
            Self::DataFolder => data,
            Self::Bucket(bucket) => &bucket.folder,
        };
        std::fs::remove_dir_all(folder.join("blobs")).unwrap();
    }
}

fn names_below(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

/// The settings that name the current location and the previous one.
pub(crate) fn settings<'a>(at: &'a At, also: Option<&'a At>) -> [(&'a str, &'a str); 4] {
    [
        ("blobs", at.url()),
        ("blobs_credentials_file", at.keys()),
        ("blobs_also", also.map_or("", At::url)),
        ("blobs_also_credentials_file", also.map_or("", At::keys)),
    ]
}

/// A command with a server's settings.
pub(crate) fn with_settings(
    command: &[&str],
    data: &Path,
    settings: &[(&str, &str)],
) -> Vec<String> {
    let mut arguments: Vec<String> = command.iter().map(|part| (*part).to_owned()).collect();
    arguments.extend(["--data".to_owned(), data.to_str().unwrap().to_owned()]);
    for (name, value) in settings {
        arguments.extend(["--set".to_owned(), format!("{name}={value}")]);
    }
    arguments
}

/// Runs a move; returns its output and its report, whatever its exit code.
pub(crate) async fn migrate_to(
    data: &Path,
    at: &At,
    also: Option<&At>,
    to: &At,
) -> (CommandOutput, Value) {
    let command = ["storage", "migrate", "--json", "--to", to.url()];
    let arguments = with_settings(&command, data, &settings(at, also));
    let output = tokio::task::spawn_blocking(move || run(&arguments)).await.unwrap();
    let report = serde_json::from_str(&output.out).unwrap_or_default();
    (output, report)
}

/// Asserts that rows and bytes agree.
pub(crate) async fn assert_consistent_store(data: &Path, at: &At, also: Option<&At>) {
    let arguments = with_settings(&["fsck", "--hash"], data, &settings(at, also));
    let output = tokio::task::spawn_blocking(move || run(&arguments)).await.unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// An upload: its contact, the attachment's id and the bytes.
type File = (Uuid, String, Vec<u8>);

pub(crate) async fn upload_file(app: &TestApp, bytes: Vec<u8>) -> File {
    let contact = Uuid::new_v4();
    app.upload(contact, "a.csv", "text/csv", &bytes).await.ok();
    let id = app.list(contact).await.ok()["attachments"][0]["id"].as_str().unwrap().to_owned();
    (contact, id, bytes)
}

pub(crate) async fn assert_readable(app: &TestApp, (contact, _, bytes): &File) {
    let list = app.list(*contact).await.ok();
    let url = list["attachments"][0]["document"]["url"].as_str().unwrap();
    let opened = app.open(url).await;
    assert!(opened.status == 200 && opened.body == *bytes, "{} {contact}", opened.status);
}

pub(crate) async fn delete(app: &TestApp, (contact, id, _): &File) {
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_move_between_buckets_and_disk_and_nothing_looks_different() {
    let more = [("removal_grace_seconds", "0"), ("media_cache_bytes", "0")];
    let app = TestApp::start_with(&[&settings(&At::DataFolder, None)[..], &more].concat()).await;
    let places = [At::bucket(&app, "one"), At::bucket(&app, "two"), At::DataFolder];
    let mut files = Vec::new();
    for size in [1, 3_000, 9 << 20, LARGE] {
        files.push(upload_file(&app, csv(size)).await);
    }
    let (picture, _) = app.picture("a.jpg", &jpeg(&quarters(900, 700))).await;
    let picture = app.path_of(&picture).to_owned();
    let mut app = app;
    let mut old = &At::DataFolder;
    for (number, new) in places.iter().enumerate() {
        let contact = Uuid::new_v4();
        let (_, location) = app.tus_begin(contact, 100).await;
        app.tus_patch(&location, 0, &csv(60)).await;
        let path = app.path_of(&location).to_owned();
        app = app.restart_with(&[&settings(new, Some(old))[..], &more].concat()).await;
        let data = app.data().to_path_buf();
        for file in &files {
            assert_readable(&app, file).await;
        }
        // Uploads that began at the old location finish there; new ones go to the new location.
        files.push(upload_file(&app, csv(4_000 + number)).await);
        assert_eq!(new.originals(&data).len(), 1);
        let (output, report) = migrate_to(&data, new, Some(old), new).await;
        assert_eq!((output.code, &report["uploadsLeft"]), (Some(1), &json!(1)), "{output:?}");
        let location = format!("{}{path}", app.base);
        let patched = app.tus_patch(&location, 60, &csv(100)[60..]).await;
        assert_eq!(patched.status, 204, "{patched:?}");
        let deleted = files.remove(0);
        delete(&app, &deleted).await;
        sweep(app.app()).await.unwrap();
        eventually("everything is moved", async || {
            migrate_to(&data, new, Some(old), new).await.0.code == Some(0)
        })
        .await;
        let (_, report) = migrate_to(&data, new, Some(old), new).await;
        // Besides these, the files uploaded in pieces, and pictures.
        let rows = files.len() + 2 * (number + 1);
        let expected = json!([rows, rows, 0, 0, []]);
        let fields =
            ["rows", "there", "copied", "left", "problems"].map(|name| report[name].clone());
        assert_eq!(json!(fields), expected, "{report}");
        assert_eq!(old.originals(&data).len(), rows - 1, "all but the later upload");
        assert_eq!(new.moving(&data), Vec::<PathBuf>::new());
        assert_consistent_store(&data, new, Some(old)).await;
        old.remove(&data);
        app = app.restart_with(&[&settings(new, None)[..], &more].concat()).await;
        for file in &files {
            assert_readable(&app, file).await;
        }
        let opened = app.open(&format!("{}{picture}", app.base)).await;
        assert_eq!(opened.body, jpeg(&quarters(900, 700)));
        let (_, attachment) = app.picture("b.jpg", &jpeg(&quarters(800, 600))).await;
        let preview = app.open(attachment["previewImage"]["url"].as_str().unwrap()).await;
        assert_eq!(decoded(&preview.body).width(), 640);
        assert_consistent_store(&data, new, None).await;
        old = new;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_the_old_location_need_not_be_configured() {
    let app = TestApp::start_with(&settings(&At::DataFolder, None)).await;
    let file = upload_file(&app, csv(3_000)).await;
    let new = At::bucket(&app, "new");
    let At::Bucket(Bucket { credentials, .. }) = &new else { panic!() };
    let keys = credentials.to_str().unwrap();
    let data = app.data().to_path_buf();
    let at = settings(&At::DataFolder, None);
    let migrate = async |more: &[&str]| {
        let command = ["storage", "migrate", "--to", new.url(), "--to-credentials-file", keys];
        let arguments = with_settings(&[&command, more].concat(), &data, &at);
        tokio::task::spawn_blocking(move || run(&arguments)).await.unwrap()
    };
    let rejected = migrate(&[]).await;
    assert_eq!(rejected.code, Some(2), "{rejected:?}");
    assert!(rejected.err.contains("blobs_also"), "{}", rejected.err);
    app.wait_until_staging_is_empty().await;
    if database::url_for(&data).is_some() {
        // Without a server, nothing shows whether another node is running.
        assert!(rejected.err.contains("other nodes"), "{}", rejected.err);
        return;
    }
    let moving = async || {
        let output = migrate(&["--dry-run", "--json"]).await;
        let report: Value = serde_json::from_str(&output.out).unwrap();
        assert_eq!((output.code, &report["left"]), (Some(1), &json!(1)));
        assert_eq!((&report["leftBytes"], new.originals(&data).len()), (&json!(3_000), 0));
        let copied = migrate(&[]).await;
        assert_eq!(copied.code, Some(0), "{copied:?}");
        assert!(copied.out.ends_with("Everything is at the new location."), "{}", copied.out);
    };
    let app = app.restart_after(moving, &settings(&new, None)).await;
    assert_readable(&app, &file).await;
    assert_consistent_store(&data, &new, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_move_resumes_and_copies_nothing_verified_again() {
    let (files, kills) = if runs_long_forms() { (120, 3) } else { (60, 1) };
    let app = TestApp::start_with(&settings(&At::DataFolder, None)).await;
    let (one, two) = (At::bucket(&app, "one"), At::bucket(&app, "two"));
    let contact = Uuid::new_v4();
    app.upload_many_csvs(contact, files).await;
    for size in [9 << 20, LARGE] {
        upload_file(&app, csv(size)).await;
    }
    app.wait_until_staging_is_empty().await;
    let data = app.data().to_path_buf();
    let ways = [(&At::DataFolder, &one), (&one, &two), (&two, &At::DataFolder)];
    for (old, new) in ways {
        if let At::DataFolder = new {
            new.remove(&data);
        }
        let mut there = HashMap::new();
        for kill in 1..=kills {
            let command = ["storage", "migrate", "--json", "--to", new.url()];
            let arguments = with_settings(&command, &data, &settings(new, Some(old)));
            let mut process = Dossier::start(&arguments, &[]);
            let enough = there.len() + files / (2 * kills) * kill.min(2);
            eventually("some files are copied", async || {
                !process.is_running() || new.originals(&data).len() >= enough
            })
            .await;
            process.signal("KILL");
            assert_eq!(process.wait().code, None, "the move finished before kill {kill}");
            // In this order, so that files settled in between are left out.
            let unsettled = new.moving(&data);
            let is_settled = |path: &Path| {
                let blob = path.file_name().unwrap().to_str().unwrap();
                !unsettled.iter().any(|name| name.to_str().unwrap().ends_with(blob))
            };
            let now = new.originals(&data);
            for (path, id) in &there {
                assert_eq!(now.get(path), Some(id), "the file was copied again");
            }
            there = now.into_iter().filter(|(path, _)| is_settled(path)).collect();
        }
        let (output, report) = migrate_to(&data, new, Some(old), new).await;
        assert_eq!((output.code, &report["rows"]), (Some(0), &json!(files + 2)), "{output:?}");
        let now = new.originals(&data);
        assert!(there.iter().all(|(path, id)| now.get(path) == Some(id)), "copied again");
        assert_eq!((now.len(), new.moving(&data).len()), (files + 2, 0));
        assert_consistent_store(&data, new, None).await;
    }
}

/// Reads, uploads and deletes until it is stopped.
async fn use_store(app: Arc<TestApp>, end: Arc<AtomicBool>, kept: Vec<File>) -> (Vec<File>, usize) {
    let (mut files, mut reads) = (kept, 0);
    while !end.load(Ordering::Relaxed) {
        files.push(upload_file(&app, csv(2_000 + reads)).await);
        for file in files.iter().rev().take(4).chain(files.iter().take(4)) {
            assert_readable(&app, file).await;
            reads += 1;
        }
        let deleted = files.remove(reads % files.len());
        delete(&app, &deleted).await;
        sweep(app.app()).await.unwrap();
    }
    (files, reads)
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_during_killed_moves_no_read_fails_and_deletes_hold() {
    const CLIENTS: usize = 3;

    let kills = if runs_long_forms() { 5 } else { 2 };
    let more = [("removal_grace_seconds", "0"), ("media_cache_bytes", "0")];
    let app = TestApp::start_with(&[&settings(&At::DataFolder, None)[..], &more].concat()).await;
    let new = At::bucket(&app, "new");
    let mut kept: Vec<Vec<File>> = Vec::new();
    for client in 0..CLIENTS {
        let mut files = Vec::new();
        for number in 0..25 {
            // One large file, so that there is time to kill the move.
            let size = if number == 12 { LARGE } else { 1_000 * client + number + 1 };
            files.push(upload_file(&app, csv(size)).await);
        }
        kept.push(files);
    }
    let app = app.restart_with(&[&settings(&new, Some(&At::DataFolder))[..], &more].concat()).await;
    let app = Arc::new(app);
    let end = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for files in kept {
        clients.spawn(use_store(Arc::clone(&app), Arc::clone(&end), files));
    }
    let data = app.data().to_path_buf();
    let command = ["storage", "migrate", "--to", new.url()];
    let arguments = with_settings(&command, &data, &settings(&new, Some(&At::DataFolder)));
    let mut killed = 0;
    for kill in 1..=kills {
        let mut process = Dossier::start(&arguments, &[]);
        let before = new.originals(&data).len();
        eventually("some files are copied", async || {
            !process.is_running() || new.originals(&data).len() > before + kill as usize
        })
        .await;
        // Little may be left to copy, so the move may have finished.
        if process.is_running() {
            process.signal("KILL");
        }
        killed += u32::from(process.wait().code.is_none());
    }
    assert!(killed > 0);
    let (output, _) = migrate_to(&data, &new, Some(&At::DataFolder), &new).await;
    assert_ne!(output.code, Some(2), "{output:?}");
    end.store(true, Ordering::Relaxed);
    let (mut files, mut reads) = (Vec::new(), 0);
    while let Some(client) = clients.join_next().await {
        let (some, read) = client.unwrap();
        files.extend(some);
        reads += read;
    }
    assert!(reads > CLIENTS * 8, "{reads}");
    app.wait_until_staging_is_empty().await;
    while sweep(app.app()).await.unwrap().blobs > 0 {}
    eventually("everything is moved", async || {
        migrate_to(&data, &new, Some(&At::DataFolder), &new).await.0.code == Some(0)
    })
    .await;
    assert_consistent_store(&data, &new, Some(&At::DataFolder)).await;
    At::DataFolder.remove(&data);
    let app = Arc::into_inner(app).unwrap();
    let app = app.restart_with(&settings(&new, None)).await;
    for file in &files {
        assert_readable(&app, file).await;
    }
    assert_consistent_store(&data, &new, None).await;
    assert_eq!(new.originals(&data).len(), files.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_with_the_locations_in_either_order_find_and_delete_the_same() {
    let more = [("removal_grace_seconds", "0"), ("media_cache_bytes", "0")];
    let app = TestApp::start_with(&[&settings(&At::DataFolder, None)[..], &more].concat()).await;
    let (old, new) = (At::DataFolder, At::bucket(&app, "new"));
    let data = app.data().to_path_buf();
    let mut files = vec![upload_file(&app, csv(3_000)).await];
    let app = app.restart_with(&[&settings(&old, Some(&new))[..], &more].concat()).await;
    files.push(upload_file(&app, csv(4_000)).await);
    let (output, report) = migrate_to(&data, &old, Some(&new), &new).await;
    let fields = ["copied", "left", "oldPlaceInUse"].map(|name| report[name].clone());
    assert_eq!((output.code, json!(fields)), (Some(1), json!([2, 0, true])), "{output:?}");
    // As during a rolling restart: one node has swapped the settings, the other has not.
    let app = app.restart_with(&[&settings(&new, Some(&old))[..], &more].concat()).await;
    files.push(upload_file(&app, csv(5_000)).await);
    let (output, _) = migrate_to(&data, &new, Some(&old), &new).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let app = app.restart_with(&[&settings(&old, Some(&new))[..], &more].concat()).await;
    for file in &files {
        assert_readable(&app, file).await;
        delete(&app, file).await;
    }
    app.wait_until_staging_is_empty().await;
    sweep(app.app()).await.unwrap();
    assert_eq!([old.originals(&data).len(), new.originals(&data).len()], [0, 0]);
    assert_consistent_store(&data, &new, Some(&old)).await;
}

/// The commands of docs/s3.md, verbatim, with an existing bucket.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_steps_work() {
    const BUCKET: &str =
        "s3://my-files/dossier?endpoint=https://store.example.net&region=eu-west-1";

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("dossier-data");
    std::fs::create_dir(&data).unwrap();
    let at = [("data", data.to_str().unwrap())];
    let app = TestApp::start_with(&[&settings(&At::DataFolder, None)[..], &at].concat()).await;
    let (file, new) = (upload_file(&app, csv(3_000)).await, At::bucket(&app, "new"));
    app.wait_until_staging_is_empty().await;
    let docs = std::fs::read_to_string("docs/s3.md").unwrap();
    let section = docs.split("\n## ").find(|section| section.starts_with("Moving\n")).unwrap();
    let blocks: Vec<&str> = section.split("```").skip(1).step_by(2).collect();
    let shown: String = blocks.iter().filter_map(|block| block.strip_prefix("sh\n")).collect();
    assert!(shown.contains("dossier storage migrate") && shown.contains(BUCKET), "{shown}");
    let script = shown.replace(BUCKET, new.url());
    let program = Path::new(crate::support::PROGRAM).parent().unwrap().to_str().unwrap();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-euc", &script]).current_dir(folder.path()).env_clear();
    shell.env("PATH", format!("{program}:/usr/bin:/bin"));
    shell.env("AWS_ACCESS_KEY_ID", "test-id").env("AWS_SECRET_ACCESS_KEY", "test-secret");
    if let Some(url) = database::url_for(&data) {
        shell.env("DOSSIER_DATABASE_URL", url);
    }
    let output = tokio::task::spawn_blocking(move || Dossier::spawn(shell).wait()).await.unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.out.contains("Everything is at the new location."), "{}", output.out);
    assert!(!data.join("blobs").exists(), "the documented commands remove the old location");
    let at = [&settings(&new, None)[..], &at].concat();
    let app = app.restart_with(&at).await;
    assert_readable(&app, &file).await;
}
