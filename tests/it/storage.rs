//! `dossier storage migrate`: bytes move while the server is in use, and none is ever missing (R25).

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
use crate::support::{Bucket, Dossier, Ended, TestApp, bucket, database, run};

/// More than two parts.
const LARGE: usize = 20 << 20;

/// Where bytes may be.
pub(crate) enum At {
    DataFolder,
    Bucket(Bucket),
}

impl At {
    /// Buckets of a test's own are told apart by their names.
    pub(crate) fn bucket(app: &TestApp, name: &str) -> Self {
        Self::Bucket(bucket::make(&app.data().join(name)))
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

    /// The originals that lie there, with what tells whether they were written again.
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

    /// The moves that nobody has settled.
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

/// The settings that name a place, and the one before it.
pub(crate) fn settings<'a>(at: &'a At, also: Option<&'a At>) -> [(&'a str, &'a str); 4] {
    [
        ("blobs", at.url()),
        ("blobs_credentials_file", at.keys()),
        ("blobs_also", also.map_or("", At::url)),
        ("blobs_also_credentials_file", also.map_or("", At::keys)),
    ]
}

/// A command with the settings of a server.
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

/// Moves and returns what it says, whatever it ends with.
pub(crate) async fn moved(data: &Path, at: &At, also: Option<&At>, to: &At) -> (Ended, Value) {
    let command = ["storage", "migrate", "--json", "--to", to.url()];
    let arguments = with_settings(&command, data, &settings(at, also));
    let ended = tokio::task::spawn_blocking(move || run(&arguments)).await.unwrap();
    let said = serde_json::from_str(&ended.out).unwrap_or_default();
    (ended, said)
}

/// Looks at rows and bytes, which must fit.
pub(crate) async fn nothing_is_wrong(data: &Path, at: &At, also: Option<&At>) {
    let arguments = with_settings(&["fsck", "--hash"], data, &settings(at, also));
    let ended = tokio::task::spawn_blocking(move || run(&arguments)).await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// What was uploaded: a contact, the attachment's id, its bytes.
type File = (Uuid, String, Vec<u8>);

pub(crate) async fn uploaded(app: &TestApp, bytes: Vec<u8>) -> File {
    let contact = Uuid::new_v4();
    app.upload(contact, "a.csv", "text/csv", &bytes).await.ok();
    let id = app.list(contact).await.ok()["attachments"][0]["id"].as_str().unwrap().to_owned();
    (contact, id, bytes)
}

pub(crate) async fn is_there(app: &TestApp, (contact, _, bytes): &File) {
    let list = app.list(*contact).await.ok();
    let url = list["attachments"][0]["document"]["url"].as_str().unwrap();
    let opened = app.open(url).await;
    assert!(opened.status == 200 && opened.body == *bytes, "{} {contact}", opened.status);
}

pub(crate) async fn delete(app: &TestApp, (contact, id, _): &File) {
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_move_to_a_bucket_to_another_one_and_back_and_nothing_looks_different() {
    let more = [("removal_grace_seconds", "0"), ("media_cache_bytes", "0")];
    let app = TestApp::start_with(&[&settings(&At::DataFolder, None)[..], &more].concat()).await;
    let places = [At::bucket(&app, "one"), At::bucket(&app, "two"), At::DataFolder];
    let mut files = Vec::new();
    for size in [1, 3_000, 9 << 20, LARGE] {
        files.push(uploaded(&app, csv(size)).await);
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
            is_there(&app, file).await;
        }
        // What was begun at the old place ends there, and what is new lies at the new one.
        files.push(uploaded(&app, csv(4_000 + number)).await);
        assert_eq!(new.originals(&data).len(), 1);
        let (ended, said) = moved(&data, new, Some(old), new).await;
        assert_eq!((ended.code, &said["uploadsLeft"]), (Some(1), &json!(1)), "{ended:?}");
        let location = format!("{}{path}", app.base);
        let patched = app.tus_patch(&location, 60, &csv(100)[60..]).await;
        assert_eq!(patched.status, 204, "{patched:?}");
        let deleted = files.remove(0);
        delete(&app, &deleted).await;
        sweep(app.app()).await.unwrap();
        eventually("nothing is left to be moved", async || {
            moved(&data, new, Some(old), new).await.0.code == Some(0)
        })
        .await;
        let (_, said) = moved(&data, new, Some(old), new).await;
        // Beside them: those that were uploaded in pieces, and pictures.
        let rows = files.len() + 2 * (number + 1);
        let expected = json!([rows, rows, 0, 0, []]);
        let told = ["rows", "there", "copied", "left", "problems"].map(|name| said[name].clone());
        assert_eq!(json!(told), expected, "{said}");
        assert_eq!(old.originals(&data).len(), rows - 1, "all but the one that was uploaded since");
        assert_eq!(new.moving(&data), Vec::<PathBuf>::new());
        nothing_is_wrong(&data, new, Some(old)).await;
        old.remove(&data);
        app = app.restart_with(&[&settings(new, None)[..], &more].concat()).await;
        for file in &files {
            is_there(&app, file).await;
        }
        let opened = app.open(&format!("{}{picture}", app.base)).await;
        assert_eq!(opened.body, jpeg(&quarters(900, 700)));
        let (_, attachment) = app.picture("b.jpg", &jpeg(&quarters(800, 600))).await;
        let preview = app.open(attachment["previewImage"]["url"].as_str().unwrap()).await;
        assert_eq!(decoded(&preview.body).width(), 640);
        nothing_is_wrong(&data, new, None).await;
        old = new;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_the_second_place_need_not_be_a_setting() {
    let app = TestApp::start_with(&settings(&At::DataFolder, None)).await;
    let file = uploaded(&app, csv(3_000)).await;
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
    let refused = migrate(&[]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("blobs_also"), "{}", refused.err);
    app.nothing_staged().await;
    if database::of(&data).is_some() {
        // Nobody can tell that no other node is at work.
        assert!(refused.err.contains("other nodes"), "{}", refused.err);
        return;
    }
    let moving = async || {
        let looked = migrate(&["--dry-run", "--json"]).await;
        let said: Value = serde_json::from_str(&looked.out).unwrap();
        assert_eq!((looked.code, &said["left"]), (Some(1), &json!(1)));
        assert_eq!((&said["leftBytes"], new.originals(&data).len()), (&json!(3_000), 0));
        let copied = migrate(&[]).await;
        assert_eq!(copied.code, Some(0), "{copied:?}");
        assert!(copied.out.ends_with("Everything is at the new place."), "{}", copied.out);
    };
    let app = app.restart_after(moving, &settings(&new, None)).await;
    is_there(&app, &file).await;
    nothing_is_wrong(&data, &new, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_move_goes_on_and_copies_nothing_twice_that_was_looked_at() {
    const FILES: usize = 120;
    const KILLS: usize = 3;

    let app = TestApp::start_with(&settings(&At::DataFolder, None)).await;
    let (one, two) = (At::bucket(&app, "one"), At::bucket(&app, "two"));
    let contact = Uuid::new_v4();
    app.upload_csvs(contact, (0..FILES).map(|number| format!("{number}.csv"))).await;
    for size in [9 << 20, LARGE] {
        uploaded(&app, csv(size)).await;
    }
    app.nothing_staged().await;
    let data = app.data().to_path_buf();
    let ways = [(&At::DataFolder, &one), (&one, &two), (&two, &At::DataFolder)];
    for (old, new) in ways {
        if let At::DataFolder = new {
            new.remove(&data);
        }
        let mut there = HashMap::new();
        for kill in 1..=KILLS {
            let command = ["storage", "migrate", "--json", "--to", new.url()];
            let arguments = with_settings(&command, &data, &settings(new, Some(old)));
            let mut process = Dossier::start(&arguments, &[]);
            let enough = there.len() + FILES / (2 * KILLS) * kill.min(2);
            eventually("some are there", async || {
                !process.is_running() || new.originals(&data).len() >= enough
            })
            .await;
            process.signal("KILL");
            assert_eq!(process.ended().code, None, "it came to its end before kill {kill}");
            // Read in this order: what is settled in between is left out.
            let unsettled = new.moving(&data);
            let is_settled = |path: &Path| {
                let blob = path.file_name().unwrap().to_str().unwrap();
                !unsettled.iter().any(|name| name.to_str().unwrap().ends_with(blob))
            };
            let now = new.originals(&data);
            for (path, id) in &there {
                assert_eq!(now.get(path), Some(id), "it was copied again");
            }
            there = now.into_iter().filter(|(path, _)| is_settled(path)).collect();
        }
        let (ended, said) = moved(&data, new, Some(old), new).await;
        assert_eq!((ended.code, &said["rows"]), (Some(0), &json!(FILES + 2)), "{ended:?}");
        let now = new.originals(&data);
        assert!(there.iter().all(|(path, id)| now.get(path) == Some(id)), "copied again");
        assert_eq!((now.len(), new.moving(&data).len()), (FILES + 2, 0));
        nothing_is_wrong(&data, new, None).await;
    }
}

/// What readers, writers and deleters do until they are told to end.
async fn use_it(app: Arc<TestApp>, end: Arc<AtomicBool>, kept: Vec<File>) -> (Vec<File>, usize) {
    let (mut files, mut reads) = (kept, 0);
    while !end.load(Ordering::Relaxed) {
        files.push(uploaded(&app, csv(2_000 + reads)).await);
        for file in files.iter().rev().take(4).chain(files.iter().take(4)) {
            is_there(&app, file).await;
            reads += 1;
        }
        let deleted = files.remove(reads % files.len());
        delete(&app, &deleted).await;
        sweep(app.app()).await.unwrap();
    }
    (files, reads)
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_while_bytes_move_and_moves_are_killed_no_read_misses_and_deletes_stay() {
    const USERS: usize = 3;
    const KILLS: u32 = 5;

    let more = [("removal_grace_seconds", "0"), ("media_cache_bytes", "0")];
    let app = TestApp::start_with(&[&settings(&At::DataFolder, None)[..], &more].concat()).await;
    let new = At::bucket(&app, "new");
    let mut kept: Vec<Vec<File>> = Vec::new();
    for user in 0..USERS {
        let mut files = Vec::new();
        for number in 0..25 {
            // One takes its time, so that there is some to kill a move in.
            let size = if number == 12 { LARGE } else { 1_000 * user + number + 1 };
            files.push(uploaded(&app, csv(size)).await);
        }
        kept.push(files);
    }
    let app = app.restart_with(&[&settings(&new, Some(&At::DataFolder))[..], &more].concat()).await;
    let app = Arc::new(app);
    let end = Arc::new(AtomicBool::new(false));
    let mut users = JoinSet::new();
    for files in kept {
        users.spawn(use_it(Arc::clone(&app), Arc::clone(&end), files));
    }
    let data = app.data().to_path_buf();
    let command = ["storage", "migrate", "--to", new.url()];
    let arguments = with_settings(&command, &data, &settings(&new, Some(&At::DataFolder)));
    let mut killed = 0;
    for kill in 1..=KILLS {
        let mut process = Dossier::start(&arguments, &[]);
        let before = new.originals(&data).len();
        eventually("it has copied some", async || {
            !process.is_running() || new.originals(&data).len() > before + kill as usize
        })
        .await;
        // Soon there is little left to copy, and it may have come to its end.
        if process.is_running() {
            process.signal("KILL");
        }
        killed += u32::from(process.ended().code.is_none());
    }
    assert!(killed > 0);
    let (ended, _) = moved(&data, &new, Some(&At::DataFolder), &new).await;
    assert_ne!(ended.code, Some(2), "{ended:?}");
    end.store(true, Ordering::Relaxed);
    let (mut files, mut reads) = (Vec::new(), 0);
    while let Some(user) = users.join_next().await {
        let (some, read) = user.unwrap();
        files.extend(some);
        reads += read;
    }
    assert!(reads > USERS * 8, "{reads}");
    app.nothing_staged().await;
    while sweep(app.app()).await.unwrap().blobs > 0 {}
    eventually("nothing is left to be moved", async || {
        moved(&data, &new, Some(&At::DataFolder), &new).await.0.code == Some(0)
    })
    .await;
    nothing_is_wrong(&data, &new, Some(&At::DataFolder)).await;
    At::DataFolder.remove(&data);
    let app = Arc::into_inner(app).unwrap();
    let app = app.restart_with(&settings(&new, None)).await;
    for file in &files {
        is_there(&app, file).await;
    }
    nothing_is_wrong(&data, &new, None).await;
    assert_eq!(new.originals(&data).len(), files.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_have_the_places_in_either_order_find_and_delete_the_same() {
    let more = [("removal_grace_seconds", "0"), ("media_cache_bytes", "0")];
    let app = TestApp::start_with(&[&settings(&At::DataFolder, None)[..], &more].concat()).await;
    let (old, new) = (At::DataFolder, At::bucket(&app, "new"));
    let data = app.data().to_path_buf();
    let mut files = vec![uploaded(&app, csv(3_000)).await];
    let app = app.restart_with(&[&settings(&old, Some(&new))[..], &more].concat()).await;
    files.push(uploaded(&app, csv(4_000)).await);
    let (ended, said) = moved(&data, &old, Some(&new), &new).await;
    let told = ["copied", "left", "oldPlaceInUse"].map(|name| said[name].clone());
    assert_eq!((ended.code, json!(told)), (Some(1), json!([2, 0, true])), "{ended:?}");
    // As during a rolling start: one has exchanged them already, the other one has not.
    let app = app.restart_with(&[&settings(&new, Some(&old))[..], &more].concat()).await;
    files.push(uploaded(&app, csv(5_000)).await);
    let (ended, _) = moved(&data, &new, Some(&old), &new).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let app = app.restart_with(&[&settings(&old, Some(&new))[..], &more].concat()).await;
    for file in &files {
        is_there(&app, file).await;
        delete(&app, file).await;
    }
    app.nothing_staged().await;
    sweep(app.app()).await.unwrap();
    assert_eq!([old.originals(&data).len(), new.originals(&data).len()], [0, 0]);
    nothing_is_wrong(&data, &new, Some(&old)).await;
}

/// The commands of docs/s3.md, as they stand there, with a bucket that is there.
#[tokio::test(flavor = "multi_thread")]
async fn the_way_that_the_docs_show_leads_there() {
    const BUCKET: &str =
        "s3://my-files/dossier?endpoint=https://store.example.net&region=eu-west-1";

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("dossier-data");
    std::fs::create_dir(&data).unwrap();
    let at = [("data", data.to_str().unwrap())];
    let app = TestApp::start_with(&[&settings(&At::DataFolder, None)[..], &at].concat()).await;
    let (file, new) = (uploaded(&app, csv(3_000)).await, At::bucket(&app, "new"));
    app.nothing_staged().await;
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
    if let Some(url) = database::of(&data) {
        shell.env("DOSSIER_DATABASE_URL", url);
    }
    let ended = tokio::task::spawn_blocking(move || Dossier::of(shell).ended()).await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("Everything is at the new place."), "{}", ended.out);
    assert!(!data.join("blobs").exists(), "the docs take the old place away");
    let at = [&settings(&new, None)[..], &at].concat();
    let app = app.restart_with(&at).await;
    is_there(&app, &file).await;
}
