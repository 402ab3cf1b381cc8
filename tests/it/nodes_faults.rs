//! A PostgreSQL that goes away, or answers what nobody hears (R12, R13). Run by `scripts/postgres`.

use std::path::Path;

use uuid::Uuid;

use crate::support::files::eventually;
use crate::support::proxy::{Fault, Proxy};
use crate::support::tus::csv;
use crate::support::{TestApp, database};

/// A server whose database is behind a proxy.
async fn behind_a_proxy() -> (TestApp, Proxy) {
    let url = database::of(Path::new(&format!("proxied-{}", Uuid::new_v4()))).unwrap();
    let (user, place) = url.split_once('@').unwrap();
    let (address, name) = place.split_once('/').unwrap();
    let proxy = Proxy::start(address.to_owned()).await;
    let url = format!("{user}@{}/{name}", proxy.address);
    (TestApp::start_with(&[("database_url", &url)]).await, proxy)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn without_its_database_a_server_says_503_and_comes_back_by_itself() {
    let (app, proxy) = behind_a_proxy().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    app.upload(contact, "first.csv", "text/csv", b"a,b\n").await.ok();
    proxy.fails(Fault::Away);
    for answer in [app.list(contact).await, app.put(&url, &csv(3_000)).await] {
        assert_eq!(answer.status, 503, "{:?}", answer.json());
        assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    }
    assert_eq!(
        app.anonymous(reqwest::Method::GET, "/dossier/v1/health").send().await.unwrap().status(),
        503
    );
    proxy.fails(Fault::None);
    eventually("the list is back", async || app.list(contact).await.status == 200).await;
    app.put(&url, &csv(3_000)).await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 2);
    app.nothing_staged().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_commit_or_its_answer_that_is_lost_makes_one_attachment_all_the_same() {
    let (app, proxy) = behind_a_proxy().await;
    for (round, fault) in
        [Fault::CommitLost, Fault::AnswerLost, Fault::AnswerLost, Fault::CommitLost]
            .into_iter()
            .enumerate()
    {
        let contact = Uuid::new_v4();
        let url = app.upload_url(contact, "a.csv", "text/csv").await;
        proxy.fails(fault);
        let first = app.put(&url, &csv(3_000)).await;
        assert!(proxy.has_failed(), "round {round}: no commit was lost");
        let again = app.put(&url, &csv(3_000)).await.ok();
        assert_eq!(first.ok(), again, "round {round} {fault:?}");
        assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1, "round {round}");
    }
    assert_eq!(app.app().db.sites().await.unwrap().len(), 1);
    app.nothing_staged().await;
}
