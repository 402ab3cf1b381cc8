//! A contact's files as one ZIP archive, verified with third-party programs.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Command;

use dossier::domain::zip_form::Plan;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::{PDF, csv, eventually, sha256_hex};
use crate::support::{Response, TestApp};

/// Reads an archive with Python: name, size, CRC-32 (checked by reading) and SHA-256.
const READER: &str = "
import hashlib, json, sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
found = []
for entry in archive.infolist():
    bytes = b'' if entry.file_size > 2**31 else archive.read(entry)
    found.append([entry.filename, entry.file_size, hashlib.sha256(bytes).hexdigest()])
print(json.dumps(found))
";

fn read(archive: &Path) -> Value {
    let python = Command::new("python3").args(["-c", READER]).arg(archive).output().unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    serde_json::from_slice(&python.stdout).unwrap()
}

fn entry(name: &str, bytes: &[u8]) -> Value {
    json!([name, bytes.len(), sha256_hex(bytes)])
}

fn path(contact: Uuid) -> String {
    format!("/dossier/v1/contacts/{contact}/zip")
}

#[tokio::test]
async fn all_or_some_files_of_a_contact_come_as_one_archive() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let large = csv(3_000_000);
    let files: [(&str, &[u8]); 4] = [
        ("Übersicht.csv", b"a,b\n"),
        ("../../up/sicht.csv", b"c,d\n"),
        ("ÜBERSICHT.csv", &large),
        ("nul\u{202e}.csv", b"e,f\n"),
    ];
    for (name, bytes) in files {
        app.upload(contact, name, "text/csv", bytes).await.ok();
    }
    let ids = app.list_all(contact, "id").await;
    let response = app.get(&path(contact)).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-length"), response.body.len().to_string());
    assert_eq!(response.header("content-type"), "application/zip");
    assert_eq!(response.header("cache-control"), "private, no-store");
    assert_eq!(response.header("x-content-type-options"), "nosniff");
    let disposition = format!("attachment; filename=\"{contact}.zip\"");
    assert_eq!(response.header("content-disposition"), disposition);
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("all.zip");
    std::fs::write(&archive, &response.body).unwrap();
    assert_eq!(
        read(&archive),
        json!([
            entry("Übersicht.csv", files[0].1),
            entry(".._.._up_sicht.csv", files[1].1),
            entry("ÜBERSICHT (2).csv", &large),
            entry("_nul.csv", files[3].1),
        ])
    );
    let unpacked = Command::new("unzip").arg("-tq").arg(&archive).output().unwrap();
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stdout));
    // Some of them, in the requested order.
    let some = app.get(&format!("{}?ids={},{}", path(contact), ids[1], ids[0])).await;
    std::fs::write(&archive, &some.body).unwrap();
    let expected = [entry(".._.._up_sicht.csv", files[1].1), entry("Übersicht.csv", files[0].1)];
    assert_eq!(read(&archive), json!(expected));
    let head = Response::to(app.request(Method::HEAD, &path(contact))).await;
    assert_eq!(head.header("content-length"), response.header("content-length"));
}

#[tokio::test]
async fn the_archive_is_named_after_the_contact_and_may_be_empty() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let body = json!({ "label": "Zoë \"/.." });
    let announce = format!("/dossier/v1/contacts/{contact}");
    Response::to(app.request(Method::PUT, &announce).json(&body)).await.ok();
    let response = app.get(&path(contact)).await;
    let name = "attachment; filename=\"Zo_ __...zip\"; filename*=UTF-8''Zo%C3%AB%20__...zip";
    assert_eq!(response.header("content-disposition"), name);
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("none.zip");
    std::fs::write(&archive, &response.body).unwrap();
    assert_eq!(read(&archive), json!([]));
}

#[tokio::test]
async fn an_archive_contains_nothing_of_others_and_mistakes_are_reported() {
    let (app, contact, other) = (TestApp::start().await, Uuid::new_v4(), Uuid::new_v4());
    let (own, _) = app.upload_pdf(contact, "own.pdf").await;
    let (theirs, _) = app.upload_pdf(other, "theirs.pdf").await;
    let site = app.other_site().await;
    let foreign = app.upload_as(&site, contact, "foreign.csv").await;
    let get_zip = async |ids: String| app.get(&format!("{}?ids={ids}", path(contact))).await;
    let unknown = Uuid::new_v4().to_string();
    let expected = get_zip(unknown.clone()).await;
    assert_eq!(expected.rejection(), (404, "NOT_FOUND".to_owned()));
    for id in [&theirs, &foreign] {
        let response = get_zip(format!("{own},{id}")).await;
        let text = String::from_utf8(response.body.clone()).unwrap().replace(id, &unknown);
        assert_eq!((response.status, text.into_bytes()), (expected.status, expected.body.clone()));
    }
    let many = vec![own.as_str(); 201].join(",");
    for (ids, rule) in [
        ("x".to_owned(), "FORMAT"),
        (String::new(), "FORMAT"),
        (format!("{own},{own}"), "OTHER"),
        (many, "MAX"),
    ] {
        assert_eq!(get_zip(ids).await.violations(), [("ids".to_owned(), rule.to_owned())]);
    }
    let modifier = app.other_key("MODIFY").await;
    let response = Response::to(app.request_as(&modifier, Method::GET, &path(contact))).await;
    assert_eq!(response.rejection(), (403, "PERMISSION_DENIED".to_owned()));
    // An erased contact is in no archive and has none.
    let erase = format!("/dossier/v1/contacts/{contact}/erase");
    Response::to(app.request(Method::POST, &erase)).await.ok();
    assert_eq!(app.get(&path(contact)).await.rejection(), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_file_deleted_meanwhile_breaks_the_archive_instead_of_being_omitted() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    // More than the system buffers for a client that does not read.
    app.upload(contact, "large.csv", "text/csv", &csv(24 << 20)).await.ok();
    let (second, _) = app.upload_pdf(contact, "second.pdf").await;
    let mut response = app.request(Method::GET, &path(contact)).send().await.unwrap();
    let promised = response.content_length().unwrap();
    let first = response.chunk().await.unwrap().unwrap();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{second}")).await.ok();
    let (mut read, mut broken) = (first.len() as u64, false);
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) => read += bytes.len() as u64,
            Ok(None) => break,
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    assert!(broken, "{read} bytes arrived as a complete archive");
    assert!(read < promised, "{read}");
}

#[tokio::test]
async fn a_client_that_disconnects_frees_its_permit() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    app.upload(contact, "large.csv", "text/csv", &csv(24 << 20)).await.ok();
    let permits = app.app().zip_permits.available_permits();
    let mut responses = Vec::new();
    for _ in 0..permits {
        let mut response = app.request(Method::GET, &path(contact)).send().await.unwrap();
        response.chunk().await.unwrap().unwrap();
        responses.push(response);
    }
    let rejected = app.get(&path(contact)).await;
    assert_eq!((rejected.status.as_u16(), rejected.header("retry-after")), (503, "1"));
    drop(responses);
    eventually("all permits are free", async || {
        app.app().zip_permits.available_permits() == permits
    })
    .await;
}

#[test]
fn an_archive_beyond_4_gib_is_readable_by_other_programs() {
    const LARGE: u64 = 5 << 30;
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("large.zip");
    let mut plan = Plan::default();
    plan.add("large.csv", LARGE, 1_800_000_000_000);
    plan.add("small.pdf", PDF.len() as u64, 1_800_000_000_000);
    let [large, small] = plan.entries() else { panic!("two were added") };
    let crc32 = crc32fast::hash(PDF);
    // The large file is sparse.
    let mut file = File::create(&archive).unwrap();
    file.write_all(&large.local_header()).unwrap();
    file.seek(SeekFrom::Current(LARGE as i64)).unwrap();
    for part in [
        large.descriptor(0),
        small.local_header(),
        PDF.to_vec(),
        small.descriptor(crc32),
        large.directory_header(0),
        small.directory_header(crc32),
        plan.end(),
    ] {
        file.write_all(&part).unwrap();
    }
    assert_eq!(file.stream_position().unwrap(), plan.total_bytes());
    let nothing = sha256_hex(b"");
    assert_eq!(read(&archive), json!([["large.csv", LARGE, nothing], entry("small.pdf", PDF)]));
    let tested = Command::new("unzip").arg("-tq").arg(&archive).arg("small.pdf").output().unwrap();
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
}
