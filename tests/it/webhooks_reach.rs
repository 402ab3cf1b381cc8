//! Where the client of webhooks connects to (S23): a name is looked up once, every address that it
//! has is checked, and exactly that one is connected to.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dossier::domain::webhook::{Reach, Target};
use dossier::webhook_client::{Answer, Policy, Resolver, WebhookClient};

use crate::support::receiver::{OK, Receiver};

/// A token that a receiver of the tests can read.
fn token() -> String {
    use base64::Engine as _;
    let data = r#"{"data":"{\"data\":\"{}\"}"}"#;
    format!("e30.{}.x", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(data))
}

/// A client whose names lead where the function says for each look-up, and their number.
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

async fn post(client: &WebhookClient, url: &str, reach: Reach) -> Answer {
    // The URL itself is allowed; what is tried here is where its name leads.
    let target = Target::parse(url, Reach::Anywhere).unwrap();
    client.post(&target, &token(), reach).await
}

#[tokio::test]
async fn a_name_is_looked_up_once_and_the_connection_goes_there() {
    let receiver = Receiver::start(OK).await;
    let (client, count) = client(|_| vec!["127.0.0.1"]);
    let url = format!("http://receiver.example:{}/a?b=c", receiver.address.port());
    assert_eq!(post(&client, &url, Reach::Anywhere).await.status, Some(200));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let head = receiver.told().remove(0).head;
    let host = format!("host: receiver.example:{}\r\n", receiver.address.port());
    assert!(head.starts_with("POST /a?b=c HTTP/1.1\r\n") && head.contains(&host), "{head}");
}

#[tokio::test]
async fn a_name_that_leads_to_an_own_address_is_refused_before_anything_is_connected() {
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
        // One bad address among good ones is enough.
        &["8.8.8.8", "127.0.0.1"],
        &["127.0.0.1", "8.8.8.8"],
    ] {
        let (client, _) = client(move |_| addresses.to_vec());
        let answer = post(&client, &url, Reach::Public).await;
        let problem = answer.problem.as_deref();
        assert_eq!(problem, Some("the host leads to an address that is not public"));
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_name_that_is_bound_anew_between_attempts_is_refused() {
    let receiver = Receiver::start(OK).await;
    let url = format!("http://receiver.example:{}/", receiver.address.port());
    // Public when it is first looked at; nothing answers at this address of documentation's
    // neighbour, so the attempt ends in time.
    let (client, count) =
        client(|number| if number == 0 { vec!["127.0.0.1"] } else { vec!["10.1.2.3"] });
    assert_eq!(post(&client, &url, Reach::Local).await.status, Some(200));
    // The connection that was checked is used again; a new one would go elsewhere.
    assert_eq!(post(&client, &url, Reach::Local).await.status, Some(200));
    assert_eq!((count.load(Ordering::SeqCst), receiver.connections()), (1, 1));
    let refused = post(&client, &url, Reach::Public).await;
    assert_eq!(refused.problem.as_deref(), Some("the host leads to an address that is not public"));
    assert_eq!((count.load(Ordering::SeqCst), receiver.connections()), (2, 1));
}

#[tokio::test]
async fn a_local_receiver_may_lie_on_this_machine_and_nowhere_else_within() {
    let receiver = Receiver::start(OK).await;
    let port = receiver.address.port();
    let (client, _) = client(|number| vec![["127.0.0.1", "10.0.0.1", "169.254.169.254"][number]]);
    assert_eq!(
        post(&client, &format!("http://a.example:{port}/"), Reach::Local).await.status,
        Some(200)
    );
    for name in ["b", "c"] {
        let url = format!("http://{name}.example:{port}/");
        let answer = post(&client, &url, Reach::Local).await;
        let problem = answer.problem.as_deref();
        assert_eq!(problem, Some("the host leads to an address that is not public"), "{name}");
    }
    let url = format!("http://127.0.0.1:{port}/");
    let public = post(&client, &url, Reach::Public).await;
    assert_eq!(public.problem.as_deref(), Some("the host leads to an address that is not public"));
}
