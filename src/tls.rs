//! Certificates: a local authority and a certificate that the server makes for itself and
//! renews, or files that were given. The official SDK always speaks https.

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

/// Life of the local authority. People trust it by hand, so it lasts.
const AUTHORITY_LIFE: Duration = Duration::days(3_650);
/// Life of a server certificate: what browsers accept from a private authority (825 days)
/// with room to spare.
const CERTIFICATE_LIFE: Duration = Duration::days(397);
/// A certificate is made anew when less than this is left of it.
const RENEW_BEFORE: Duration = Duration::days(30);
/// Certificates begin a little in the past, for clients whose clocks lag.
const BACKDATE: Duration = Duration::hours(1);
/// Names that every certificate holds.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Where certificates come from.
pub enum Source {
    /// Files that someone else keeps: chain and key.
    Files {
        /// Certificate chain, PEM.
        cert: PathBuf,
        /// Private key, PEM.
        key: PathBuf,
    },
    /// Our own authority, kept in this folder.
    Local {
        /// Folder of the four files.
        folder: PathBuf,
        /// Names beside the local ones.
        names: Vec<String>,
    },
}

impl Source {
    /// The certificate of the authority that clients must trust; `None` for given files.
    pub fn authority_file(&self) -> Option<PathBuf> {
        match self {
            Self::Files { .. } => None,
            Self::Local { folder, .. } => Some(folder.join("ca.pem")),
        }
    }

    /// Certificate chain and key to serve now, PEM. Makes or renews what is missing or near
    /// its end.
    ///
    /// # Errors
    ///
    /// When files cannot be read, written or understood.
    pub fn current(&self, now: OffsetDateTime) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
        match self {
            Self::Files { cert, key } => Ok((read(cert)?, read(key)?)),
            Self::Local { folder, names } => {
                if must_make_certificate(folder, names, now) {
                    let authority = authority(folder, now)?;
                    make_certificate(folder, names, &authority, now)?;
                }
                Ok((read(&folder.join("cert.pem"))?, read(&folder.join("key.pem"))?))
            }
        }
    }

    /// What rustls serves now.
    ///
    /// # Errors
    ///
    /// As [`Source::current`], or when chain and key do not belong together.
    pub async fn config(&self, now: OffsetDateTime) -> anyhow::Result<RustlsConfig> {
        let (cert, key) = self.current(now)?;
        RustlsConfig::from_pem(cert, key).await.context("the TLS certificate and key do not fit")
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

/// Whether the kept certificate is missing, broken, near its end, or lacks a name.
fn must_make_certificate(folder: &Path, names: &[String], now: OffsetDateTime) -> bool {
    let kept = ["ca.pem", "ca-key.pem", "cert.pem", "key.pem"].map(|name| folder.join(name));
    if kept.iter().any(|path| !path.exists()) {
        return true;
    }
    let Ok(pem) = std::fs::read(&kept[2]) else { return true };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&pem) else { return true };
    let Ok(cert) = pem.parse_x509() else { return true };
    if cert.validity().not_after.to_datetime() - now < RENEW_BEFORE {
        return true;
    }
    let wanted = std::fs::read_to_string(folder.join("names")).unwrap_or_default();
    wanted != all_names(names).join("\n")
}

fn authority(folder: &Path, now: OffsetDateTime) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let (cert_file, key_file) = (folder.join("ca.pem"), folder.join("ca-key.pem"));
    if !cert_file.exists() || !key_file.exists() {
        make_authority(&cert_file, &key_file, now)?;
    }
    let key = KeyPair::from_pem(&String::from_utf8_lossy(&read(&key_file)?))
        .with_context(|| format!("{} is not a private key", key_file.display()))?;
    let cert = String::from_utf8_lossy(&read(&cert_file)?).into_owned();
    Issuer::from_ca_cert_pem(&cert, key)
        .with_context(|| format!("{} is not a certificate", cert_file.display()))
}

fn make_authority(cert_file: &Path, key_file: &Path, now: OffsetDateTime) -> anyhow::Result<()> {
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

fn make_certificate(
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
                format!("tls_names: {name:?} is neither a name nor an address")
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
    fn a_certificate_is_kept_until_a_month_before_its_end() {
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
    fn a_new_name_makes_a_new_certificate_that_holds_it() {
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
    fn a_name_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = source(folder.path(), &["über\u{0}"]).current(start()).unwrap_err();
        assert!(format!("{error:#}").contains("tls_names"), "{error:#}");
    }
}
