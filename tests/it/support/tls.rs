//! TLS in front of a plain server, with its own certificate authority.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A TLS proxy that lives until the test ends. Its certificate is for `localhost` and 127.0.0.1.
pub(crate) struct Front {
    /// Its port, on every address of this machine.
    pub(crate) port: u16,
    /// The certificate of its authority.
    pub(crate) authority: PathBuf,
    _folder: tempfile::TempDir,
    _task: JoinSet<()>,
}

impl Front {
    /// Starts a proxy in front of a server.
    pub(crate) async fn in_front_of(server: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names = Vec::new();
        let source = dossier::tls::Source::Local { folder: folder.path().to_owned(), names };
        let (chain, key) = source.current(OffsetDateTime::now_utc()).unwrap();
        let chain = CertificateDer::pem_slice_iter(&chain).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                open.spawn(async move {
                    // A client that does not trust the certificate disconnects.
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let mut server = TcpStream::connect(server).await.unwrap();
                    // The client sees how the connection ended.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        let authority = source.authority_file().unwrap();
        Self { port, authority, _folder: folder, _task: task }
    }
}
