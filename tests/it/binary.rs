//! The program's life cycle, as people and other programs start and stop it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Dossier, PNG, Response, command, failure};

/// How long a read from the server may take on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}"))
}

fn contact_path(contact: Uuid) -> String {
    format!("/contacts/v4/attachments/{contact}")
}

/// Calls a server with the key and site of its first start.
async fn call(
    client: &Client,
    base: &str,
    first: &Value,
    path: &str,
    body: Option<Value>,
) -> Response {
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let mut request = client
        .request(method, format!("{base}{path}"))
        .header("authorization", text(&first["apiKey"]))
        .header("wix-site-id", text(&first["siteId"]));
    if let Some(body) = body {
        request = request.json(&body);
    }
    Response::to(request).await
}

async fn upload_url(base: &str, first: &Value, contact: Uuid) -> String {
    let path = format!("{}/upload-url", contact_path(contact));
    let body = json!({ "fileName": "dot.png", "mimeType": "image/png" });
    let response = call(&Client::new(), base, first, &path, Some(body)).await;
    text(&response.ok()["uploadUrl"]).to_owned()
}

async fn upload(base: &str, first: &Value, contact: Uuid) {
    let url = upload_url(base, first, contact).await;
    Response::to(Client::new().put(url).body(PNG)).await.ok();
}

async fn list(base: &str, first: &Value, contact: Uuid) -> Value {
    call(&Client::new(), base, first, &contact_path(contact), None).await.ok()
}

/// A client that trusts exactly one certificate.
fn trusting(pem: &Path) -> reqwest::ClientBuilder {
    let pem = std::fs::read(pem).unwrap();
    Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()])
}

#[tokio::test]
async fn the_first_line_has_the_address_and_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("new/data");
    let (server, first) = Dossier::serve(&data, &[]);
    let keys: Vec<&String> = first.as_object().unwrap().keys().collect();
    let expected = ["http", "https", "siteId", "caFile", "version", "apiKey", "signInUrl"];
    assert_eq!(keys, expected);
    assert!(text(&first["http"]).starts_with("http://127.0.0.1:"), "{first}");
    assert!(text(&first["https"]).starts_with("https://127.0.0.1:"), "{first}");
    assert!(Uuid::try_parse(text(&first["siteId"])).is_ok(), "{first}");
    assert_eq!(text(&first["version"]), env!("CARGO_PKG_VERSION"));
    assert!(Path::new(text(&first["caFile"])).is_absolute(), "{first}");
    // Requests work as soon as the line is printed.
    let response = list(text(&first["http"]), &first, Uuid::new_v4()).await;
    assert_eq!(response["attachments"], json!([]));
    let output = server.stop();
    assert_eq!(output.out, "", "nothing may follow the first line");
    let (_server, second) = Dossier::serve(&data, &[]);
    let keys: Vec<&String> = second.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["http", "https", "siteId", "caFile", "version"]);
}

#[tokio::test]
async fn without_tls_there_is_no_https_and_no_certificate_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, ready) = Dossier::serve(folder.path(), &["--listen-tls", "off"]);
    assert_eq!((&ready["https"], &ready["caFile"]), (&Value::Null, &Value::Null));
    assert!(!folder.path().join("tls").exists());
}

#[test]
fn the_greeting_explains_the_key_and_how_to_trust_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let arguments =
        ["serve", "--data", data, "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0"];
    let mut shown = Vec::new();
    for _ in 0..2 {
        let mut server = Dossier::start(&arguments, &[]);
        let mut text = String::new();
        while !text.contains("Press Ctrl-C to stop.") {
            text.push_str(&server.line());
            text.push('\n');
        }
        server.stop();
        shown.push(text);
    }
    let trust = format!("NODE_EXTRA_CA_CERTS={data}/tls/ca.pem\n");
    for part in ["http://127.0.0.1:", "https://127.0.0.1:", &trust, data] {
        assert!(shown.iter().all(|text| text.contains(part)), "{part} is missing from {shown:#?}");
    }
    assert!(shown[0].contains("API key  dossier_"), "{}", shown[0]);
    assert!(!shown[1].contains("dossier_"), "{}", shown[1]);
}

#[tokio::test]
async fn https_works_once_the_certificate_authority_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, first) = Dossier::serve(folder.path(), &[]);
    let https = text(&first["https"]);
    let by_name = https.replace("127.0.0.1", "localhost");
    let client = trusting(Path::new(text(&first["caFile"]))).build().unwrap();
    for base in [https, by_name.as_str()] {
        let path = format!("/_api{}", contact_path(Uuid::new_v4()));
        call(&client, base, &first, &path, None).await.ok();
        let stranger = Client::new().get(format!("{base}/dossier/v1/health")).send().await;
        assert!(stranger.unwrap_err().is_connect(), "{base}");
    }
}

#[tokio::test]
async fn configured_names_are_added_to_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    for names in [&[][..], &["--tls-name", "dossier.test", "--tls-name", "10.1.2.3"]] {
        let (_server, ready) = Dossier::serve(folder.path(), names);
        let https = text(&ready["https"]);
        let address: std::net::SocketAddr = https.trim_start_matches("https://").parse().unwrap();
        let client = trusting(Path::new(text(&ready["caFile"])));
        let client = client.resolve("dossier.test", address).build().unwrap();
        let url = format!("https://dossier.test:{}/dossier/v1/health", address.port());
        let response = client.get(url).send().await;
        assert_eq!(response.is_ok(), !names.is_empty(), "{names:?}: {response:?}");
    }
}

#[tokio::test]
async fn a_configured_certificate_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let pair = |name: &str| {
        let created = rcgen::generate_simple_self_signed(["files.test".to_owned()]).unwrap();
        std::fs::write(path(&format!("{name}.pem")), created.cert.pem()).unwrap();
        std::fs::write(path(&format!("{name}-key.pem")), created.signing_key.serialize_pem())
            .unwrap();
    };
    pair("own");
    pair("other");
    let (cert, key, data) = (path("own.pem"), path("own-key.pem"), path("data"));
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let (_server, ready) = Dossier::serve(&data, &["--tls-cert", cert, "--tls-key", key]);
    assert_eq!(ready["caFile"], Value::Null);
    let address: std::net::SocketAddr =
        text(&ready["https"]).trim_start_matches("https://").parse().unwrap();
    let client = trusting(&path("own.pem")).resolve("files.test", address).build().unwrap();
    let url = format!("https://files.test:{}/dossier/v1/health", address.port());
    Response::to(client.get(url)).await.ok();
    let foreign = path("other-key.pem");
    let data = path("data-2");
    let serve = ["serve", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let tls = ["--listen-tls", "127.0.0.1:0", "--tls-cert", cert, "--tls-key"];
    for wrong in [foreign.to_str().unwrap(), "/nowhere/key.pem"] {
        let message = failure(&[&serve[..], &tls, &[wrong]].concat());
        assert!(message.contains("TLS certificate") || message.contains(wrong), "{message}");
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_rejected_and_the_first_continues() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, first) = Dossier::serve(folder.path(), &[]);
    let data = folder.path().to_str().unwrap();
    let message =
        failure(&["serve", "--data", data, "--listen", "127.0.0.1:0", "--listen-tls", "off"]);
    assert!(message.contains("another dossier server is using the data folder"), "{message}");
    assert!(message.contains(data) && message.contains("--data"), "{message}");
    list(text(&first["http"]), &first, Uuid::new_v4()).await;
}

#[test]
fn a_port_in_use_is_reported_and_creates_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = folder.path().to_str().unwrap();
    for (listen, listen_tls) in [(address.as_str(), "off"), ("127.0.0.1:0", address.as_str())] {
        let ports = ["--listen", listen, "--listen-tls", listen_tls];
        let message = failure(&[&["serve", "--data", data][..], &ports].concat());
        assert!(message.contains(&format!("cannot listen on {address}")), "{message}");
    }
    let (_server, first) = Dossier::serve(folder.path(), &[]);
    assert!(text(&first["apiKey"]).starts_with("dossier_"), "{first}");
}

#[tokio::test]
async fn a_restart_keeps_the_site_key_files_and_links() {
    let folder = tempfile::tempdir().unwrap();
    let contact = Uuid::new_v4();
    let (server, first) = Dossier::serve(folder.path(), &[]);
    let base = text(&first["http"]).to_owned();
    upload(&base, &first, contact).await;
    let before = list(&base, &first, contact).await;
    let authority = std::fs::read(text(&first["caFile"])).unwrap();
    server.stop();
    let (_server, second) = Dossier::serve(folder.path(), &[]);
    assert_eq!(second["siteId"], first["siteId"]);
    assert_eq!(std::fs::read(text(&second["caFile"])).unwrap(), authority);
    let new_base = text(&second["http"]);
    let after = list(new_base, &first, contact).await;
    assert_eq!(after["attachments"][0]["id"], before["attachments"][0]["id"]);
    let link = text(&before["attachments"][0]["image"]["url"]).replace(&base, new_base);
    assert_eq!(Response::to(Client::new().get(link)).await.body, PNG);
}

/// Sends the head of a PUT and half of the body.
fn start_half_an_upload(url: &str) -> TcpStream {
    let url = url::Url::parse(url).unwrap();
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let mut stream = TcpStream::connect(&host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = PNG.len();
    write!(
        stream,
        "PUT {} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n",
        url.path()
    )
    .unwrap();
    stream.write_all(&PNG[..20]).unwrap();
    stream
}

/// Polls until connections to the address are rejected.
fn wait_until_closed(base: &str) {
    let address = base.trim_start_matches("http://");
    let started = std::time::Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(started.elapsed() < PATIENCE, "connections are still accepted");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn a_signal_rejects_new_work_and_lets_uploads_finish() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let contact = Uuid::new_v4();
        // Longer than the test: the server must stop by itself, not because the deadline passed.
        let (mut server, first) = Dossier::serve(folder.path(), &["--set", "shutdown_seconds=600"]);
        let base = text(&first["http"]);
        // A kept-alive connection without a request must not delay the stop.
        let client = Client::new();
        Response::to(client.get(format!("{base}/dossier/v1/health"))).await.ok();
        let mut stream = start_half_an_upload(&upload_url(base, &first, contact).await);
        // The upload has begun once its file is staged.
        let staging = folder.path().join("staging");
        let started = std::time::Instant::now();
        while std::fs::read_dir(&staging).unwrap().next().is_none() {
            assert!(started.elapsed() < PATIENCE, "the upload has not begun");
            std::thread::sleep(Duration::from_millis(5));
        }
        server.signal(signal);
        wait_until_closed(base);
        assert!(server.is_running(), "the server must wait for the upload");
        stream.write_all(&PNG[20..]).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        let output = server.wait();
        assert_eq!(output.code, Some(0), "{output:?}");
        let (_server, second) = Dossier::serve(folder.path(), &[]);
        let found = list(text(&second["http"]), &first, contact).await;
        assert_eq!(found["attachments"][0]["fileName"], "dot.png");
    }
}

#[tokio::test]
async fn a_stalled_upload_does_not_block_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let contact = Uuid::new_v4();
    let (server, first) = Dossier::serve(folder.path(), &["--set", "shutdown_seconds=1"]);
    let url = upload_url(text(&first["http"]), &first, contact).await;
    let _stalled = start_half_an_upload(&url);
    server.stop();
    let (_server, second) = Dossier::serve(folder.path(), &[]);
    assert_eq!(list(text(&second["http"]), &first, contact).await["metadata"]["total"], 0);
}

#[tokio::test]
async fn logs_contain_no_secrets_tokens_or_file_names() {
    let folder = tempfile::tempdir().unwrap();
    let contact = Uuid::new_v4();
    let more = ["--set", "log=trace", "--set", "log_format=json"];
    let (server, first) = Dossier::serve(folder.path(), &more);
    let base = text(&first["http"]);
    let url = upload_url(base, &first, contact).await;
    upload(base, &first, contact).await;
    let found = list(base, &first, contact).await;
    let link = text(&found["attachments"][0]["image"]["url"]);
    Response::to(Client::new().get(link)).await;
    Response::to(Client::new().get(format!("{link}x"))).await;
    Response::to(Client::new().put(&url).body("no image")).await;
    let unknown = json!({ "apiKey": "dossier_unknown_key", "siteId": first["siteId"] });
    call(&Client::new(), base, &unknown, "/nowhere", None).await;
    call(&Client::new(), base, &unknown, &contact_path(contact), None).await;
    let log = server.stop().err;
    assert!(log.contains("\"route\":\"/contacts/v4/attachments/{contact}\""), "{log}");
    let (token, link_token) = (url.rsplit_once('/').unwrap().1, link.rsplit_once('=').unwrap().1);
    let key = text(&first["apiKey"]).trim_start_matches("dossier_");
    for secret in [key, "unknown_key", token, link_token, "dot.png"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    for line in log.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "not JSON: {line}");
    }
}

#[test]
fn the_demo_shows_a_photo_and_a_document_and_cleans_up() {
    let temporary = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir().unwrap();
    let mut demo = command(&["demo"], &[("TMPDIR", temporary.path().to_str().unwrap())]);
    demo.current_dir(work.path());
    let output = Dossier::spawn(demo).wait();
    assert_eq!((output.code, output.err.as_str()), (Some(0), ""), "{output:?}");
    for part in [
        "\"label\": \"Ada Lovelace\"",
        "POST /contacts/v4/attachments/",
        "PUT http://127.0.0.1:",
        "GET /contacts/v4/attachments/",
        "\"fileName\": \"sunset.jpg\"",
        "\"fileName\": \"letter.pdf\"",
        "\"total\": 2",
        "Open the link of the photo",
        "200 image/jpeg",
        "Open the link of its preview",
        "Open the link of the document",
        "200 application/pdf",
        // The name by which the program was called.
        concat!(env!("CARGO_BIN_EXE_dossier"), " demo --keep"),
        concat!(env!("CARGO_BIN_EXE_dossier"), " serve"),
    ] {
        assert!(output.out.contains(part), "{part:?} is missing from {}", output.out);
    }
    for folder in [temporary, work] {
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn the_demo_stays_on_request_and_ends_on_a_signal() {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo =
        Dossier::start(&["demo", "--keep"], &[("TMPDIR", temporary.path().to_str().unwrap())]);
    let mut shown = vec![demo.line()];
    while !shown.last().unwrap().contains("apiBaseUrl") {
        shown.push(demo.line());
    }
    let base = shown[0].split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    Response::to(Client::new().get(format!("{base}/dossier/v1/health"))).await.ok();
    let page = format!("  {base}/#/sign-in/");
    assert!(shown.iter().any(|line| line.starts_with(&page)), "{shown:#?}");
    assert!(shown.iter().any(|line| line.contains("NODE_EXTRA_CA_CERTS=/")), "{shown:#?}");
    demo.signal("INT");
    assert_eq!(demo.wait().code, Some(0));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}
