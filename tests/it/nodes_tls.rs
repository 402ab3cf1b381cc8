//! Rows that go to PostgreSQL through TLS: the real server, with certificates of the test's own. Run by
//! `scripts/postgres`.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::nodes_refused::said;
use crate::support::TestApp;
use crate::support::cluster::Cluster;

const PASSWORD: &str = "a-password";
/// Certificate and key.
const FILES: [&str; 2] = ["server.crt", "server.key"];

/// An authority of a test.
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

    /// A certificate with its key that begins and ends so many days from now.
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

/// One that nobody issued.
fn self_signed(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (params(name, -1, 1).self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A server that takes nobody without TLS and a password, and the file of its authority.
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
        let [certificate, key] = FILES.map(|name| cluster.keep(name, b"").display().to_string());
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

    /// From now on this is its certificate.
    fn show(&self, (certificate, key): &(String, String)) {
        for (name, content) in FILES.into_iter().zip([certificate, key]) {
            self.cluster.keep(name, content.as_bytes());
        }
        self.cluster.restart();
    }

    /// The setting `database_url`, with a file of authorities.
    fn url(&self, file: &Path) -> String {
        let url = self.cluster.url(&format!("dossier:{PASSWORD}"), "dossier");
        format!("{url}?sslmode=verify-full&sslrootcert={}", file.display())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn rows_go_through_tls_to_a_server_whose_authority_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let guarded = Guarded::start(folder.path());
    let url = guarded.url(&guarded.file);
    let app = TestApp::start_with(&[("database_url", &url)]).await;
    let contact = Uuid::new_v4();
    app.upload(contact, "a.csv", "text/csv", b"a,b\n").await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
    let connections = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                       WHERE application_name = 'dossier' AND";
    let count = |which: &str| guarded.cluster.ask("dossier", &format!("{connections} {which}"));
    assert!(count("ssl") > 1);
    assert_eq!(count("NOT ssl"), 0);
    // A certificate that takes the place of one that ends.
    guarded.show(&guarded.authority.issue("127.0.0.1", -1, 2));
    app.upload(contact, "b.csv", "text/csv", b"a,b\n").await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 2);
}

#[test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
fn a_server_that_cannot_prove_who_it_is_is_refused_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let guarded = Guarded::start(folder.path());
    let own = &guarded.authority;
    // Its name is that of the one which is trusted; its key is another one.
    let foreign = Authority::new("Test authority");
    for (shown, words) in [
        (foreign.issue("127.0.0.1", -1, 1), "an authority that is not trusted here"),
        (Authority::new("Another").issue("127.0.0.1", -1, 1), "an authority that is not trusted"),
        (self_signed("127.0.0.1"), "an authority that is not trusted here"),
        (own.issue("127.0.0.1", -3, -1), "has expired, or the clock of this machine is wrong"),
        (own.issue("127.0.0.1", 1, 3), "is not valid yet, or the clock of this machine is wrong"),
        (own.issue("db.example", -1, 1), "for another name than the one it was called by"),
    ] {
        guarded.show(&shown);
        for said in said(folder.path(), &[], &guarded.url(&guarded.file)) {
            assert!(said.contains(words) && !said.contains(PASSWORD), "{words}: {said}");
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
fn what_is_wrong_with_the_settings_of_tls_is_said_in_plain_words() {
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
        for said in said(folder.path(), &[], &url) {
            assert!(said.contains(words) && !said.contains(PASSWORD), "{words}: {said}");
        }
    }
    guarded.cluster.execute("postgres", &["ALTER SYSTEM SET ssl = off"]);
    guarded.cluster.restart();
    for said in said(folder.path(), &[], &guarded.url(&guarded.file)) {
        assert!(said.contains("has no TLS") && !said.contains(PASSWORD), "{said}");
    }
}
