//! TLS to receivers. Trusts the system's certificate authorities and those in a file.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

pub(super) struct Tls {
    ca_file: Option<PathBuf>,
    /// Read on first use: it takes longer than a start may.
    connector: OnceCell<Result<TlsConnector, String>>,
}

impl Tls {
    pub(super) fn new(ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, connector: OnceCell::new() }
    }

    /// Reads the authorities, once.
    pub(super) async fn prepare(&self) -> Result<(), String> {
        self.connector().await.map(drop)
    }

    async fn connector(&self) -> Result<TlsConnector, String> {
        let connector = self.connector.get_or_init(|| async {
            let ca_file = self.ca_file.clone();
            let reading = tokio::task::spawn_blocking(move || connector(ca_file));
            reading.await.unwrap_or_else(|_| Err("the authorities cannot be read".to_owned()))
        });
        connector.await.clone()
    }

    pub(super) async fn handshake(
        &self,
        url: &Url,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|_| "the host has no name".to_owned())?;
        let connected = self.connector().await?.connect(name, stream).await;
        connected.map_err(|error| {
            let is_certificate = error
                .get_ref()
                .and_then(|error| error.downcast_ref::<rustls::Error>())
                .is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_)));
            if is_certificate {
                "the certificate is not valid for this host, or from an unknown authority"
                    .to_owned()
            } else {
                "the TLS handshake failed".to_owned()
            }
        })
    }
}

fn connector(ca_file: Option<PathBuf>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    // An unreadable system authority is skipped; certificates from it are then rejected.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        let problem = |_| format!("webhook_ca cannot be read: {}", file.display());
        let pem = std::fs::read(&file).map_err(problem)?;
        let own: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let (added, _) = roots.add_parsable_certificates(own.unwrap_or_default());
        if added == 0 {
            return Err(format!("webhook_ca holds no certificate: {}", file.display()));
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| "TLS is not available".to_owned())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
