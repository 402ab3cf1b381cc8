//! `dossier serve`.

use std::fmt::Write as _;

use clap::Args;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{OWN_PROGRAM, Settings, log_to_stderr, print_stdout, runtime};
use crate::app::Clock;
use crate::serve::{self, Server};

/// Arguments of `dossier serve`.
#[derive(Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Listen for plain HTTP on this address [default: 127.0.0.1:8080]. Port 0 picks a free port.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Listen for HTTPS on this address, or "off" [default: 127.0.0.1:8443].
    #[arg(long, value_name = "ADDRESS")]
    listen_tls: Option<String>,
    /// The URL that links begin with [default: the plain HTTP address].
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// A certificate chain (PEM) to use instead of the generated one.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<String>,
    /// The private key (PEM) of --tls-cert.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<String>,
    /// Add a name or address to the generated certificate; repeatable.
    #[arg(long = "tls-name", value_name = "NAME")]
    tls_names: Vec<String>,
    /// Development mode: allow webhooks to this machine and private networks, over plain HTTP too.
    #[arg(long)]
    dev: bool,
    /// Print one JSON object to standard output once the server accepts requests.
    #[arg(long)]
    ready_json: bool,
}

/// Serves until a signal arrives.
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
    raise_file_limit();
    runtime()?.block_on(async {
        // Before anything starts, so that no signal is missed.
        let (mut term, mut int) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let server = serve::start(config, Clock::System, OWN_PROGRAM.as_ref()).await?;
        print_stdout(&if command.ready_json {
            ready_json(&server).await?
        } else {
            greeting(&server)?
        })?;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping");
        // A second signal stops at once. That is safe: acknowledged writes are already durable.
        tokio::select! {
            () = server.stop() => {}
            _ = term.recv() => tracing::warn!("stopped at once by a second signal"),
            _ = int.recv() => tracing::warn!("stopped at once by a second signal"),
        }
        Ok(())
    })
}

/// Raises the soft limit of open files to the hard limit: each connection and each open file
/// counts. Not fatal, since with a lower limit the server only sheds load earlier.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// The output of `--ready-json`, for programs that start a server.
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

/// The start message for people.
fn greeting(server: &Server) -> anyhow::Result<String> {
    let mut text = format!("Dossier {} is listening on\n", env!("CARGO_PKG_VERSION"));
    writeln!(text, "  http://{}", server.http)?;
    if let Some(address) = server.https {
        writeln!(text, "  https://{address}   (for the official SDK)")?;
    }
    if let Some(address) = server.metrics {
        writeln!(text, "Metrics: http://{address}/metrics")?;
    }
    writeln!(text, "Data: {}", server.app.config.data.display())?;
    if let Some(first) = &server.first_start {
        writeln!(text, "\nCreated a site and an API key. The key is shown only once:")?;
        writeln!(text, "  site id  {}", first.site.id)?;
        writeln!(text, "  API key  {}", first.key.secret)?;
        if let Some(link) = &first.sign_in {
            writeln!(
                text,
                "\nTo sign in to the page, open this link. It works once and expires in 30 minutes:"
            )?;
            writeln!(text, "  {link}")?;
        }
    } else {
        writeln!(text, "API keys: run `dossier key list` or `dossier key create`")?;
        if server.app.page_is_on {
            let url = &server.app.public_url;
            writeln!(text, "Page: {url}   (run `dossier sign-in` for a sign-in link)")?;
        }
    }
    if let Some(file) = ca_file(server) {
        writeln!(text, "\nTo make Node.js trust the HTTPS certificate, set")?;
        writeln!(text, "  NODE_EXTRA_CA_CERTS={file}")?;
    }
    if server.app.config.public_url.is_none() && !server.http.ip().is_loopback() {
        writeln!(
            text,
            "\nLinks begin with {}, which other machines cannot open. Set --public-url.",
            server.app.public_url
        )?;
    }
    text.push_str("\nPress Ctrl-C to stop.");
    Ok(text)
}
