//! A contact's files as one ZIP, read back by programs that others wrote.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Command;

use dossier::domain::zip_form::Plan;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::{PDF, csv, eventually, sha256_hex};
use crate::support::{Answer, TestApp};

/// Reads an archive with Python: name, size, CRC-32 that was checked by reading, SHA-256.
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
async fn all_files_of_a_contact_or_some_come_as_one_archive() {
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
    let ids = app.all(contact, "id").await;
    let answer = app.get(&path(contact)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    assert_eq!(answer.header("content-type"), "application/zip");
    assert_eq!(answer.header("cache-control"), "private, no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    let disposition = format!("attachment; filename=\"{contact}.zip\"");
    assert_eq!(answer.header("content-disposition"), disposition);
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("all.zip");
    std::fs::write(&archive, &answer.body).unwrap();
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
    // Some of them, in the order in which they are named.
    let some = app.get(&format!("{}?ids={},{}", path(contact), ids[1], ids[0])).await;
    std::fs::write(&archive, &some.body).unwrap();
    let expected = [entry(".._.._up_sicht.csv", files[1].1), entry("Übersicht.csv", files[0].1)];
    assert_eq!(read(&archive), json!(expected));
    let head = Answer::of(app.request(Method::HEAD, &path(contact))).await;
    assert_eq!(head.header("content-length"), answer.header("content-length"));
}

#[tokio::test]
async fn the_archive_is_named_by_the_contact_and_one_without_files_is_empty() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let body = json!({ "label": "Zoë \"/.." });
    let announce = format!("/dossier/v1/contacts/{contact}");
    Answer::of(app.request(Method::PUT, &announce).json(&body)).await.ok();
    let answer = app.get(&path(contact)).await;
    let name = "attachment; filename=\"Zo_ __...zip\"; filename*=UTF-8''Zo%C3%AB%20__...zip";
    assert_eq!(answer.header("content-disposition"), name);
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("none.zip");
    std::fs::write(&archive, &answer.body).unwrap();
    assert_eq!(read(&archive), json!([]));
}

#[tokio::test]
async fn nothing_of_others_is_in_an_archive_and_mistakes_are_named() {
    let (app, contact, other) = (TestApp::start().await, Uuid::new_v4(), Uuid::new_v4());
    let (own, _) = app.upload_pdf(contact, "own.pdf").await;
    let (theirs, _) = app.upload_pdf(other, "theirs.pdf").await;
    let site = app.other_site().await;
    let foreign = app.upload_as(&site, contact, "foreign.csv").await;
    let ask = async |ids: String| app.get(&format!("{}?ids={ids}", path(contact))).await;
    let unknown = Uuid::new_v4().to_string();
    let expected = ask(unknown.clone()).await;
    assert_eq!(expected.refused(), (404, "NOT_FOUND".to_owned()));
    for id in [&theirs, &foreign] {
        let answer = ask(format!("{own},{id}")).await;
        let text = String::from_utf8(answer.body.clone()).unwrap().replace(id, &unknown);
        assert_eq!((answer.status, text.into_bytes()), (expected.status, expected.body.clone()));
    }
    let many = vec![own.as_str(); 201].join(",");
    for (ids, rule) in [
        ("x".to_owned(), "FORMAT"),
        (String::new(), "FORMAT"),
        (format!("{own},{own}"), "OTHER"),
        (many, "MAX"),
    ] {
        assert_eq!(ask(ids).await.violations(), [("ids".to_owned(), rule.to_owned())]);
    }
    let modifier = app.other_key("MODIFY").await;
    let answer = Answer::of(app.request_as(&modifier, Method::GET, &path(contact))).await;
    assert_eq!(answer.refused(), (403, "PERMISSION_DENIED".to_owned()));
    // Who is erased is in no archive, and has none.
    let erase = format!("/dossier/v1/contacts/{contact}/erase");
    Answer::of(app.request(Method::POST, &erase)).await.ok();
    assert_eq!(app.get(&path(contact)).await.refused(), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_file_that_is_deleted_meanwhile_breaks_the_archive_instead_of_being_left_out() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    // More than the system keeps for a client that does not read.
    app.upload(contact, "large.csv", "text/csv", &csv(24 << 20)).await.ok();
    let (second, _) = app.upload_pdf(contact, "second.pdf").await;
    let mut answer = app.request(Method::GET, &path(contact)).send().await.unwrap();
    let promised = answer.content_length().unwrap();
    let first = answer.chunk().await.unwrap().unwrap();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{second}")).await.ok();
    let (mut read, mut broken) = (first.len() as u64, false);
    loop {
        match answer.chunk().await {
            Ok(Some(bytes)) => read += bytes.len() as u64,
            Ok(None) => break,
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    assert!(broken, "{read} bytes came as if they were all");
    assert!(read < promised, "{read}");
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    app.upload(contact, "large.csv", "text/csv", &csv(24 << 20)).await.ok();
    let places = app.app().zip_places.available_permits();
    let mut answers = Vec::new();
    for _ in 0..places {
        let mut answer = app.request(Method::GET, &path(contact)).send().await.unwrap();
        answer.chunk().await.unwrap().unwrap();
        answers.push(answer);
    }
    let refused = app.get(&path(contact)).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
    drop(answers);
    eventually("all places are free", async || app.app().zip_places.available_permits() == places)
        .await;
}

#[test]
fn an_archive_beyond_4_gib_is_read_by_others() {
    const LARGE: u64 = 5 << 30;
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("large.zip");
    let mut plan = Plan::default();
    plan.add("large.csv", LARGE, 1_800_000_000_000);
    plan.add("small.pdf", PDF.len() as u64, 1_800_000_000_000);
    let [large, small] = plan.entries() else { panic!("two were added") };
    let crc32 = crc32fast::hash(PDF);
    // The large file is a hole.
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
