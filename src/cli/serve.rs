//! `dossier serve`.

use std::fmt::Write as _;

use clap::Args;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{OWN_PROGRAM, Settings, log_to_stderr, runtime, say};
use crate::app::Clock;
use crate::serve::{self, Server};

/// Arguments of `dossier serve`.
#[derive(Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Where plain HTTP is answered [default: 127.0.0.1:8080]; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where HTTPS is answered, or "off" [default: 127.0.0.1:8443].
    #[arg(long, value_name = "ADDRESS")]
    listen_tls: Option<String>,
    /// What links begin with [default: the plain HTTP address].
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// A certificate chain (PEM) in place of the local one.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<String>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<String>,
    /// One more name or address for the local certificate, repeatable.
    #[arg(long = "tls-name", value_name = "NAME")]
    tls_names: Vec<String>,
    /// For development: webhooks may go to this machine and to private networks, by plain http.
    #[arg(long)]
    dev: bool,
    /// Print one JSON object on standard output once requests are answered.
    #[arg(long)]
    ready_json: bool,
}

/// Serves until a signal comes.
pub(super) fn run(command: &Serve) -> anyhow::Result<()> {
    let names = (!command.tls_names.is_empty()).then(|| command.tls_names.join(","));
    let config = command.settings.load(&[
        ("listen", &command.listen),
        ("listen_tls", &command.listen_tls),
        ("public_url", &command.public_url),
        ("tls_cert", &command.tls_cert),
        ("tls_key", &command.tls_key),
        ("tls_names", &names),
        ("webhook_allow_private", &command.dev.then(|| "true".to_owned())),
    ])?;
    log_to_stderr(&config)?;
    allow_many_handles();
    runtime()?.block_on(async {
        // Before anything is started, so that no signal is missed.
        let (mut term, mut int) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let server = serve::start(config, Clock::System, OWN_PROGRAM.as_ref()).await?;
        say(&if command.ready_json { ready_json(&server).await? } else { greeting(&server)? })?;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping");
        // Whoever asks twice does not want to wait; what was acknowledged is durable already.
        tokio::select! {
            () = server.stop() => {}
            _ = term.recv() => tracing::warn!("stopped at once, by a second signal"),
            _ = int.recv() => tracing::warn!("stopped at once, by a second signal"),
        }
        Ok(())
    })
}

/// Each connection and each open file is a handle; what the system allows is used. Without it the
/// server sheds load earlier, so a failure is no reason not to start.
fn allow_many_handles() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it was");
    }
}

/// The line for programs that start a server.
async fn ready_json(server: &Server) -> anyhow::Result<String> {
    let site = match &server.first_start {
        Some(first) => Some(first.site.id),
        None => server.app.db.sites().await?.first().map(|site| site.id),
    };
    let mut ready = json!({
        "http": format!("http://{}", server.http),
        "https": server.https.map(|address| format!("https://{address}")),
        "siteId": site.map(|site| site.to_string()),
        "caFile": ca_file(server),
        "version": env!("CARGO_PKG_VERSION"),
    });
    if let Some(address) = server.metrics {
        ready["metrics"] = json!(format!("http://{address}/metrics"));
    }
    if let Some(first) = &server.first_start {
        ready["apiKey"] = json!(first.key.secret);
        ready["signInUrl"] = json!(first.sign_in);
    }
    Ok(ready.to_string())
}

fn ca_file(server: &Server) -> Option<String> {
    let file = server.ca_file.as_ref()?;
    let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
    Some(file.display().to_string())
}

/// What people see.
fn greeting(server: &Server) -> anyhow::Result<String> {
    let mut text = format!("Dossier {} answers at\n", env!("CARGO_PKG_VERSION"));
    writeln!(text, "  http://{}", server.http)?;
    if let Some(address) = server.https {
        writeln!(text, "  https://{address}   (what the official SDK needs)")?;
    }
    if let Some(address) = server.metrics {
        writeln!(text, "Metrics: http://{address}/metrics")?;
    }
    writeln!(text, "Data: {}", server.app.config.data.display())?;
    if let Some(first) = &server.first_start {
        writeln!(text, "\nA site and an API key were made. The key is shown this once:")?;
        writeln!(text, "  site id  {}", first.site.id)?;
        writeln!(text, "  API key  {}", first.key.secret)?;
        if let Some(link) = &first.sign_in {
            writeln!(text, "\nThe page, signed in by a link that works once, for 30 minutes:")?;
            writeln!(text, "  {link}")?;
        }
    } else {
        writeln!(text, "Keys: `dossier key list` shows them, `dossier key create` makes one")?;
        if server.app.page_is_on {
            let url = &server.app.public_url;
            writeln!(text, "The page: {url}   (`dossier sign-in` prints a link that signs in)")?;
        }
    }
    if let Some(file) = ca_file(server) {
        writeln!(text, "\nNode trusts the HTTPS address with")?;
        writeln!(text, "  NODE_EXTRA_CA_CERTS={file}")?;
    }
    if server.app.config.public_url.is_none() && !server.http.ip().is_loopback() {
        writeln!(
            text,
            "\nLinks begin with {}, which other machines cannot open: set --public-url.",
            server.app.public_url
        )?;
    }
    text.push_str("\nCtrl-C stops it.");
    Ok(text)
}
