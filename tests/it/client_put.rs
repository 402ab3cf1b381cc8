//! `dossier put` against a real server: what is sent gets stored, whatever happens on the way.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::{PDF, csv, sha256_hex};
use crate::support::gate::Gate;
use crate::support::terminal::User;
use crate::support::{Dossier, PNG, TestApp};

/// More than one request carries.
const LARGE: usize = 20 << 20;
/// Bytes that have passed when the fault happens.
const HALF: u64 = 3 << 20;

impl TestApp {
    /// The names and the bytes of a contact's files, oldest first.
    async fn contact_files(&self, contact: Uuid) -> Vec<(String, Vec<u8>)> {
        let list = self.list(contact).await.ok();
        let mut contact_files = Vec::new();
        for item in list["attachments"].as_array().unwrap() {
            let link = ["image", "document"].iter().find_map(|kind| item[kind]["url"].as_str());
            let name = item["fileName"].as_str().unwrap().to_owned();
            contact_files.push((name, self.open(link.unwrap()).await.body));
        }
        contact_files
    }
}

#[tokio::test]
async fn small_and_large_files_arrive_and_are_compared() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (user, large) = (User::of(&app), csv(LARGE));
    user.write("a.pdf", PDF);
    user.write("large.csv", &large);
    let words = ["put", &contact.to_string(), "a.pdf", "large.csv", "--parallel", "1"];
    let sent = user.json(&words).await;
    let contact_files = app.contact_files(contact).await;
    assert_eq!(
        contact_files,
        [("a.pdf".to_owned(), PDF.to_vec()), ("large.csv".to_owned(), large.clone())]
    );
    let list = app.list(contact).await.ok();
    for (at, (path, bytes)) in [("a.pdf", PDF), ("large.csv", &large)].into_iter().enumerate() {
        let expected = json!({
            "path": path, "attachmentId": list["attachments"][at]["id"], "sizeBytes": bytes.len(),
            "sha256": sha256_hex(bytes), "resumedBytes": 0,
        });
        assert_eq!(sent["files"][at], expected);
    }
    assert_eq!(user.saved_uploads(), 0);
    app.wait_until_staging_is_empty().await;
}

#[tokio::test]
async fn after_a_cut_it_continues_from_the_servers_offset() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let gate = Gate::start(&app.base).await;
    let (user, large) = (User::with_server(&gate.url, &app.key), csv(LARGE));
    user.write("large.csv", &large);
    gate.cut_after(HALF);
    let output = user.run(&["put", &contact.to_string(), "large.csv"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.err.starts_with("large.csv: retrying in 1 s: "), "{}", output.err);
    assert_eq!(app.contact_files(contact).await, [("large.csv".to_owned(), large)]);
    // Far less than sending the file twice.
    assert!(gate.passed() < LARGE as u64 + HALF, "{} bytes passed", gate.passed());
}

/// Starts a command and kills it once [`HALF`] has passed.
async fn kill_half_way(user: &User, gate: &Gate, words: &[&str]) {
    gate.hold_after(HALF);
    let killed = user.start(words);
    gate.wait_until_held().await;
    killed.signal("KILL");
    tokio::task::spawn_blocking(|| killed.wait()).await.unwrap();
    gate.release();
}

#[tokio::test]
async fn a_killed_upload_is_resumed_by_the_next_command() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let gate = Gate::start(&app.base).await;
    let (user, large) = (User::with_server(&gate.url, &app.key), csv(LARGE));
    user.write("large.csv", &large);
    let id = contact.to_string();
    let words = ["put", &id, "large.csv"];
    gate.hold_after(HALF);
    let killed = user.start(&words);
    gate.wait_until_held().await;
    // Meanwhile no other command may send it.
    let busy = user.fail(&words, 1).await;
    assert!(busy.contains("another dossier put is sending this file"), "{busy}");
    killed.signal("KILL");
    tokio::task::spawn_blocking(|| killed.wait()).await.unwrap();
    gate.release();
    assert_eq!((user.saved_uploads(), app.contact_files(contact).await), (1, Vec::new()));
    let sent = user.json(&words).await;
    let resumed = sent["files"][0]["resumedBytes"].as_u64().unwrap();
    assert!(resumed > 0, "{sent}");
    assert_eq!(app.contact_files(contact).await, [("large.csv".to_owned(), large)]);
    assert_eq!(user.saved_uploads(), 0);
}

#[tokio::test]
async fn a_file_that_has_changed_is_sent_from_the_start() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let gate = Gate::start(&app.base).await;
    let user = User::with_server(&gate.url, &app.key);
    user.write("large.csv", &csv(LARGE));
    let id = contact.to_string();
    kill_half_way(&user, &gate, &["put", &id, "large.csv"]).await;
    let other = csv(LARGE + 1);
    user.write("large.csv", &other);
    let sent = user.json(&["put", &id, "large.csv"]).await;
    assert_eq!(sent["files"][0]["resumedBytes"], 0);
    assert_eq!(app.contact_files(contact).await, [("large.csv".to_owned(), other)]);
}

#[tokio::test]
async fn a_killed_and_restarted_server_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (first, ready) = Dossier::serve(folder.path(), &["--listen-tls", "off"]);
    let text = |ready: &Value, name: &str| ready[name].as_str().unwrap().to_owned();
    let gate = Gate::start(&text(&ready, "http")).await;
    let user = User::with_server(&gate.url, &text(&ready, "apiKey"));
    let (id, large) = (Uuid::new_v4().to_string(), csv(LARGE));
    user.write("large.csv", &large);
    gate.hold_after(HALF);
    let sending = user.start(&["put", &id, "large.csv"]);
    gate.wait_until_held().await;
    first.signal("KILL");
    tokio::task::spawn_blocking(|| first.wait()).await.unwrap();
    let (_second, ready) = Dossier::serve(folder.path(), &["--listen-tls", "off"]);
    gate.redirect_to(&text(&ready, "http"));
    let output = tokio::task::spawn_blocking(|| sending.wait()).await.unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
    let got = user.json(&["get", &id, "large.csv", "-o", "back.csv"]).await;
    assert_eq!(got["files"][0]["sha256"], sha256_hex(&large));
    assert_eq!(std::fs::read(user.path("back.csv")).unwrap(), large);
}

#[tokio::test]
async fn standard_input_of_any_size_is_sent() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (user, id) = (User::of(&app), contact.to_string());
    // Less than one PATCH body, exactly two, and more.
    let sizes = [1_000, 16 << 20, (16 << 20) + 5];
    for (number, size) in sizes.into_iter().enumerate() {
        let name = format!("{number}.csv");
        let words = ["put", id.as_str(), "-", "--name", &name, "--json"];
        let output = user.run_with_stdin(&words, csv(size)).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        let contact_files = app.contact_files(contact).await;
        assert_eq!(contact_files.last().unwrap(), &(name, csv(size)));
    }
    let output = user.run_with_stdin(&["put", &id, "-"], csv(10)).await;
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.err.contains("use --name"), "{}", output.err);
}

#[tokio::test]
async fn a_cut_during_standard_input_loses_nothing() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let gate = Gate::start(&app.base).await;
    let user = User::with_server(&gate.url, &app.key);
    gate.cut_after(10 << 20);
    let file = csv(20 << 20);
    let words = ["put", &contact.to_string(), "-", "--name", "a.csv"];
    let output = user.run_with_stdin(&words, file.clone()).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(app.contact_files(contact).await, [("a.csv".to_owned(), file)]);
}

#[tokio::test]
async fn a_folder_is_sent_recursively_and_each_rejection_is_reported() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (user, id) = (User::of(&app), contact.to_string());
    user.write("all/one.pdf", PDF);
    user.write("all/deep/er/two.png", PNG);
    user.write("all/deep/empty.csv", b"");
    user.write("all/notes.txt", b"text");
    user.write("all/wrong.png", PDF);
    std::os::unix::fs::symlink("/etc", user.path("all/link")).unwrap();
    // A file that is named twice is sent once.
    let output = user.run(&["put", &id, "all", "all/one.pdf"]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    for part in [
        "all/deep/empty.csv: the file is empty",
        "all/notes.txt: the file name has no extension of an accepted type\n  -> ",
        "all/wrong.png: ",
        "3 of 5 files were not uploaded",
    ] {
        assert!(output.err.contains(part), "{part:?} is not in {}", output.err);
    }
    let mut names: Vec<String> =
        app.contact_files(contact).await.into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, ["one.pdf", "two.png"]);
}

#[tokio::test]
async fn a_full_quota_reports_usage_and_a_remedy() {
    let (app, contact) =
        (TestApp::start_with(&[("contact_max_bytes", "1000")]).await, Uuid::new_v4());
    let (user, id) = (User::of(&app), contact.to_string());
    user.write("a.csv", &csv(900));
    user.write("b.csv", &csv(901));
    user.succeed(&["put", &id, "a.csv"]).await;
    let error = user.fail(&["put", &id, "b.csv"], 1).await;
    let expected = "dossier: b.csv: the contact's quota would be exceeded: 900 of 1000 bytes are in \
                    use; nothing was stored\n  -> delete files with dossier rm, or raise the quota on \
                    the server: dossier site set\n";
    assert_eq!(error, expected);
    assert_eq!(app.contact_files(contact).await.len(), 1);
}

#[tokio::test]
async fn wrong_bytes_on_the_server_are_reported_and_deleted() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let gate = Gate::start(&app.base).await;
    let user = User::with_server(&gate.url, &app.key);
    let file = csv(LARGE);
    user.write("large.csv", &file);
    let times = std::fs::metadata(user.path("large.csv")).unwrap().modified().unwrap();
    let id = contact.to_string();
    kill_half_way(&user, &gate, &["put", &id, "large.csv"]).await;
    // The beginning changes without a change of size or time.
    let path = user.path("large.csv");
    let mut altered = file;
    altered[0] ^= 1;
    std::fs::write(&path, altered).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(times).unwrap();
    let error = user.fail(&["put", &id, "large.csv"], 1).await;
    assert!(error.contains("the server stored different bytes than were sent"), "{error}");
    assert!(app.contact_files(contact).await.is_empty());
}
