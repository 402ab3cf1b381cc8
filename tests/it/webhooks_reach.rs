//! Which addresses webhook deliveries connect to (S23): a name is resolved once, all its addresses
//! are checked, and the connection goes to exactly one of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dossier::domain::webhook::{Reach, Target};
use dossier::webhook_client::{Policy, PostOutcome, Resolver, WebhookClient};

use crate::support::receiver::{OK, Receiver};

/// A token that the test receiver can parse.
fn token() -> String {
    use base64::Engine as _;
    let data = r#"{"data":"{\"data\":\"{}\"}"}"#;
    format!("e30.{}.x", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(data))
}

/// A client whose name resolution is this function of the query's index, and the number of queries.
fn client(
    find: impl Fn(usize) -> Vec<&'static str> + Send + Sync + 'static,
) -> (WebhookClient, Arc<AtomicUsize>) {
    let policy = Policy { timeout: Duration::from_secs(5), ca_file: None };
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let find = move |_: &str| -> Vec<IpAddr> {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        find(number).into_iter().map(|address| address.parse().unwrap()).collect()
    };
    (WebhookClient::new(policy, Resolver::Fixed(Box::new(find))), count)
}

async fn post(client: &WebhookClient, url: &str, reach: Reach) -> PostOutcome {
    // The URL itself is allowed; the test is about where its name resolves to.
    let target = Target::parse(url, Reach::Anywhere).unwrap();
    client.post(&target, &token(), reach).await
}

#[tokio::test]
async fn a_name_is_resolved_once_and_the_connection_goes_there() {
    let receiver = Receiver::start(OK).await;
    let (client, count) = client(|_| vec!["127.0.0.1"]);
    let url = format!("http://receiver.example:{}/a?b=c", receiver.address.port());
    assert_eq!(post(&client, &url, Reach::Anywhere).await.status, Some(200));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let head = receiver.deliveries().remove(0).head;
    let host = format!("host: receiver.example:{}\r\n", receiver.address.port());
    assert!(head.starts_with("POST /a?b=c HTTP/1.1\r\n") && head.contains(&host), "{head}");
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_rejected_before_connecting() {
    let receiver = Receiver::start(OK).await;
    let url = format!("http://receiver.example:{}/", receiver.address.port());
    for addresses in [
        &["127.0.0.1"][..],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::7f00:1"],
        &["0.0.0.0"],
        &["::"],
        &["169.254.169.254"],
        &["10.0.0.1"],
        // One private address among public ones is enough.
        &["8.8.8.8", "127.0.0.1"],
        &["127.0.0.1", "8.8.8.8"],
    ] {
        let (client, _) = client(move |_| addresses.to_vec());
        let response = post(&client, &url, Reach::Public).await;
        let problem = response.problem.as_deref();
        assert_eq!(problem, Some("the host resolves to an address that is not public"));
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_name_rebound_between_attempts_is_rejected() {
    let receiver = Receiver::start(OK).await;
    let url = format!("http://receiver.example:{}/", receiver.address.port());
    // The name first resolves to the receiver, later to a private address.
    let (client, count) =
        client(|number| if number == 0 { vec!["127.0.0.1"] } else { vec!["10.1.2.3"] });
    assert_eq!(post(&client, &url, Reach::Local).await.status, Some(200));
    // The checked connection is reused; a new one would go elsewhere.
    assert_eq!(post(&client, &url, Reach::Local).await.status, Some(200));
    assert_eq!((count.load(Ordering::SeqCst), receiver.connections()), (1, 1));
    let rejected = post(&client, &url, Reach::Public).await;
    assert_eq!(
        rejected.problem.as_deref(),
        Some("the host resolves to an address that is not public")
    );
    assert_eq!((count.load(Ordering::SeqCst), receiver.connections()), (2, 1));
}

#[tokio::test]
async fn a_local_receiver_may_be_on_this_machine_and_nowhere_else_private() {
    let receiver = Receiver::start(OK).await;
    let port = receiver.address.port();
    let (client, _) = client(|number| vec![["127.0.0.1", "10.0.0.1", "169.254.169.254"][number]]);
    assert_eq!(
        post(&client, &format!("http://a.example:{port}/"), Reach::Local).await.status,
        Some(200)
    );
    for name in ["b", "c"] {
        let url = format!("http://{name}.example:{port}/");
        let response = post(&client, &url, Reach::Local).await;
        let problem = response.problem.as_deref();
        assert_eq!(problem, Some("the host resolves to an address that is not public"), "{name}");
    }
    let url = format!("http://127.0.0.1:{port}/");
    let public = post(&client, &url, Reach::Public).await;
    assert_eq!(
        public.problem.as_deref(),
        Some("the host resolves to an address that is not public")
    );
}
