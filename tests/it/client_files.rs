//! `dossier ls`, `get`, `rm` and `open` against a real server.

use std::io::Read as _;
use std::process::Stdio;

use uuid::Uuid;

use crate::support::files::{PDF, csv, sha256_hex};
use crate::support::gate::Gate;
use crate::support::terminal::User;
use crate::support::{PNG, TestApp};

#[tokio::test]
async fn files_with_unusual_names_are_listed_and_fetched_into_the_folder() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (user, id) = (User::of(&app), contact.to_string());
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
        user.run_with_stdin(&["put", &id, "-", "--name", name], csv(100)).await;
    }
    let list = user.json(&["ls", &id]).await;
    let shown = user.succeed(&["ls", &id]).await;
    assert!(!shown.contains(['\u{202E}', '\u{200F}', '\u{1b}']), "{shown:?}");
    for (at, (name, visible, _)) in names.into_iter().enumerate() {
        assert_eq!(list["attachments"][at]["fileName"], name);
        assert!(shown.lines().nth(at + 1).unwrap().ends_with(visible), "{shown}");
    }
    let wanted: Vec<&str> = names.iter().map(|(_, visible, _)| *visible).collect();
    user.succeed(&[&["get", &id, "-o", "new/folder"][..], &wanted].concat()).await;
    let mut fetched: Vec<String> = std::fs::read_dir(user.path("new/folder"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    fetched.sort();
    assert_eq!(fetched.len(), names.len(), "{fetched:?}");
    for (_, _, local) in &names[..4] {
        assert!(fetched.iter().any(|name| name == local), "{local:?} is not in {fetched:?}");
    }
    assert!(!user.path("escape.csv").exists());
}

#[tokio::test]
async fn contacts_are_listed_with_file_counts_and_sizes() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (user, id) = (User::of(&app), contact.to_string());
    user.write("a.pdf", PDF);
    user.succeed(&["put", &id, "a.pdf"]).await;
    let list = user.json(&["ls"]).await;
    assert_eq!(
        (&list["contacts"][0]["id"], &list["contacts"][0]["attachmentCount"]),
        (&serde_json::json!(id), &serde_json::json!(1))
    );
    let shown = user.succeed(&["ls"]).await;
    assert!(shown.starts_with("CONTACT ") && shown.contains(&id), "{shown}");
    let shown = user.succeed(&["ls", &id]).await;
    let line = shown.lines().nth(1).unwrap();
    let size = format!("  {} B  ", PDF.len());
    assert!(line.contains(&size) && line.contains("  2027-01-15 08:00  "), "{shown}");
    let list = user.json(&["ls", &id]).await;
    assert_eq!(list["attachments"][0]["sizeBytes"], PDF.len().to_string());
    let status = user.json(&["status"]).await;
    assert_eq!(status["scopes"], serde_json::json!(["VIEW", "MODIFY", "ADMIN"]));
    assert_eq!(
        (&status["files"], &status["health"]),
        (&serde_json::json!(1), &serde_json::json!("ok"))
    );
    assert_eq!(status["bytes"], PDF.len().to_string());
    assert_eq!(status["site"]["id"], app.site.to_string());
    let shown = user.succeed(&["status"]).await;
    assert!(shown.contains("\nfiles     1\n"), "{shown}");
}

#[tokio::test]
async fn a_long_list_is_fetched_page_by_page() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (user, id) = (User::of(&app), contact.to_string());
    for number in 0..101 {
        user.write(&format!("all/{number:03}.pdf"), PDF);
    }
    let sent = user.json(&["put", &id, "all", "--parallel", "16"]).await;
    assert_eq!(sent["files"].as_array().unwrap().len(), 101);
    let shown = user.succeed(&["ls", &id]).await;
    let mut names: Vec<&str> = shown.lines().skip(1).map(|line| &line[line.len() - 7..]).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 101);
}

#[tokio::test]
async fn fetched_files_are_complete_and_overwrite_only_on_request() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (user, id) = (User::of(&app), contact.to_string());
    let file = csv(1 << 20);
    user.write("a.csv", &file);
    user.succeed(&["put", &id, "a.csv"]).await;
    let error = user.fail(&["get", &id, "a.csv"], 1).await;
    assert!(error.contains("a.csv already exists\n  -> use -o to save it elsewhere"), "{error}");
    user.write("a.csv", b"mine");
    let got = user.json(&["get", &id, "a.csv", "--force"]).await;
    assert_eq!(
        (&got["files"][0]["verified"], &got["files"][0]["sha256"]),
        (&serde_json::json!(true), &serde_json::json!(sha256_hex(&file)))
    );
    assert_eq!(std::fs::read(user.path("a.csv")).unwrap(), file);
    let error = user.fail(&["get", &id, "b.csv"], 3).await;
    assert!(error.contains("the contact has no file b.csv"), "{error}");
    let unknown = Uuid::new_v4().to_string();
    user.fail(&["get", &id, &unknown], 3).await;
    // Two files share the name: it is ambiguous.
    user.succeed(&["put", &id, "a.csv"]).await;
    let error = user.fail(&["get", &id, "a.csv", "-o", "two"], 2).await;
    assert!(error.contains("2 files are named a.csv\n  -> use the id of one: "), "{error}");
    let list = user.json(&["ls", &id]).await;
    let ids: Vec<&str> = (0..2).map(|at| list["attachments"][at]["id"].as_str().unwrap()).collect();
    user.succeed(&["get", &id, ids[0], ids[1], "-o", "two"]).await;
    assert_eq!(std::fs::read_dir(user.path("two")).unwrap().count(), 2);
}

#[tokio::test]
async fn a_killed_fetch_resumes_and_never_leaves_a_partial_file() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (user, id) = (User::of(&app), contact.to_string());
    let file = csv(2 << 20);
    user.write("a.csv", &file);
    let sent = user.json(&["put", &id, "a.csv"]).await;
    let attachment = sent["files"][0]["attachmentId"].as_str().unwrap();
    // What a killed command leaves: a partial file under a temporary name.
    let part = format!("there/.dossier-{attachment}.part");
    user.write(&part, &file[..1 << 20]);
    let got = user.json(&["get", &id, "a.csv", "-o", "there/"]).await;
    assert_eq!(got["files"][0]["resumedBytes"], 1 << 20);
    assert_eq!(std::fs::read(user.path("there/a.csv")).unwrap(), file);
    assert!(!user.path(&part).exists());
    // Wrong bytes are detected and fetched from the start the next time.
    user.write(&part, &vec![b'x'; 1 << 20]);
    let words = ["get", &id, "a.csv", "-o", "there/", "--force"];
    let error = user.fail(&words, 1).await;
    assert!(error.contains("the SHA-256 of the received bytes does not match"), "{error}");
    assert!(!user.path(&part).exists());
    user.succeed(&words).await;
    assert_eq!(std::fs::read(user.path("there/a.csv")).unwrap(), file);
}

#[tokio::test]
async fn a_fetch_uses_the_configured_server_address() {
    let (app, contact) =
        (TestApp::start_with(&[("public_url", "https://no.invalid")]).await, Uuid::new_v4());
    let gate = Gate::start(&app.base).await;
    let (user, id) = (User::with_server(&gate.url, &app.key), contact.to_string());
    user.write("a.png", PNG);
    user.write("large.csv", &csv(5 << 20));
    user.succeed(&["put", &id, "a.png", "large.csv"]).await;
    user.succeed(&["get", &id, "a.png", "large.csv", "-o", "back"]).await;
    assert_eq!(std::fs::read(user.path("back/a.png")).unwrap(), PNG);
    let link = user
        .succeed(&[
            "open",
            &id,
            user.json(&["ls", &id]).await["attachments"][0]["id"].as_str().unwrap(),
        ])
        .await;
    assert!(link.starts_with("https://no.invalid/"), "{link}");
}

#[tokio::test]
async fn a_reader_that_closes_early_is_not_an_error() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (user, id) = (User::of(&app), contact.to_string());
    user.write("a.csv", &csv(4 << 20));
    user.succeed(&["put", &id, "a.csv"]).await;
    for words in [&["get", &id, "a.csv", "-o", "-"][..], &["ls", &id]] {
        let mut command = user.command(words);
        let output = tokio::task::spawn_blocking(move || {
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut first = [0; 10];
            child.stdout.take().unwrap().read_exact(&mut first).unwrap();
            child.wait_with_output().unwrap()
        })
        .await
        .unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "{words:?}");
    }
}

#[tokio::test]
async fn a_delete_is_confirmed_or_needs_a_flag() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (user, id) = (User::of(&app), contact.to_string());
    user.write("a.pdf", PDF);
    let sent = user.json(&["put", &id, "a.pdf"]).await;
    let attachment = sent["files"][0]["attachmentId"].as_str().unwrap();
    let error = user.fail(&["rm", &id, attachment], 2).await;
    assert!(error.contains("-> use --yes to delete without asking"), "{error}");
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
    let unknown = Uuid::new_v4().to_string();
    let removed = user.run(&["rm", &id, &unknown, attachment, "--yes", "--json"]).await;
    assert_eq!(removed.code, Some(3), "{removed:?}");
    let shown: serde_json::Value = serde_json::from_str(&removed.out).unwrap();
    assert_eq!(shown["attachments"][0]["error"]["kind"], "notFound");
    assert_eq!(shown["attachments"][1]["attachmentId"], attachment);
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
}
