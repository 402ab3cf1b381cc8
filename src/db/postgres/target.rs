//! Parses the PostgreSQL URL and makes connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::runtime::Runtime;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::form_urlencoded;

use crate::db::PostgresLocation;
use crate::db::sql::{Error, Result};

/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before the next attempt after a failed one.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The database server and how to connect to it.
pub(super) struct Target {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    /// Whether statements are prepared once per connection. A pooler that gives each transaction
    /// another connection may not know them.
    pub(super) is_prepared: bool,
    /// Until when no attempt is made, and the last error.
    backoff: Mutex<Option<(Instant, String)>>,
}

impl Target {
    pub(super) fn from_location(location: &PostgresLocation) -> anyhow::Result<Self> {
        Self::parse(&location.url.0, location.password.as_ref().map(|password| &*password.0))
    }

    /// Reads `postgres://user:password@host:port/database?sslmode=…&sslrootcert=…&prepared=…`.
    ///
    /// # Errors
    ///
    /// Names the part that is wrong, without the password.
    fn parse(text: &str, password: Option<&str>) -> anyhow::Result<Self> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            bail!("database_url must begin with postgres:// (or be empty, for SQLite)");
        }
        let (mut roots, mut is_prepared, mut verify) = (None, true, None);
        let (mut base_url, parameters) = match text.split_once('?') {
            Some((base, parameters)) => (base.to_owned(), parameters),
            None => (text.to_owned(), ""),
        };
        let mut separator = '?';
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let Some((name, value)) = form_urlencoded::parse(parameter.as_bytes()).next() else {
                continue;
            };
            match &*name {
                "sslrootcert" => roots = Some(value.into_owned()),
                "sslmode" => verify = Some(value.into_owned()),
                "prepared" => is_prepared = parse_switch(&value)?,
                "host"
                | "port"
                | "user"
                | "dbname"
                | "application_name"
                | "connect_timeout"
                | "target_session_attrs"
                | "options" => {
                    base_url.push(separator);
                    base_url.push_str(parameter);
                    separator = '&';
                }
                name => bail!("database_url has an unknown parameter {name:?}"),
            }
        }
        let mut config: Config = base_url.parse().map_err(|error| {
            // The error's source may show parts of the URL.
            anyhow::anyhow!("database_url cannot be parsed: {error}")
        })?;
        if let Some(password) = password {
            config.password(password);
        }
        config.connect_timeout(CONNECT_TIMEOUT).keepalives_idle(Duration::from_secs(30));
        if config.get_application_name().is_none() {
            config.application_name("dossier");
        }
        let wants_tls = match verify.as_deref() {
            None | Some("disable") => false,
            Some("require" | "verify-full") => true,
            Some(other) => bail!(
                "sslmode={other} in database_url is not supported: use disable or verify-full \
                 (require means the same here: the server's certificate is always checked)"
            ),
        };
        config.ssl_mode(if wants_tls { SslMode::Require } else { SslMode::Disable });
        let tls = wants_tls.then(|| connector(roots.as_deref())).transpose()?;
        Ok(Self { config, tls, is_prepared, backoff: Mutex::new(None) })
    }

    /// Connects, on this thread's runtime. During the pause after a failed attempt it fails at
    /// once, so that requests do not wait for timeouts, unless `skip_pause`.
    pub(super) fn connect(&self, runtime: &Runtime, skip_pause: bool) -> Result<Client> {
        if !skip_pause {
            let backoff = self.backoff.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((until, why)) = &*backoff
                && Instant::now() < *until
            {
                return Err(Error::Unavailable(why.clone()));
            }
        }
        let connected = runtime.block_on(async {
            let connecting = async {
                match &self.tls {
                    None => {
                        let (client, connection) = self.config.connect(NoTls).await?;
                        drive(connection);
                        Ok(client)
                    }
                    Some(tls) => {
                        let (client, connection) = self.config.connect(tls.clone()).await?;
                        drive(connection);
                        Ok(client)
                    }
                }
            };
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(connected) => connected.map_err(Error::Postgres),
                Err(_) => Err(Error::Unavailable("connecting timed out".to_owned())),
            }
        });
        let mut backoff = self.backoff.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = &connected {
            if backoff.is_none() {
                tracing::error!(%error, "the database cannot be reached");
            }
            *backoff = Some((Instant::now() + RETRY_PAUSE, error.to_string()));
        } else if backoff.take().is_some() {
            tracing::info!("the database is reachable again");
        }
        connected
    }
}

impl Target {
    /// Cancels a connection's running statement, over a second connection as the protocol requires.
    pub(super) fn cancel(&self, runtime: &Runtime, client: &Client) {
        let token = client.cancel_token();
        let cancelling = async {
            match &self.tls {
                None => token.cancel_query(NoTls).await,
                Some(tls) => token.cancel_query(tls.clone()).await,
            }
        };
        let timed = async { tokio::time::timeout(CONNECT_TIMEOUT, cancelling).await };
        // The server may be unreachable; then the statement ends with its connection.
        if !matches!(runtime.block_on(timed), Ok(Ok(()))) {
            tracing::debug!("cancelling a statement failed");
        }
    }
}

/// Drives a connection whenever its thread's runtime runs.
#[expect(clippy::disallowed_methods, reason = "it ends with its client, which its thread owns")]
fn drive<C>(connection: C)
where
    C: Future<Output = std::result::Result<(), tokio_postgres::Error>> + Send + 'static,
{
    tokio::spawn(async move {
        // The next statement finds the connection closed and returns the error.
        let _ = connection.await;
    });
}

fn parse_switch(text: &str) -> anyhow::Result<bool> {
    match text {
        "true" | "on" | "1" => Ok(true),
        "false" | "off" | "0" => Ok(false),
        _ => bail!("prepared in database_url must be on or off"),
    }
}

/// Trusts the certificate authorities in a file, or those of the system.
fn connector(file: Option<&str>) -> anyhow::Result<MakeRustlsConnect> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            let problem = || format!("cannot read sslrootcert {file}");
            for certificate in CertificateDer::pem_file_iter(file).with_context(problem)? {
                roots.add(certificate.with_context(problem)?).with_context(problem)?;
            }
            if roots.is_empty() {
                bail!("there is no certificate in {file}, the sslrootcert of database_url");
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(url: &str) -> String {
        format!("{:#}", Target::parse(url, None).err().unwrap())
    }

    #[test]
    fn rejected_urls_name_the_problem_and_never_the_password() {
        for (url, problem) in [
            ("mysql://a:secret@h/d", "must begin with postgres://"),
            ("postgres://a:secret@h/d?sslmode=prefer", "sslmode=prefer"),
            ("postgres://a:secret@h/d?pool_size=3", "pool_size"),
            ("postgres://a:secret@h/d?prepared=perhaps", "on or off"),
            ("postgres://a:secret@h:99999/d", "database_url"),
            ("not a url secret", "must begin with"),
        ] {
            let text = rejection(url);
            assert!(text.contains(problem), "{url}: {text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn common_urls_are_accepted() {
        for url in [
            "postgres://user@localhost/dossier",
            "postgresql://user:pw@[::1]:5433/dossier?sslmode=disable&application_name=x",
            "postgres://user@/dossier?host=/run/postgresql&prepared=off",
            "postgres://user:pw@db.example/dossier?sslmode=verify-full",
        ] {
            Target::parse(url, Some("pw")).unwrap();
        }
    }
}
