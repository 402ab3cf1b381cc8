//! Sends webhooks: the only outgoing HTTP of a server, apart from calls to a bucket (S23, S31). The
//! host name is resolved once. Every address must be allowed, and the connection goes to one of the
//! checked addresses. Redirects are not followed. Time and bytes are bounded.

mod connection;
mod tls;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use url::Host;

use self::connection::{Connection, SendError};
use self::tls::Tls;
use crate::domain::webhook::{Reach, Target};

/// Most idle connections, in total and to one receiver.
const MAX_IDLE: usize = 512;
const MAX_IDLE_PER_RECEIVER: usize = 64;
/// How long a connection stays idle: shorter than common servers allow.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// Most addresses of one name.
const MAX_ADDRESSES: usize = 16;

/// The time limit for receivers, and the certificate authorities to trust.
#[derive(Debug, Clone)]
pub struct Policy {
    /// From the lookup of the name to the head of the response.
    pub timeout: Duration,
    /// Additional certificate authorities (PEM) for receivers.
    pub ca_file: Option<PathBuf>,
}

/// Returns the addresses of a name.
pub type Lookup = dyn Fn(&str) -> Vec<IpAddr> + Send + Sync;

/// Resolves host names.
pub enum Resolver {
    /// With the system's resolver.
    System,
    /// With a function.
    Fixed(Box<Lookup>),
}

/// The outcome of a POST.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PostOutcome {
    /// The status, if a response arrived in time.
    pub status: Option<u16>,
    /// The `Retry-After` of the response.
    pub retry_after: Option<String>,
    /// What went wrong, in a few words. Contains no text from the receiver.
    pub problem: Option<String>,
    /// The beginning of the response body.
    pub response: String,
    /// The duration in milliseconds.
    pub duration_ms: u64,
}

/// The destination of a connection. It includes the reach, so that a target with a narrower reach
/// never reuses a connection that it could not open.
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
    idle: Mutex<HashMap<Origin, Vec<(Instant, Connection)>>>,
}

impl WebhookClient {
    /// Creates a client. Nothing is read or connected yet.
    pub fn new(policy: Policy, resolver: Resolver) -> Self {
        let tls = Tls::new(policy.ca_file.clone());
        Self { policy, resolver, tls, idle: Mutex::default() }
    }

    /// Sends a token to a target within reach and waits for the response.
    pub async fn post(&self, target: &Target, token: &str, reach: Reach) -> PostOutcome {
        if target.url().scheme() == "https"
            && let Err(problem) = self.tls.prepare().await
        {
            return PostOutcome { problem: Some(problem), ..PostOutcome::default() };
        }
        let begun = Instant::now();
        let deadline = begun + self.policy.timeout;
        let result = tokio::time::timeout_at(deadline, self.exchange(target, token, reach));
        let mut outcome = match result.await {
            Ok(Ok((mut outcome, head))) => {
                // A head in time counts as a response; the body is only for the log.
                let body = head.body(deadline).await;
                outcome.response = body.text;
                if let Some(connection) = body.reusable {
                    self.keep_idle(origin(target, reach), connection);
                }
                outcome
            }
            Ok(Err(problem)) => PostOutcome { problem: Some(problem), ..PostOutcome::default() },
            Err(_) => {
                let limit_ms = self.policy.timeout.as_millis();
                let problem = format!("no response within {limit_ms} ms");
                PostOutcome { problem: Some(problem), ..PostOutcome::default() }
            }
        };
        outcome.duration_ms = begun.elapsed().as_millis() as u64;
        outcome
    }

    /// Closes connections that have reached the idle timeout.
    pub fn close_idle(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, connections| {
            connections.retain(|(since, _)| since.elapsed() < IDLE_TIMEOUT);
            !connections.is_empty()
        });
    }

    async fn exchange(
        &self,
        target: &Target,
        token: &str,
        reach: Reach,
    ) -> Result<(PostOutcome, connection::ResponseHead), String> {
        let origin = origin(target, reach);
        if let Some(idle) = self.take_idle(&origin) {
            match idle.send(target.url(), token).await {
                Ok(exchanged) => return Ok(exchanged),
                // It was closed while idle, which is not a failure of the receiver.
                Err(SendError::Closed) => {}
                Err(SendError::Other(problem)) => return Err(problem),
            }
        }
        let addresses = self.addresses(target, reach).await?;
        let connection = self.connect(target, &addresses).await?;
        connection.send(target.url(), token).await.map_err(|failed| match failed {
            SendError::Closed => "the connection was closed without a response".to_owned(),
            SendError::Other(problem) => problem,
        })
    }

    /// Resolves the host, once; every address must be allowed.
    async fn addresses(&self, target: &Target, reach: Reach) -> Result<Vec<SocketAddr>, String> {
        let url = target.url();
        let port = url.port_or_known_default().unwrap_or(443);
        let found: Vec<IpAddr> = match url.host() {
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            Some(Host::Domain(name)) => match &self.resolver {
                Resolver::Fixed(lookup) => lookup(name),
                Resolver::System => tokio::net::lookup_host((name, port))
                    .await
                    .map_err(|_| "the host was not found".to_owned())?
                    .map(|address| address.ip())
                    .take(MAX_ADDRESSES)
                    .collect(),
            },
            None => Vec::new(),
        };
        if found.is_empty() {
            return Err("the host was not found".to_owned());
        }
        if !found.iter().all(|address| reach.allows(*address)) {
            return Err("the host resolves to an address that is not public".to_owned());
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
                    // Otherwise small requests are delayed.
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

    fn take_idle(&self, origin: &Origin) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.get_mut(origin)?;
        while let Some((since, connection)) = connections.pop() {
            if since.elapsed() < IDLE_TIMEOUT {
                return Some(connection);
            }
        }
        None
    }

    fn keep_idle(&self, origin: Origin, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = idle.values().map(Vec::len).sum();
        let connections = idle.entry(origin).or_default();
        if all < MAX_IDLE && connections.len() < MAX_IDLE_PER_RECEIVER {
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
