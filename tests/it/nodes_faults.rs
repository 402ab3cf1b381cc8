//! A PostgreSQL that goes away, or answers what nobody hears (R12, R13). Run by `scripts/postgres`.

use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::NoTls;
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
    let proxy = Proxy::before(address.to_owned()).await;
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
    for (round, fault) in [
        Fault::RequestLost("COMMIT"),
        Fault::AnswerLost("COMMIT"),
        Fault::AnswerLost("COMMIT"),
        Fault::RequestLost("COMMIT"),
    ]
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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_list_that_waits_for_a_lock_is_answered_in_time_and_the_server_is_let_off() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    app.upload(contact, "a.csv", "text/csv", b"a,b\n").await.ok();
    let url = database::of(app.data()).unwrap();
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let mut task = JoinSet::new();
    task.spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE attachments IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // The server's limit for a statement is ten seconds, and it is not asked twice.
    let answer = tokio::time::timeout(Duration::from_secs(18), app.list(contact)).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND datname = current_database() AND query LIKE '%attachment_count%'";
    eventually("nothing waits at the server", async || {
        database::ask(url.clone(), waiting.to_owned()) == 0
    })
    .await;
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
}
