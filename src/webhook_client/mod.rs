//! The only HTTP that a server sends: one POST to a receiver of webhooks (S23, S31). A host's name is looked up
//! once, every address that it leads to is checked, and exactly one of these is connected to; nothing
//! is followed elsewhere, and time and bytes are bounded.

mod connection;
mod tls;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use url::Host;

use self::connection::{Connection, Failed};
use self::tls::Tls;
use crate::domain::webhook::{Reach, Target};

/// Connections that are kept for the next event, in all and to one receiver.
const KEPT: usize = 512;
const KEPT_OF_ONE: usize = 64;
/// How long they are kept: shorter than common servers do.
const KEPT_FOR: Duration = Duration::from_secs(3);
/// Addresses of a name that are looked at.
const MOST_ADDRESSES: usize = 16;

/// How long receivers may take, and whom they are known by.
#[derive(Debug, Clone)]
pub struct Policy {
    /// From the lookup of the name to the head of the answer.
    pub timeout: Duration,
    /// More authorities (PEM) that receivers' certificates may come from.
    pub ca_file: Option<PathBuf>,
}

/// The addresses of a name.
pub type Find = dyn Fn(&str) -> Vec<IpAddr> + Send + Sync;

/// Finds the addresses of a name.
pub enum Resolver {
    /// As the system does.
    System,
    /// As a function says.
    Fixed(Box<Find>),
}

/// What came of a POST.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The status, if there was an answer in time.
    pub status: Option<u16>,
    /// The answer's `Retry-After`.
    pub retry_after: Option<String>,
    /// What went wrong, in a few words without anything of the receiver's.
    pub problem: Option<String>,
    /// The beginning of the answer's body.
    pub response: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Where a connection leads. Those of a farther reach are apart: others may not use them.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Origin {
    is_tls: bool,
    host: String,
    port: u16,
    reach: Reach,
}

/// Sends events.
pub struct WebhookClient {
    policy: Policy,
    resolver: Resolver,
    tls: Tls,
    kept: Mutex<HashMap<Origin, Vec<(Instant, Connection)>>>,
}

impl WebhookClient {
    /// Nothing is read or connected yet.
    pub fn new(policy: Policy, resolver: Resolver) -> Self {
        let tls = Tls::new(policy.ca_file.clone());
        Self { policy, resolver, tls, kept: Mutex::default() }
    }

    /// Sends a token to a target within reach and waits for the answer.
    pub async fn post(&self, target: &Target, token: &str, reach: Reach) -> Answer {
        if target.url().scheme() == "https"
            && let Err(problem) = self.tls.prepare().await
        {
            return Answer { problem: Some(problem), ..Answer::default() };
        }
        let begun = Instant::now();
        let deadline = begun + self.policy.timeout;
        let exchanged = tokio::time::timeout_at(deadline, self.exchange(target, token, reach));
        let mut answer = match exchanged.await {
            Ok(Ok((mut answer, connection))) => {
                // A head in time is an answer; what else comes is for the log.
                let body = connection.body(deadline).await;
                answer.response = body.text;
                if let Some(connection) = body.reusable {
                    self.keep(origin(target, reach), connection);
                }
                answer
            }
            Ok(Err(problem)) => Answer { problem: Some(problem), ..Answer::default() },
            Err(_) => {
                let limit_ms = self.policy.timeout.as_millis();
                let problem = format!("no answer within {limit_ms} ms");
                Answer { problem: Some(problem), ..Answer::default() }
            }
        };
        answer.duration_ms = begun.elapsed().as_millis() as u64;
        answer
    }

    /// Closes connections that were kept for long enough.
    pub fn close_idle(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, connections| {
            connections.retain(|(since, _)| since.elapsed() < KEPT_FOR);
            !connections.is_empty()
        });
    }

    async fn exchange(
        &self,
        target: &Target,
        token: &str,
        reach: Reach,
    ) -> Result<(Answer, connection::Answered), String> {
        let origin = origin(target, reach);
        if let Some(kept) = self.take(&origin) {
            match kept.send(target.url(), token).await {
                Ok(answered) => return Ok(answered),
                // It was closed while it was idle: that says nothing about the receiver.
                Err(Failed::Closed) => {}
                Err(Failed::Other(problem)) => return Err(problem),
            }
        }
        let addresses = self.addresses(target, reach).await?;
        let connection = self.connect(target, &addresses).await?;
        connection.send(target.url(), token).await.map_err(|failed| match failed {
            Failed::Closed => "the connection was closed without an answer".to_owned(),
            Failed::Other(problem) => problem,
        })
    }

    /// Looks the host up, once; all that it leads to must be allowed.
    async fn addresses(&self, target: &Target, reach: Reach) -> Result<Vec<SocketAddr>, String> {
        let url = target.url();
        let port = url.port_or_known_default().unwrap_or(443);
        let found: Vec<IpAddr> = match url.host() {
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            Some(Host::Domain(name)) => match &self.resolver {
                Resolver::Fixed(find) => find(name),
                Resolver::System => tokio::net::lookup_host((name, port))
                    .await
                    .map_err(|_| "the host was not found".to_owned())?
                    .map(|address| address.ip())
                    .take(MOST_ADDRESSES)
                    .collect(),
            },
            None => Vec::new(),
        };
        if found.is_empty() {
            return Err("the host was not found".to_owned());
        }
        if !found.iter().all(|address| reach.allows(*address)) {
            return Err("the host leads to an address that is not public".to_owned());
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    async fn connect(
        &self,
        target: &Target,
        addresses: &[SocketAddr],
    ) -> Result<Connection, String> {
        let mut problem = String::new();
        for address in addresses {
            match tokio::net::TcpStream::connect(address).await {
                Ok(stream) => {
                    // Without it small requests wait for nothing.
                    let _ = stream.set_nodelay(true);
                    return match target.url().scheme() {
                        "https" => {
                            let stream = self.tls.handshake(target.url(), stream).await?;
                            Connection::open(stream).await
                        }
                        _ => Connection::open(stream).await,
                    };
                }
                Err(error) => problem = format!("cannot connect: {}", error.kind()),
            }
        }
        Err(problem)
    }

    fn take(&self, origin: &Origin) -> Option<Connection> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = kept.get_mut(origin)?;
        while let Some((since, connection)) = connections.pop() {
            if since.elapsed() < KEPT_FOR {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, origin: Origin, connection: Connection) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = kept.values().map(Vec::len).sum();
        let connections = kept.entry(origin).or_default();
        if all < KEPT && connections.len() < KEPT_OF_ONE {
            connections.push((Instant::now(), connection));
        }
    }
}

fn origin(target: &Target, reach: Reach) -> Origin {
    let url = target.url();
    Origin {
        is_tls: url.scheme() == "https",
        host: url.host_str().unwrap_or_default().to_owned(),
        port: url.port_or_known_default().unwrap_or(443),
        reach,
    }
}
