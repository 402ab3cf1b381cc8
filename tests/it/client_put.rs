//! `dossier put` against a real server: what is sent is there, whatever happens on the way.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::{PDF, csv, sha256_hex};
use crate::support::gate::Gate;
use crate::support::terminal::Person;
use crate::support::{Dossier, PNG, TestApp};

/// More than is sent in one request.
const LARGE: usize = 20 << 20;
/// What has passed when something happens.
const HALF: u64 = 3 << 20;

impl TestApp {
    /// The names and the bytes of a contact's files, oldest first.
    async fn held(&self, contact: Uuid) -> Vec<(String, Vec<u8>)> {
        let list = self.list(contact).await.ok();
        let mut held = Vec::new();
        for one in list["attachments"].as_array().unwrap() {
            let link = ["image", "document"].iter().find_map(|kind| one[kind]["url"].as_str());
            let name = one["fileName"].as_str().unwrap().to_owned();
            held.push((name, self.open(link.unwrap()).await.body));
        }
        held
    }
}

#[tokio::test]
async fn small_and_large_files_arrive_and_are_compared() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (person, large) = (Person::of(&app), csv(LARGE));
    person.write("a.pdf", PDF);
    person.write("large.csv", &large);
    let words = ["put", &contact.to_string(), "a.pdf", "large.csv", "--parallel", "1"];
    let sent = person.json(&words).await;
    let held = app.held(contact).await;
    assert_eq!(held, [("a.pdf".to_owned(), PDF.to_vec()), ("large.csv".to_owned(), large.clone())]);
    let list = app.list(contact).await.ok();
    for (at, (path, bytes)) in [("a.pdf", PDF), ("large.csv", &large)].into_iter().enumerate() {
        let expected = json!({
            "path": path, "attachmentId": list["attachments"][at]["id"], "sizeBytes": bytes.len(),
            "sha256": sha256_hex(bytes), "resumedBytes": 0,
        });
        assert_eq!(sent["files"][at], expected);
    }
    assert_eq!(person.remembered(), 0);
    app.nothing_staged().await;
}

#[tokio::test]
async fn after_a_cut_it_goes_on_where_the_server_stands() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let gate = Gate::start(&app.base).await;
    let (person, large) = (Person::at(&gate.url, &app.key), csv(LARGE));
    person.write("large.csv", &large);
    gate.cut_after(HALF);
    let ended = person.run(&["put", &contact.to_string(), "large.csv"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.err.starts_with("large.csv: again in 1 s: "), "{}", ended.err);
    assert_eq!(app.held(contact).await, [("large.csv".to_owned(), large)]);
    // Far less than twice the file.
    assert!(gate.passed() < LARGE as u64 + HALF, "{} bytes have passed", gate.passed());
}

/// Starts a command and kills it when [`HALF`] has passed.
async fn killed_half_way(person: &Person, gate: &Gate, words: &[&str]) {
    gate.hold_after(HALF);
    let killed = person.start(words);
    gate.held().await;
    killed.signal("KILL");
    tokio::task::spawn_blocking(|| killed.ended()).await.unwrap();
    gate.release();
}

#[tokio::test]
async fn a_command_that_was_killed_is_gone_on_with_by_the_next() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let gate = Gate::start(&app.base).await;
    let (person, large) = (Person::at(&gate.url, &app.key), csv(LARGE));
    person.write("large.csv", &large);
    let id = contact.to_string();
    let words = ["put", &id, "large.csv"];
    gate.hold_after(HALF);
    let killed = person.start(&words);
    gate.held().await;
    // Meanwhile nobody else sends it.
    let busy = person.failed(&words, 1).await;
    assert!(busy.contains("another dossier put is sending this file"), "{busy}");
    killed.signal("KILL");
    tokio::task::spawn_blocking(|| killed.ended()).await.unwrap();
    gate.release();
    assert_eq!((person.remembered(), app.held(contact).await), (1, Vec::new()));
    let sent = person.json(&words).await;
    let resumed = sent["files"][0]["resumedBytes"].as_u64().unwrap();
    assert!(resumed > 0, "{sent}");
    assert_eq!(app.held(contact).await, [("large.csv".to_owned(), large)]);
    assert_eq!(person.remembered(), 0);
}

#[tokio::test]
async fn a_file_that_has_changed_since_is_sent_anew() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let gate = Gate::start(&app.base).await;
    let person = Person::at(&gate.url, &app.key);
    person.write("large.csv", &csv(LARGE));
    let id = contact.to_string();
    killed_half_way(&person, &gate, &["put", &id, "large.csv"]).await;
    let other = csv(LARGE + 1);
    person.write("large.csv", &other);
    let sent = person.json(&["put", &id, "large.csv"]).await;
    assert_eq!(sent["files"][0]["resumedBytes"], 0);
    assert_eq!(app.held(contact).await, [("large.csv".to_owned(), other)]);
}

#[tokio::test]
async fn a_server_that_is_killed_and_started_again_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (first, ready) = Dossier::serve(folder.path(), &["--listen-tls", "off"]);
    let text = |ready: &Value, name: &str| ready[name].as_str().unwrap().to_owned();
    let gate = Gate::start(&text(&ready, "http")).await;
    let person = Person::at(&gate.url, &text(&ready, "apiKey"));
    let (id, large) = (Uuid::new_v4().to_string(), csv(LARGE));
    person.write("large.csv", &large);
    gate.hold_after(HALF);
    let sending = person.start(&["put", &id, "large.csv"]);
    gate.held().await;
    first.signal("KILL");
    tokio::task::spawn_blocking(|| first.ended()).await.unwrap();
    let (_second, ready) = Dossier::serve(folder.path(), &["--listen-tls", "off"]);
    gate.lead_to(&text(&ready, "http"));
    let ended = tokio::task::spawn_blocking(|| sending.ended()).await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let got = person.json(&["get", &id, "large.csv", "-o", "back.csv"]).await;
    assert_eq!(got["files"][0]["sha256"], sha256_hex(&large));
    assert_eq!(std::fs::read(person.path("back.csv")).unwrap(), large);
}

#[tokio::test]
async fn standard_input_of_any_size_is_sent() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (person, id) = (Person::of(&app), contact.to_string());
    // Less than a piece, exactly two pieces, and more.
    let sizes = [1_000, 16 << 20, (16 << 20) + 5];
    for (number, size) in sizes.into_iter().enumerate() {
        let name = format!("{number}.csv");
        let words = ["put", id.as_str(), "-", "--name", &name, "--json"];
        let ended = person.fed(&words, csv(size)).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let held = app.held(contact).await;
        assert_eq!(held.last().unwrap(), &(name, csv(size)));
    }
    let ended = person.fed(&["put", &id, "-"], csv(10)).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.err.contains("--name NAME"), "{}", ended.err);
}

#[tokio::test]
async fn a_cut_while_standard_input_is_sent_loses_nothing() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let gate = Gate::start(&app.base).await;
    let person = Person::at(&gate.url, &app.key);
    gate.cut_after(10 << 20);
    let file = csv(20 << 20);
    let words = ["put", &contact.to_string(), "-", "--name", "a.csv"];
    let ended = person.fed(&words, file.clone()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(app.held(contact).await, [("a.csv".to_owned(), file)]);
}

#[tokio::test]
async fn a_folder_is_sent_with_all_that_is_in_it_and_each_refusal_is_said() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (person, id) = (Person::of(&app), contact.to_string());
    person.write("all/one.pdf", PDF);
    person.write("all/deep/er/two.png", PNG);
    person.write("all/deep/empty.csv", b"");
    person.write("all/notes.txt", b"text");
    person.write("all/wrong.png", PDF);
    std::os::unix::fs::symlink("/etc", person.path("all/link")).unwrap();
    // A file that is named twice is sent once.
    let ended = person.run(&["put", &id, "all", "all/one.pdf"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for part in [
        "all/deep/empty.csv: the file is empty",
        "all/notes.txt: its name does not tell a type that the server takes\n  -> ",
        "all/wrong.png: ",
        "3 of 5 files were not sent",
    ] {
        assert!(ended.err.contains(part), "{part:?} is not in {}", ended.err);
    }
    let mut names: Vec<String> =
        app.held(contact).await.into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, ["one.pdf", "two.png"]);
}

#[tokio::test]
async fn a_full_quota_says_what_is_held_and_what_to_do() {
    let (app, contact) =
        (TestApp::start_with(&[("contact_max_bytes", "1000")]).await, Uuid::new_v4());
    let (person, id) = (Person::of(&app), contact.to_string());
    person.write("a.csv", &csv(900));
    person.write("b.csv", &csv(901));
    person.done(&["put", &id, "a.csv"]).await;
    let error = person.failed(&["put", &id, "b.csv"], 1).await;
    let expected = "dossier: b.csv: the contact's quota is full: 900 of 1000 bytes are in use, and this \
                    would be more; nothing was kept\n  -> dossier rm makes room; on the server: dossier \
                    site set\n";
    assert_eq!(error, expected);
    assert_eq!(app.held(contact).await.len(), 1);
}

#[tokio::test]
async fn other_bytes_at_the_server_are_told_and_taken_away() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let gate = Gate::start(&app.base).await;
    let person = Person::at(&gate.url, &app.key);
    let file = csv(LARGE);
    person.write("large.csv", &file);
    let times = std::fs::metadata(person.path("large.csv")).unwrap().modified().unwrap();
    let id = contact.to_string();
    killed_half_way(&person, &gate, &["put", &id, "large.csv"]).await;
    // The beginning changes behind the back of everybody who looks at sizes and times.
    let path = person.path("large.csv");
    let mut altered = file;
    altered[0] ^= 1;
    std::fs::write(&path, altered).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(times).unwrap();
    let error = person.failed(&["put", &id, "large.csv"], 1).await;
    assert!(error.contains("the server has other bytes than were read here"), "{error}");
    assert!(app.held(contact).await.is_empty());
}
