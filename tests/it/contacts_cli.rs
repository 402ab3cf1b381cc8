//! `dossier contact …` changes the database behind a running server's back, and the server notices.

use serde_json::Value;
use uuid::Uuid;

use crate::support::files::eventually;
use crate::support::{TestApp, failure, printed};

impl TestApp {
    fn contact_arguments(&self, words: &[&str]) -> Vec<String> {
        let data = self.data().to_str().unwrap();
        let words = [&["contact"], words, &["--data", data]].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    fn command(&self, words: &[&str]) -> String {
        printed(&self.contact_arguments(words))
    }

    fn command_failure(&self, words: &[&str]) -> String {
        failure(&self.contact_arguments(words))
    }

    async fn wait_for_total(&self, contact: Uuid, total: u64) {
        eventually("the server sees the change", async || {
            self.list(contact).await.ok()["metadata"]["total"] == total
        })
        .await;
    }
}

#[tokio::test]
async fn contacts_are_announced_merged_deleted_restored_and_erased() {
    let settings = [("contacts_policy", "registered")];
    let (app, one, two) = (TestApp::start_with(&settings).await, Uuid::new_v4(), Uuid::new_v4());
    let (first, second) = (one.to_string(), two.to_string());
    app.command(&["announce", &first, "--label", "Anna"]);
    app.command(&["announce", &second]);
    app.upload_pdf(one, "a.pdf").await;
    app.upload_pdf(two, "b.pdf").await;
    let list = app.command(&["list"]);
    assert!(list.contains(&first) && list.contains("  Anna"), "{list}");
    // Pages cached by the server must soon be replaced.
    app.list(one).await.ok();
    let merged = app.command(&["merge", &first, &second]);
    assert!(merged.starts_with("Moved 1 attachments"), "{merged}");
    app.wait_for_total(one, 2).await;
    app.wait_for_total(two, 0).await;
    let trash = ["--set", "trash_days=3"];
    app.command(&[&["delete", first.as_str()], &trash[..]].concat());
    app.wait_for_total(one, 0).await;
    assert!(app.command(&["restore", &first]).ends_with("with 2 attachments"));
    app.wait_for_total(one, 2).await;
    let error = app.command_failure(&["restore", &first]);
    assert!(error.contains("is not in the trash"), "{error}");
    let erased: Value = serde_json::from_str(&app.command(&["erase", &first, "--json"])).unwrap();
    app.wait_for_total(one, 0).await;
    assert_eq!(erased["receipt"]["attachmentCount"], 2);
    let id = erased["receipt"]["receiptId"].as_str().unwrap();
    let shown = app.command(&["receipt", id]);
    assert!(shown.contains(&format!("contact      {first}")), "{shown}");
}

#[tokio::test]
async fn invalid_requests_are_rejected_in_words() {
    let app = TestApp::start().await;
    let (one, two) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    for (words, expected) in [
        (vec!["merge", &one, &one], "the target contact is also a source"),
        (vec!["merge", &one, &two, &two], "a source contact is given twice"),
        (vec!["merge", &one, &two], "contact was not found"),
        (vec!["receipt", &one], "there is no receipt"),
    ] {
        let error = app.command_failure(&words);
        assert!(error.contains(expected), "{words:?}: {error}");
    }
}
