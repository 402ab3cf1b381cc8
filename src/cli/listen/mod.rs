//! `dossier listen`: a temporary webhook. The server sends events to a local port of this command,
//! whatever its `webhook_allow_private` is. Each event is forwarded and the response is returned.

mod chaos;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use uuid::Uuid;

use self::chaos::{Chaos, Faults};
use super::webhooks::{EventArgs, SiteArgs, key_ring};
use super::{print_stdout, runtime};
use crate::actions::webhooks::{NewSubscription, subscribe};
use crate::app::Clock;
use crate::db::{Db, Subscription};
use crate::domain::timestamp::timestamp;
use crate::domain::webhook::{Reach, Target};
use crate::webhook_client::{Policy, Resolver, WebhookClient};

/// The subscription is renewed this often for `LEASE_MS`, so that it expires by itself after a
/// kill.
const RENEW_INTERVAL: Duration = Duration::from_secs(10);
const LEASE_MS: i64 = 40_000;
/// Largest token that is accepted.
const MAX_TOKEN_BYTES: usize = 256 * 1_024;
/// How long an event is held back for another one to go first.
const MAX_HOLD: Duration = Duration::from_secs(2);

/// Arguments of `dossier listen`.
#[derive(Args)]
pub(super) struct Listen {
    #[command(flatten)]
    common: SiteArgs,
    /// The URL to forward events to, such as `http://localhost:3000/webhooks`.
    #[arg(long, value_name = "URL")]
    forward: String,
    #[command(flatten)]
    events: EventArgs,
    #[command(flatten)]
    chaos: chaos::Flags,
}

/// Runs until a signal arrives.
pub(super) fn run(command: &Listen) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let (mut term, mut int) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let forward = Target::parse(&command.forward, Reach::Anywhere)
            .map_err(|error| anyhow::anyhow!("--forward {error}"))?;
        let config = command.common.settings.load(&[])?;
        let (db, site) = command.common.open().await?;
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        // A secret path: other users of this machine can reach the port too.
        let path = format!("/{}", Uuid::new_v4().simple());
        let target = Target::parse(&format!("http://{address}{path}"), Reach::Local)?;
        let now_ms = Clock::System.now_ms();
        let new = NewSubscription {
            is_local: true,
            expires_at_ms: Some(now_ms + LEASE_MS),
            ..command.events.subscription(site, target)
        };
        let made = subscribe(&db, key_ring(&command.common.settings)?, new, now_ms).await?;
        let policy = Policy {
            timeout: Duration::from_millis(config.webhook_timeout_ms),
            ca_file: config.webhook_ca.clone(),
        };
        let forwarder = Arc::new(Forwarder {
            forward,
            path,
            limit_ms: config.webhook_timeout_ms,
            client: WebhookClient::new(policy, Resolver::System),
            chaos: Chaos::new(&command.chaos),
            webhook: made.clone(),
            json: command.common.json,
        });
        print_stdout(&greeting(command, &made, address))?;
        let outcome = tokio::select! {
            outcome = accept_events(&listener, &forwarder) => outcome,
            outcome = renew(&db, &made) => outcome,
            _ = term.recv() => Ok(()),
            _ = int.recv() => Ok(()),
        };
        db.remove_subscription(site, made.id, Clock::System.now_ms()).await?;
        outcome
    })
}

fn greeting(command: &Listen, made: &Subscription, address: SocketAddr) -> String {
    if command.common.json {
        let (webhook, app_id) = (made.id.to_string(), made.app_id.to_string());
        let instance_id = made.instance_id.to_string();
        return json!({
            "webhookId": webhook, "appId": app_id, "instanceId": instance_id,
            "listening": address.to_string(),
        })
        .to_string();
    }
    format!(
        "Forwarding events of site {} to {}\n  webhook      {}\n  app id       {}\n  instance id  {}\n  \
         public key   dossier webhook public-key\nTo send a test event: dossier trigger \
         attachment_created\nPress Ctrl-C to stop.\n",
        made.site_id, command.forward, made.id, made.app_id, made.instance_id
    )
}

async fn renew(db: &Db, made: &Subscription) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(RENEW_INTERVAL).await;
        let until_ms = Clock::System.now_ms() + LEASE_MS;
        if !db.renew_subscription(made.site_id, made.id, until_ms).await? {
            anyhow::bail!("the webhook of this listener was removed");
        }
    }
}

async fn accept_events(listener: &TcpListener, forwarder: &Arc<Forwarder>) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("cannot accept connections")?;
                let forwarder = Arc::clone(forwarder);
                connections.spawn(async move {
                    let service = service_fn(|request| forwarder.receive(request));
                    // The server notices and retries when a connection breaks.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

struct Forwarder {
    forward: Target,
    path: String,
    limit_ms: u64,
    client: WebhookClient,
    chaos: Chaos,
    webhook: Subscription,
    json: bool,
}

impl Forwarder {
    /// Returns the receiver's status to the server. An event that is delayed, repeated or reordered
    /// on purpose is acknowledged before it is forwarded.
    async fn receive(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        if request.uri().path() != self.path {
            return Ok(status(StatusCode::NOT_FOUND));
        }
        let body = Limited::new(request.into_body(), MAX_TOKEN_BYTES).collect().await;
        let Some(token) =
            body.ok().and_then(|body| String::from_utf8(body.to_bytes().to_vec()).ok())
        else {
            return Ok(status(StatusCode::BAD_REQUEST));
        };
        let faults = self.chaos.next_faults();
        if faults == Faults::default() {
            let forwarded = self.forward(&token, "").await;
            self.release().await;
            return Ok(status(forwarded));
        }
        if faults.swap {
            // At most one event is held: an earlier one goes now.
            let earlier = self.chaos.hold(token);
            if let Some(earlier) = earlier {
                self.forward(&earlier, "late").await;
            }
            let this = Arc::clone(self);
            self.chaos.spawn(async move {
                tokio::time::sleep(MAX_HOLD).await;
                this.release().await;
            });
            return Ok(status(StatusCode::OK));
        }
        let this = Arc::clone(self);
        self.chaos.spawn(async move {
            tokio::time::sleep(faults.delay).await;
            this.forward(&token, if faults.delay.is_zero() { "" } else { "late" }).await;
            if faults.twice {
                this.forward(&token, "again").await;
            }
            this.release().await;
        });
        Ok(status(StatusCode::OK))
    }

    /// Forwards the event that was held back, if any.
    async fn release(&self) {
        if let Some(held) = self.chaos.take() {
            self.forward(&held, "late").await;
        }
    }

    async fn forward(&self, token: &str, label: &str) -> StatusCode {
        let response = self.client.post(&self.forward, token, Reach::Anywhere).await;
        let event = event_of(token).unwrap_or_default();
        let outcome = match (&response.problem, response.status) {
            (Some(problem), _) => problem.clone(),
            (None, status) => status.unwrap_or_default().to_string(),
        };
        let text = self.describe(&event, label, &outcome, response.duration_ms);
        // Forwarding continues when standard output is closed.
        let _ = print_stdout(&text);
        let status = response.status.and_then(|status| StatusCode::from_u16(status).ok());
        status.unwrap_or(StatusCode::BAD_GATEWAY)
    }

    fn describe(&self, event: &Value, label: &str, outcome: &str, duration_ms: u64) -> String {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let (id, slug) = (text("id"), text("slug"));
        if self.json {
            return json!({
                "eventId": id, "slug": slug, "entityId": event["entityId"], "label": label,
                "outcome": outcome, "milliseconds": duration_ms,
            })
            .to_string();
        }
        let label = if label.is_empty() { String::new() } else { format!(" [{label}]") };
        format!(
            "{}  attachment_{slug}  {id}{label}\n    {outcome}, {duration_ms} of {} ms   to replay: \
             dossier webhook replay {} --event {id}",
            timestamp(Clock::System.now_ms()),
            self.limit_ms,
            self.webhook.id
        )
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Decodes the event in a token without verifying it; `None` if it is malformed.
fn event_of(token: &str) -> Option<Value> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let data: Value = serde_json::from_str(claims["data"].as_str()?).ok()?;
    serde_json::from_str(data["data"].as_str()?).ok()
}
