//! `dossier contact …` works beside a running server, which notices.

use serde_json::Value;
use uuid::Uuid;

use crate::support::files::eventually;
use crate::support::{TestApp, printed, refused};

impl TestApp {
    fn contact_arguments(&self, words: &[&str]) -> Vec<String> {
        let data = self.data().to_str().unwrap();
        let words = [&["contact"], words, &["--data", data]].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    fn command(&self, words: &[&str]) -> String {
        printed(&self.contact_arguments(words))
    }

    fn command_refused(&self, words: &[&str]) -> String {
        refused(&self.contact_arguments(words))
    }

    async fn notices(&self, contact: Uuid, total: u64) {
        eventually("the server notices", async || {
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
    // Pages that the server has in memory are not shown for long.
    app.list(one).await.ok();
    let merged = app.command(&["merge", &first, &second]);
    assert!(merged.starts_with("1 attachments have moved"), "{merged}");
    app.notices(one, 2).await;
    app.notices(two, 0).await;
    let trash = ["--set", "trash_days=3"];
    app.command(&[&["delete", first.as_str()], &trash[..]].concat());
    app.notices(one, 0).await;
    assert!(app.command(&["restore", &first]).ends_with("is back, with 2 attachments"));
    app.notices(one, 2).await;
    let error = app.command_refused(&["restore", &first]);
    assert!(error.contains("is not in the trash"), "{error}");
    let erased: Value = serde_json::from_str(&app.command(&["erase", &first, "--json"])).unwrap();
    app.notices(one, 0).await;
    assert_eq!(erased["receipt"]["attachmentCount"], 2);
    let id = erased["receipt"]["receiptId"].as_str().unwrap();
    let shown = app.command(&["receipt", id]);
    assert!(shown.contains(&format!("contact      {first}")), "{shown}");
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_words() {
    let app = TestApp::start().await;
    let (one, two) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    for (words, expected) in [
        (vec!["merge", &one, &one], "the target is a source as well"),
        (vec!["merge", &one, &two, &two], "a source is named twice"),
        (vec!["merge", &one, &two], "contact was not found"),
        (vec!["receipt", &one], "there is no receipt"),
    ] {
        let error = app.command_refused(&words);
        assert!(error.contains(expected), "{words:?}: {error}");
    }
}
