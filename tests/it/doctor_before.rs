//! `dossier doctor` before the first start, with stores named by settings only, and on folders of
//! the wrong kind.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::full_disk::Disk;
use crate::support::{bucket, database, printed, run};

/// The checks of `dossier doctor`: name, state, detail and remedy.
fn doctor(data: &Path, more: &[&str]) -> Vec<[String; 4]> {
    let ports = ["--set", "listen=127.0.0.1:0", "--set", "listen_tls=127.0.0.1:0"];
    let arguments = ["doctor", "--json", "--data", data.to_str().unwrap()];
    let output = run(&[&arguments[..], &ports, more].concat());
    let report: Value = serde_json::from_str(&output.out).unwrap();
    let checks = report["checks"].as_array().unwrap().iter();
    let fields = ["name", "state", "detail", "remedy"];
    checks.map(|check| fields.map(|field| check[field].as_str().unwrap().to_owned())).collect()
}

fn named<'a>(checks: &'a [[String; 4]], name: &str) -> &'a [String; 4] {
    checks.iter().find(|check| check[0] == name).unwrap_or_else(|| panic!("{name}: {checks:?}"))
}

#[test]
fn a_bucket_is_checked_before_the_data_folder_exists() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("later");
    let bucket = bucket::get_or_create(&data);
    let [blobs, keys] = bucket.settings().map(|(name, value)| format!("{name}={value}"));
    let checks = doctor(&data, &["--set", &blobs, "--set", &keys]);
    let folder = named(&checks, "data folder");
    assert_eq!(folder[1], "note");
    assert!(folder[2].contains("there is no data in") && folder[3].contains("serve"), "{folder:?}");
    assert_eq!(named(&checks, "bucket")[1], "fine");
    let absent = blobs.replace("s3://t-", "s3://no-such-bucket-");
    let checks = doctor(&data, &["--set", &absent, "--set", &keys]);
    let bucket = named(&checks, "bucket");
    assert_eq!(bucket[1], "problem");
    assert!(bucket[2].contains("there is no such bucket"), "{bucket:?}");
    assert!(!data.exists(), "nothing is created");
}

#[test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
fn a_database_is_checked_before_the_data_folder_exists() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("later");
    let url = format!("database_url={}", database::empty_url().unwrap());
    let checks = doctor(&data, &["--set", &url]);
    assert_eq!(named(&checks, "data folder")[1], "note");
    let database = named(&checks, "database");
    assert_eq!(database[1], "problem");
    assert!(database[2].contains("holds no Dossier data"), "{database:?}");
    assert!(!data.exists(), "nothing is created");
    // Another server has used the database.
    let other = tempfile::tempdir().unwrap();
    printed(&["migrate", "--data", other.path().to_str().unwrap(), "--set", &url]);
    let checks = doctor(&data, &["--set", &url]);
    assert_eq!(named(&checks, "database")[1], "fine");
    assert!(checks.iter().any(|check| check[0] == "PostgreSQL"), "{checks:?}");
    assert!(!data.exists(), "nothing is created");
}

/// The errors of `serve` and `doctor` for a blob folder that they reject.
fn serve_and_doctor_errors(data: &Path) -> [String; 2] {
    let arguments = ["--data", data.to_str().unwrap(), "--set", "blobs=local"];
    let ports = ["--listen", "127.0.0.1:0", "--listen-tls", "off"];
    let serve = run(&[&["serve"], &arguments[..], &ports].concat());
    assert_eq!(serve.code, Some(1), "{serve:?}");
    let checks = doctor(data, &arguments[2..]);
    let stored = named(&checks, "stored files");
    assert_eq!(stored[1], "problem");
    [serve.err, stored[2].clone()]
}

/// A data folder that a server has used.
fn used_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dossier.db"), "").unwrap();
    folder
}

#[test]
fn a_symbolic_link_as_the_blob_folder_is_rejected_in_plain_words() {
    let (folder, elsewhere) = (used_folder(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("blobs")).unwrap();
    for error in serve_and_doctor_errors(folder.path()) {
        assert!(error.contains("the folder blobs") && error.contains("symbolic link"), "{error}");
    }
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_blob_folder_on_another_disk_is_rejected_in_plain_words() {
    let (Some(disk), same) = (Disk::mounted("4m"), tempfile::tempdir().unwrap()) else { return };
    for source in [disk.path(), same.path()] {
        let folder = used_folder();
        let blobs = folder.path().join("blobs");
        std::fs::create_dir(&blobs).unwrap();
        // The second bind mount is on the same disk but a separate mount.
        let mount = Command::new("mount").arg("--bind").args([source, &blobs]).status();
        assert!(mount.unwrap().success());
        let errors = std::panic::catch_unwind(|| serve_and_doctor_errors(folder.path()));
        let end = Command::new("umount").arg("-l").arg(&blobs).status();
        assert!(end.unwrap().success());
        for error in errors.unwrap() {
            assert!(error.contains("on different disks or mounts"), "{error}");
        }
    }
}
