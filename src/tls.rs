//! TLS certificates: issued and renewed by a local CA, or read from configured files. The official
//! SDK always uses https.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use axum_server::tls_rustls::RustlsConfig;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use crate::data_folder::{random_bytes, write_secret};

/// Lifetime of the local CA. It is long, because people install it by hand.
const AUTHORITY_LIFE: Duration = Duration::days(3_650);
/// Lifetime of a server certificate, well below what browsers accept from a private CA (825 days).
const CERTIFICATE_LIFE: Duration = Duration::days(397);
/// A certificate is renewed when less than this remains.
const RENEW_BEFORE: Duration = Duration::days(30);
/// Certificates are backdated, for clients whose clocks lag.
const BACKDATE: Duration = Duration::hours(1);
/// Names in every certificate.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The source of certificates.
pub enum Source {
    /// Files that the operator maintains.
    Files {
        /// Certificate chain, PEM.
        cert: PathBuf,
        /// Private key, PEM.
        key: PathBuf,
    },
    /// A local CA, stored in a folder.
    Local {
        /// The folder with the certificates and keys of the CA and the server.
        folder: PathBuf,
        /// Names in addition to the local ones.
        names: Vec<String>,
    },
}

impl Source {
    /// The CA certificate that clients must trust; `None` for [`Source::Files`].
    pub fn authority_file(&self) -> Option<PathBuf> {
        match self {
            Self::Files { .. } => None,
            Self::Local { folder, .. } => Some(folder.join("ca.pem")),
        }
    }

    /// The certificate chain and key to serve now, as PEM. Creates or renews them if needed.
    ///
    /// # Errors
    ///
    /// If files cannot be read, written or parsed.
    pub fn current(&self, now: OffsetDateTime) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
        match self {
            Self::Files { cert, key } => Ok((read(cert)?, read(key)?)),
            Self::Local { folder, names } => {
                if needs_certificate(folder, names, now) {
                    let authority = authority(folder, now)?;
                    create_certificate(folder, names, &authority, now)?;
                }
                Ok((read(&folder.join("cert.pem"))?, read(&folder.join("key.pem"))?))
            }
        }
    }

    /// The TLS configuration to serve now.
    ///
    /// # Errors
    ///
    /// As [`Source::current`], and if the chain and the key do not match.
    pub async fn config(&self, now: OffsetDateTime) -> anyhow::Result<RustlsConfig> {
        let (cert, key) = self.current(now)?;
        RustlsConfig::from_pem(cert, key).await.context("the TLS certificate and key do not match")
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn all_names(names: &[String]) -> Vec<String> {
    let local = LOCAL_NAMES.iter().map(|name| (*name).to_owned());
    local
        .chain(names.iter().filter(|name| !LOCAL_NAMES.contains(&name.as_str())).cloned())
        .collect()
}

/// Whether the stored certificate is missing, malformed, about to expire, or has other names.
fn needs_certificate(folder: &Path, names: &[String], now: OffsetDateTime) -> bool {
    let files = ["ca.pem", "ca-key.pem", "cert.pem", "key.pem"].map(|name| folder.join(name));
    if files.iter().any(|path| !path.exists()) {
        return true;
    }
    let Ok(pem) = std::fs::read(&files[2]) else { return true };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&pem) else { return true };
    let Ok(cert) = pem.parse_x509() else { return true };
    if cert.validity().not_after.to_datetime() - now < RENEW_BEFORE {
        return true;
    }
    let stored_names = std::fs::read_to_string(folder.join("names")).unwrap_or_default();
    stored_names != all_names(names).join("\n")
}

fn authority(folder: &Path, now: OffsetDateTime) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let (cert_file, key_file) = (folder.join("ca.pem"), folder.join("ca-key.pem"));
    if !cert_file.exists() || !key_file.exists() {
        create_authority(&cert_file, &key_file, now)?;
    }
    let key = KeyPair::from_pem(&String::from_utf8_lossy(&read(&key_file)?))
        .with_context(|| format!("{} is not a private key", key_file.display()))?;
    let cert = String::from_utf8_lossy(&read(&cert_file)?).into_owned();
    Issuer::from_ca_cert_pem(&cert, key)
        .with_context(|| format!("{} is not a certificate", cert_file.display()))
}

fn create_authority(cert_file: &Path, key_file: &Path, now: OffsetDateTime) -> anyhow::Result<()> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Dossier local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - BACKDATE;
    params.not_after = now + AUTHORITY_LIFE;
    params.serial_number = Some(SerialNumber::from(random_bytes::<16>()?.to_vec()));
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?;
    write_secret(key_file, key.serialize_pem().as_bytes())?;
    write_secret(cert_file, cert.pem().as_bytes())
}

fn create_certificate(
    folder: &Path,
    names: &[String],
    authority: &Issuer<'static, KeyPair>,
    now: OffsetDateTime,
) -> anyhow::Result<()> {
    let names = all_names(names);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Dossier");
    for name in &names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into().with_context(|| {
                format!("tls_names: {name:?} is not a host name or IP address")
            })?),
        });
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = now - BACKDATE;
    params.not_after = now + CERTIFICATE_LIFE;
    params.serial_number = Some(SerialNumber::from(random_bytes::<16>()?.to_vec()));
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, authority)?;
    write_secret(&folder.join("key.pem"), key.serialize_pem().as_bytes())?;
    write_secret(&folder.join("cert.pem"), cert.pem().as_bytes())?;
    write_secret(&folder.join("names"), names.join("\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(folder: &Path, names: &[&str]) -> Source {
        Source::Local {
            folder: folder.to_path_buf(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn start() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    #[test]
    fn a_certificate_is_reused_until_a_month_before_expiry() {
        let folder = tempfile::tempdir().unwrap();
        let source = source(folder.path(), &[]);
        let first = source.current(start()).unwrap();
        assert_eq!(source.current(start() + Duration::days(366)).unwrap(), first);
        let renewed = source.current(start() + Duration::days(368)).unwrap();
        assert_ne!(renewed, first);
    }

    #[test]
    fn the_authority_outlives_its_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let source = source(folder.path(), &[]);
        source.current(start()).unwrap();
        let authority = read(&source.authority_file().unwrap()).unwrap();
        source.current(start() + Duration::days(390)).unwrap();
        assert_eq!(read(&source.authority_file().unwrap()).unwrap(), authority);
    }

    #[test]
    fn a_new_name_issues_a_certificate_with_that_name() {
        let folder = tempfile::tempdir().unwrap();
        let plain = source(folder.path(), &[]).current(start()).unwrap();
        let named = source(folder.path(), &["dossier.test", "10.1.2.3"]).current(start()).unwrap();
        assert_ne!(plain, named);
        let (_, pem) = x509_parser::pem::parse_x509_pem(&named.0).unwrap();
        let cert = pem.parse_x509().unwrap();
        let names = format!("{:?}", cert.subject_alternative_name().unwrap().unwrap().value);
        assert!(names.contains("localhost") && names.contains("dossier.test"), "{names}");
        assert!(names.contains("[10, 1, 2, 3]") && names.contains("[127, 0, 0, 1]"), "{names}");
    }

    #[test]
    fn an_invalid_name_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let error = source(folder.path(), &["über\u{0}"]).current(start()).unwrap_err();
        assert!(format!("{error:#}").contains("tls_names"), "{error:#}");
    }
}
