//! TLS to PostgreSQL: the real server, with certificates issued by the test. Run by
//! `scripts/postgres`.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::nodes_refused::serve_and_doctor_errors;
use crate::support::TestApp;
use crate::support::cluster::Cluster;

const PASSWORD: &str = "a-password";
/// Certificate and key.
const FILES: [&str; 2] = ["server.crt", "server.key"];

/// A test's certificate authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and key, valid between these offsets in days from now.
    fn issue(&self, name: &str, begin: i64, end: i64) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let issued = params(name, begin, end).signed_by(&key, &self.issuer).unwrap();
        (issued.pem(), key.serialize_pem())
    }
}

fn params(name: &str, begin: i64, end: i64) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = OffsetDateTime::now_utc();
    params.not_before = now + Duration::days(begin);
    params.not_after = now + Duration::days(end);
    params
}

/// A self-signed certificate and key.
fn self_signed(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (params(name, -1, 1).self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A server that requires TLS and a password, and the file of its certificate authority.
struct Guarded {
    cluster: Cluster,
    authority: Authority,
    file: PathBuf,
}

impl Guarded {
    fn start(folder: &Path) -> Self {
        let authority = Authority::new("Test authority");
        let file = folder.join("authority.pem");
        std::fs::write(&file, &authority.pem).unwrap();
        let cluster = Cluster::start("hostssl all all 127.0.0.1/32 scram-sha-256", "");
        let [certificate, key] =
            FILES.map(|name| cluster.write_private(name, b"").display().to_string());
        let statements = [
            format!("CREATE ROLE dossier LOGIN PASSWORD '{PASSWORD}'"),
            "CREATE DATABASE dossier OWNER dossier".to_owned(),
            format!("ALTER SYSTEM SET ssl_cert_file = '{certificate}'"),
            format!("ALTER SYSTEM SET ssl_key_file = '{key}'"),
            "ALTER SYSTEM SET ssl = on".to_owned(),
        ];
        cluster.execute("postgres", &statements);
        let guarded = Self { cluster, authority, file };
        guarded.show(&guarded.authority.issue("127.0.0.1", -1, 1));
        guarded
    }

    /// Makes the server use this certificate from now on.
    fn show(&self, (certificate, key): &(String, String)) {
        for (name, content) in FILES.into_iter().zip([certificate, key]) {
            self.cluster.write_private(name, content.as_bytes());
        }
        self.cluster.restart();
    }

    /// The setting `database_url` with this CA file.
    fn url(&self, file: &Path) -> String {
        let url = self.cluster.url(&format!("dossier:{PASSWORD}"), "dossier");
        format!("{url}?sslmode=verify-full&sslrootcert={}", file.display())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn rows_are_stored_over_tls_with_a_configured_certificate_authority() {
    let folder = tempfile::tempdir().unwrap();
    let guarded = Guarded::start(folder.path());
    let url = guarded.url(&guarded.file);
    let app = TestApp::start_with(&[("database_url", &url)]).await;
    let contact = Uuid::new_v4();
    app.upload(contact, "a.csv", "text/csv", b"a,b\n").await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
    let connections = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                       WHERE application_name = 'dossier' AND";
    let count =
        |which: &str| guarded.cluster.query_number("dossier", &format!("{connections} {which}"));
    assert!(count("ssl") > 1);
    assert_eq!(count("NOT ssl"), 0);
    // A renewed certificate replaces the expiring one.
    guarded.show(&guarded.authority.issue("127.0.0.1", -1, 2));
    app.upload(contact, "b.csv", "text/csv", b"a,b\n").await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 2);
}

#[test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
fn a_server_with_an_untrusted_certificate_is_rejected_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let guarded = Guarded::start(folder.path());
    let own = &guarded.authority;
    // It has the name of the trusted authority but another key.
    let foreign = Authority::new("Test authority");
    for (shown, words) in [
        (foreign.issue("127.0.0.1", -1, 1), "an authority that is not trusted here"),
        (Authority::new("Another").issue("127.0.0.1", -1, 1), "an authority that is not trusted"),
        (self_signed("127.0.0.1"), "an authority that is not trusted here"),
        (own.issue("127.0.0.1", -3, -1), "has expired, or the clock of this machine is wrong"),
        (own.issue("127.0.0.1", 1, 3), "is not valid yet, or the clock of this machine is wrong"),
        (own.issue("db.example", -1, 1), "for another host name"),
    ] {
        guarded.show(&shown);
        for error in serve_and_doctor_errors(folder.path(), &[], &guarded.url(&guarded.file)) {
            assert!(error.contains(words) && !error.contains(PASSWORD), "{words}: {error}");
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
fn invalid_tls_settings_are_reported_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let guarded = Guarded::start(folder.path());
    let [absent, empty] = ["absent.pem", "empty.pem"].map(|name| folder.path().join(name));
    std::fs::write(&empty, "no certificate\n").unwrap();
    let bare = guarded.cluster.url(&format!("dossier:{PASSWORD}"), "dossier");
    for (url, words) in [
        (guarded.url(&absent), "cannot read sslrootcert"),
        (guarded.url(&empty), "there is no certificate in"),
        (guarded.url(&guarded.file).replace(PASSWORD, "another"), "password"),
        (bare, "sslmode=verify-full"),
    ] {
        for error in serve_and_doctor_errors(folder.path(), &[], &url) {
            assert!(error.contains(words) && !error.contains(PASSWORD), "{words}: {error}");
        }
    }
    guarded.cluster.execute("postgres", &["ALTER SYSTEM SET ssl = off"]);
    guarded.cluster.restart();
    for error in serve_and_doctor_errors(folder.path(), &[], &guarded.url(&guarded.file)) {
        assert!(error.contains("does not support TLS") && !error.contains(PASSWORD), "{error}");
    }
}
