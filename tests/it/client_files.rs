//! `dossier ls`, `get`, `rm` and `open` against a real server.

use std::io::Read as _;
use std::process::Stdio;

use uuid::Uuid;

use crate::support::files::{PDF, csv, sha256_hex};
use crate::support::gate::Gate;
use crate::support::terminal::Person;
use crate::support::{PNG, TestApp};

#[tokio::test]
async fn names_of_every_kind_are_listed_and_fetched_within_the_folder() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (person, id) = (Person::of(&app), contact.to_string());
    let emoji = format!("{}.csv", "😀".repeat(256));
    let names = [
        ("\u{202E}\u{200F}fdp.csv", "\\u{202e}\\u{200f}fdp.csv", "fdp.csv"),
        (
            "<img src=x onerror=alert(1)>.csv",
            "<img src=x onerror=alert(1)>.csv",
            "_img src=x onerror=alert(1)_.csv",
        ),
        ("../../escape.csv", "../../escape.csv", "_._.._escape.csv"),
        ("\u{1b}[2Jclear.csv", "\\u{1b}[2Jclear.csv", "[2Jclear.csv"),
        (emoji.as_str(), emoji.as_str(), ""),
    ];
    for (name, ..) in names {
        person.fed(&["put", &id, "-", "--name", name], csv(100)).await;
    }
    let list = person.json(&["ls", &id]).await;
    let shown = person.done(&["ls", &id]).await;
    assert!(!shown.contains(['\u{202E}', '\u{200F}', '\u{1b}']), "{shown:?}");
    for (at, (name, visible, _)) in names.into_iter().enumerate() {
        assert_eq!(list["attachments"][at]["fileName"], name);
        assert!(shown.lines().nth(at + 1).unwrap().ends_with(visible), "{shown}");
    }
    let wanted: Vec<&str> = names.iter().map(|(_, visible, _)| *visible).collect();
    person.done(&[&["get", &id, "-o", "new/folder"][..], &wanted].concat()).await;
    let mut fetched: Vec<String> = std::fs::read_dir(person.path("new/folder"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    fetched.sort();
    assert_eq!(fetched.len(), names.len(), "{fetched:?}");
    for (_, _, local) in &names[..4] {
        assert!(fetched.iter().any(|name| name == local), "{local:?} is not in {fetched:?}");
    }
    assert!(!person.path("escape.csv").exists());
}

#[tokio::test]
async fn contacts_are_listed_with_what_they_hold() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (person, id) = (Person::of(&app), contact.to_string());
    person.write("a.pdf", PDF);
    person.done(&["put", &id, "a.pdf"]).await;
    let list = person.json(&["ls"]).await;
    assert_eq!(
        (&list["contacts"][0]["id"], &list["contacts"][0]["attachmentCount"]),
        (&serde_json::json!(id), &serde_json::json!(1))
    );
    let shown = person.done(&["ls"]).await;
    assert!(shown.starts_with("CONTACT ") && shown.contains(&id), "{shown}");
    let shown = person.done(&["ls", &id]).await;
    let line = shown.lines().nth(1).unwrap();
    let size = format!("  {} B  ", PDF.len());
    assert!(line.contains(&size) && line.contains("  2027-01-15 08:00  "), "{shown}");
    let list = person.json(&["ls", &id]).await;
    assert_eq!(list["attachments"][0]["sizeBytes"], PDF.len().to_string());
    let status = person.json(&["status"]).await;
    assert_eq!(status["scopes"], serde_json::json!(["VIEW", "MODIFY", "ADMIN"]));
    assert_eq!(
        (&status["files"], &status["health"]),
        (&serde_json::json!(1), &serde_json::json!("ok"))
    );
    assert_eq!(status["bytes"], PDF.len().to_string());
    assert_eq!(status["site"]["id"], app.site.to_string());
    let shown = person.done(&["status"]).await;
    assert!(shown.contains("\nfiles     1\n"), "{shown}");
}

#[tokio::test]
async fn a_long_list_is_read_page_by_page() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (person, id) = (Person::of(&app), contact.to_string());
    for number in 0..101 {
        person.write(&format!("all/{number:03}.pdf"), PDF);
    }
    let sent = person.json(&["put", &id, "all", "--parallel", "16"]).await;
    assert_eq!(sent["files"].as_array().unwrap().len(), 101);
    let shown = person.done(&["ls", &id]).await;
    let mut names: Vec<&str> = shown.lines().skip(1).map(|line| &line[line.len() - 7..]).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 101);
}

#[tokio::test]
async fn what_is_fetched_is_whole_and_replaces_nothing_unasked() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (person, id) = (Person::of(&app), contact.to_string());
    let file = csv(1 << 20);
    person.write("a.csv", &file);
    person.done(&["put", &id, "a.csv"]).await;
    let error = person.failed(&["get", &id, "a.csv"], 1).await;
    assert!(error.contains("a.csv is there already\n  -> -o gives it another place"), "{error}");
    person.write("a.csv", b"mine");
    let got = person.json(&["get", &id, "a.csv", "--force"]).await;
    assert_eq!(
        (&got["files"][0]["verified"], &got["files"][0]["sha256"]),
        (&serde_json::json!(true), &serde_json::json!(sha256_hex(&file)))
    );
    assert_eq!(std::fs::read(person.path("a.csv")).unwrap(), file);
    let error = person.failed(&["get", &id, "b.csv"], 3).await;
    assert!(error.contains("the contact has no file b.csv"), "{error}");
    let unknown = Uuid::new_v4().to_string();
    person.failed(&["get", &id, &unknown], 3).await;
    // Two of one name: which is meant cannot be told.
    person.done(&["put", &id, "a.csv"]).await;
    let error = person.failed(&["get", &id, "a.csv", "-o", "two"], 2).await;
    assert!(error.contains("2 files are called a.csv\n  -> give the id of one: "), "{error}");
    let list = person.json(&["ls", &id]).await;
    let ids: Vec<&str> = (0..2).map(|at| list["attachments"][at]["id"].as_str().unwrap()).collect();
    person.done(&["get", &id, ids[0], ids[1], "-o", "two"]).await;
    assert_eq!(std::fs::read_dir(person.path("two")).unwrap().count(), 2);
}

#[tokio::test]
async fn a_fetch_goes_on_after_a_kill_and_never_shows_half_a_file() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (person, id) = (Person::of(&app), contact.to_string());
    let file = csv(2 << 20);
    person.write("a.csv", &file);
    let sent = person.json(&["put", &id, "a.csv"]).await;
    let attachment = sent["files"][0]["attachmentId"].as_str().unwrap();
    // What a killed one leaves: a beginning under a name of its own.
    let part = format!("there/.dossier-{attachment}.part");
    person.write(&part, &file[..1 << 20]);
    let got = person.json(&["get", &id, "a.csv", "-o", "there/"]).await;
    assert_eq!(got["files"][0]["resumedBytes"], 1 << 20);
    assert_eq!(std::fs::read(person.path("there/a.csv")).unwrap(), file);
    assert!(!person.path(&part).exists());
    // Other bytes are found out, and fetched anew the next time.
    person.write(&part, &vec![b'x'; 1 << 20]);
    let words = ["get", &id, "a.csv", "-o", "there/", "--force"];
    let error = person.failed(&words, 1).await;
    assert!(error.contains("other bytes came than the server says it has"), "{error}");
    assert!(!person.path(&part).exists());
    person.done(&words).await;
    assert_eq!(std::fs::read(person.path("there/a.csv")).unwrap(), file);
}

#[tokio::test]
async fn a_fetch_reaches_the_server_by_the_address_that_was_given() {
    let (app, contact) =
        (TestApp::start_with(&[("public_url", "https://no.invalid")]).await, Uuid::new_v4());
    let gate = Gate::start(&app.base).await;
    let (person, id) = (Person::at(&gate.url, &app.key), contact.to_string());
    person.write("a.png", PNG);
    person.write("large.csv", &csv(5 << 20));
    person.done(&["put", &id, "a.png", "large.csv"]).await;
    person.done(&["get", &id, "a.png", "large.csv", "-o", "back"]).await;
    assert_eq!(std::fs::read(person.path("back/a.png")).unwrap(), PNG);
    let link = person
        .done(&[
            "open",
            &id,
            person.json(&["ls", &id]).await["attachments"][0]["id"].as_str().unwrap(),
        ])
        .await;
    assert!(link.starts_with("https://no.invalid/"), "{link}");
}

#[tokio::test]
async fn a_reader_that_leaves_early_is_no_failure() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (person, id) = (Person::of(&app), contact.to_string());
    person.write("a.csv", &csv(4 << 20));
    person.done(&["put", &id, "a.csv"]).await;
    for words in [&["get", &id, "a.csv", "-o", "-"][..], &["ls", &id]] {
        let mut command = person.command(words);
        let ended = tokio::task::spawn_blocking(move || {
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut first = [0; 10];
            child.stdout.take().unwrap().read_exact(&mut first).unwrap();
            child.wait_with_output().unwrap()
        })
        .await
        .unwrap();
        assert_eq!((ended.status.code(), ended.stderr), (Some(0), Vec::new()), "{words:?}");
    }
}

#[tokio::test]
async fn a_delete_is_asked_for_or_said() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (person, id) = (Person::of(&app), contact.to_string());
    person.write("a.pdf", PDF);
    let sent = person.json(&["put", &id, "a.pdf"]).await;
    let attachment = sent["files"][0]["attachmentId"].as_str().unwrap();
    let error = person.failed(&["rm", &id, attachment], 2).await;
    assert!(error.contains("-> say it with the command: --yes"), "{error}");
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
    let unknown = Uuid::new_v4().to_string();
    let removed = person.run(&["rm", &id, &unknown, attachment, "--yes", "--json"]).await;
    assert_eq!(removed.code, Some(3), "{removed:?}");
    let shown: serde_json::Value = serde_json::from_str(&removed.out).unwrap();
    assert_eq!(shown["attachments"][0]["error"]["kind"], "notFound");
    assert_eq!(shown["attachments"][1]["attachmentId"], attachment);
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
}
