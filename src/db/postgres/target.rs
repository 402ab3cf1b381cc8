//! Where PostgreSQL is, as its URL says, and how connections to it are made.

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

use crate::db::PostgresPlace;
use crate::db::sql::{Error, Result};

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A database that could not be reached is left alone for so long.
const PAUSE: Duration = Duration::from_millis(500);

/// Where the database is.
pub(super) struct Target {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    /// Whether statements are prepared once a connection. A pooler that gives each transaction
    /// another connection may not know them.
    pub(super) is_prepared: bool,
    /// Until when nobody tries to connect, and why.
    away: Mutex<Option<(Instant, String)>>,
}

impl Target {
    pub(super) fn of(place: &PostgresPlace) -> anyhow::Result<Self> {
        Self::parse(&place.url.0, place.password.as_ref().map(|password| &*password.0))
    }

    /// Reads `postgres://user:password@host:port/database?sslmode=…&sslrootcert=…&prepared=…`.
    ///
    /// # Errors
    ///
    /// One that names the part that is wrong, without the password.
    fn parse(text: &str, password: Option<&str>) -> anyhow::Result<Self> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            bail!("database_url must begin with postgres:// (or be empty, for SQLite)");
        }
        let (mut roots, mut is_prepared, mut verify) = (None, true, None);
        let (mut kept, parameters) = match text.split_once('?') {
            Some((place, parameters)) => (place.to_owned(), parameters),
            None => (text.to_owned(), ""),
        };
        let mut joint = '?';
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let Some((name, value)) = form_urlencoded::parse(parameter.as_bytes()).next() else {
                continue;
            };
            match &*name {
                "sslrootcert" => roots = Some(value.into_owned()),
                "sslmode" => verify = Some(value.into_owned()),
                "prepared" => is_prepared = truth(&value)?,
                "host"
                | "port"
                | "user"
                | "dbname"
                | "application_name"
                | "connect_timeout"
                | "target_session_attrs"
                | "options" => {
                    kept.push(joint);
                    kept.push_str(parameter);
                    joint = '&';
                }
                name => bail!("database_url has a parameter {name:?} that is not known"),
            }
        }
        let mut config: Config = kept.parse().map_err(|error| {
            // Its source may show parts of the URL.
            anyhow::anyhow!("database_url cannot be read: {error}")
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
                "sslmode={other} in database_url is not known: disable, or verify-full (require \
                 means the same here: the server's certificate is always checked)"
            ),
        };
        config.ssl_mode(if wants_tls { SslMode::Require } else { SslMode::Disable });
        let tls = wants_tls.then(|| connector(roots.as_deref())).transpose()?;
        Ok(Self { config, tls, is_prepared, away: Mutex::new(None) })
    }

    /// Makes a connection, on this thread's runtime. While the database is known to be away it is not
    /// tried again, so that requests are answered at once.
    pub(super) fn connect(&self, runtime: &Runtime) -> Result<Client> {
        {
            let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((until, why)) = &*away
                && Instant::now() < *until
            {
                return Err(Error::Away(why.clone()));
            }
        }
        let connected = runtime.block_on(async {
            let connecting = async {
                match &self.tls {
                    None => {
                        let (client, connection) = self.config.connect(NoTls).await?;
                        keep(connection);
                        Ok(client)
                    }
                    Some(tls) => {
                        let (client, connection) = self.config.connect(tls.clone()).await?;
                        keep(connection);
                        Ok(client)
                    }
                }
            };
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(connected) => connected.map_err(Error::Postgres),
                Err(_) => Err(Error::Away("connecting took too long".to_owned())),
            }
        });
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = &connected {
            if away.is_none() {
                tracing::error!(%error, "the database cannot be reached");
            }
            *away = Some((Instant::now() + PAUSE, error.to_string()));
        } else if away.take().is_some() {
            tracing::info!("the database can be reached again");
        }
        connected
    }
}

impl Target {
    /// Asks the server to end what a connection is at, by another one as the protocol wants it.
    pub(super) fn cancel(&self, runtime: &Runtime, client: &Client) {
        let token = client.cancel_token();
        let cancelling = async {
            match &self.tls {
                None => token.cancel_query(NoTls).await,
                Some(tls) => token.cancel_query(tls.clone()).await,
            }
        };
        let timed = async { tokio::time::timeout(CONNECT_TIMEOUT, cancelling).await };
        // It may be gone altogether, and its statements with it.
        if !matches!(runtime.block_on(timed), Ok(Ok(()))) {
            tracing::debug!("the database was not asked to end a statement");
        }
    }
}

/// Drives a connection whenever its thread's runtime runs.
#[expect(clippy::disallowed_methods, reason = "it ends with its client, which its thread owns")]
fn keep<C>(connection: C)
where
    C: Future<Output = std::result::Result<(), tokio_postgres::Error>> + Send + 'static,
{
    tokio::spawn(async move {
        // The statement that finds it closed says so.
        let _ = connection.await;
    });
}

fn truth(text: &str) -> anyhow::Result<bool> {
    match text {
        "true" | "on" | "1" => Ok(true),
        "false" | "off" | "0" => Ok(false),
        _ => bail!("prepared in database_url must be on or off"),
    }
}

/// Trusts the authorities in a file, or those of the system.
fn connector(file: Option<&str>) -> anyhow::Result<MakeRustlsConnect> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            let problem = || format!("cannot read sslrootcert {file}");
            for certificate in CertificateDer::pem_file_iter(file).with_context(problem)? {
                roots.add(certificate.with_context(problem)?).with_context(problem)?;
            }
            if roots.is_empty() {
                bail!("there is no certificate in {file}, which database_url names as sslrootcert");
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

    fn refused(url: &str) -> String {
        format!("{:#}", Target::parse(url, None).err().unwrap())
    }

    #[test]
    fn what_a_url_may_not_say_is_named_and_no_password_is_shown() {
        for (url, problem) in [
            ("mysql://a:secret@h/d", "must begin with postgres://"),
            ("postgres://a:secret@h/d?sslmode=prefer", "sslmode=prefer"),
            ("postgres://a:secret@h/d?pool_size=3", "pool_size"),
            ("postgres://a:secret@h/d?prepared=perhaps", "on or off"),
            ("postgres://a:secret@h:99999/d", "database_url"),
            ("not a url secret", "must begin with"),
        ] {
            let text = refused(url);
            assert!(text.contains(problem), "{url}: {text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn the_usual_urls_are_read() {
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
