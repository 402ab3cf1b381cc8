//! A PostgreSQL that is unavailable, or whose responses are lost (R12, R13). Run by
//! `scripts/postgres`.

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
    let url = database::url_for(Path::new(&format!("proxied-{}", Uuid::new_v4()))).unwrap();
    let (user, rest) = url.split_once('@').unwrap();
    let (address, name) = rest.split_once('/').unwrap();
    let proxy = Proxy::in_front_of(address.to_owned()).await;
    let url = format!("{user}@{}/{name}", proxy.address);
    (TestApp::start_with(&[("database_url", &url)]).await, proxy)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn without_its_database_a_server_returns_503_and_recovers_by_itself() {
    let (app, proxy) = behind_a_proxy().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    app.upload(contact, "first.csv", "text/csv", b"a,b\n").await.ok();
    proxy.set_fault(Fault::Unavailable);
    for response in [app.list(contact).await, app.put(&url, &csv(3_000)).await] {
        assert_eq!(response.status, 503, "{:?}", response.json());
        assert!(response.header("retry-after").parse::<u32>().unwrap() > 0);
    }
    assert_eq!(
        app.anonymous(reqwest::Method::GET, "/dossier/v1/health").send().await.unwrap().status(),
        503
    );
    proxy.set_fault(Fault::None);
    eventually("the list is back", async || app.list(contact).await.status == 200).await;
    app.put(&url, &csv(3_000)).await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 2);
    app.wait_until_staging_is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_read_whose_connection_breaks_is_retried_on_a_new_one() {
    let (app, proxy) = behind_a_proxy().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "first.csv", "text/csv", b"a,b\n").await.ok();
    // All pooled connections are reset, so that statements are prepared again.
    proxy.set_fault(Fault::Unavailable);
    proxy.set_fault(Fault::None);
    // The second statement of a search: a transaction is open when the connection breaks.
    proxy.set_fault(Fault::RequestLost("SELECT count(*) FROM"));
    let found = app.get(&format!("/dossier/v1/contacts/{contact}/attachments?search=first")).await;
    assert!(proxy.has_failed(), "no statement was lost");
    assert_eq!(found.ok()["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_lost_commit_or_response_still_creates_one_attachment() {
    let (app, proxy) = behind_a_proxy().await;
    for (round, fault) in [
        Fault::RequestLost("COMMIT"),
        Fault::ResponseLost("COMMIT"),
        Fault::ResponseLost("COMMIT"),
        Fault::RequestLost("COMMIT"),
    ]
    .into_iter()
    .enumerate()
    {
        let contact = Uuid::new_v4();
        let url = app.upload_url(contact, "a.csv", "text/csv").await;
        proxy.set_fault(fault);
        let first = app.put(&url, &csv(3_000)).await;
        assert!(proxy.has_failed(), "round {round}: no commit was lost");
        let again = app.put(&url, &csv(3_000)).await.ok();
        assert_eq!(first.ok(), again, "round {round} {fault:?}");
        assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1, "round {round}");
    }
    assert_eq!(app.app().db.sites().await.unwrap().len(), 1);
    app.wait_until_staging_is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_list_blocked_by_a_lock_times_out_and_its_statement_is_cancelled() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    app.upload(contact, "a.csv", "text/csv", b"a,b\n").await.ok();
    let url = database::url_for(app.data()).unwrap();
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let mut task = JoinSet::new();
    task.spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE attachments IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // The statement timeout is ten seconds, and a timeout is not retried.
    let response = tokio::time::timeout(Duration::from_secs(18), app.list(contact)).await.unwrap();
    assert_eq!((response.status.as_u16(), response.header("retry-after")), (503, "1"));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND datname = current_database() AND query LIKE '%attachment_count%'";
    eventually("no statement waits for a lock", async || {
        database::query_number(url.clone(), waiting.to_owned()) == 0
    })
    .await;
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
}
