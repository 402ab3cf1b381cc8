//! `dossier doctor` before the first start, with the places named by settings only; and folders that are not
//! what they must be.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::full_disk::Disk;
use crate::support::{bucket, database, printed, run};

/// The checks of `dossier doctor`: name, state, detail and remedy.
fn doctor(data: &Path, more: &[&str]) -> Vec<[String; 4]> {
    let ports = ["--set", "listen=127.0.0.1:0", "--set", "listen_tls=127.0.0.1:0"];
    let place = ["doctor", "--json", "--data", data.to_str().unwrap()];
    let looked = run(&[&place[..], &ports, more].concat());
    let report: Value = serde_json::from_str(&looked.out).unwrap();
    let checks = report["checks"].as_array().unwrap().iter();
    let fields = ["name", "state", "detail", "remedy"];
    checks.map(|check| fields.map(|field| check[field].as_str().unwrap().to_owned())).collect()
}

fn named<'a>(checks: &'a [[String; 4]], name: &str) -> &'a [String; 4] {
    checks.iter().find(|check| check[0] == name).unwrap_or_else(|| panic!("{name}: {checks:?}"))
}

#[test]
fn a_bucket_is_tried_before_there_is_a_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("later");
    let bucket = bucket::make(&data);
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
    assert!(!data.exists(), "nothing is made");
}

#[test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
fn a_database_is_looked_at_before_there_is_a_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("later");
    let url = format!("database_url={}", database::of(&data).unwrap());
    let checks = doctor(&data, &["--set", &url]);
    assert_eq!(named(&checks, "data folder")[1], "note");
    let database = named(&checks, "database");
    assert_eq!(database[1], "problem");
    assert!(database[2].contains("has no data of Dossier"), "{database:?}");
    assert!(!data.exists(), "nothing is made");
    // Another server has used the database.
    let other = tempfile::tempdir().unwrap();
    printed(&["migrate", "--data", other.path().to_str().unwrap(), "--set", &url]);
    let checks = doctor(&data, &["--set", &url]);
    assert_eq!(named(&checks, "database")[1], "fine");
    assert!(checks.iter().any(|check| check[0] == "PostgreSQL"), "{checks:?}");
    assert!(!data.exists(), "nothing is made");
}

/// What `serve` and `doctor` say of a folder below the data folder that they refuse.
fn said(data: &Path) -> [String; 2] {
    let place = ["--data", data.to_str().unwrap(), "--set", "blobs=local"];
    let ports = ["--listen", "127.0.0.1:0", "--listen-tls", "off"];
    let serve = run(&[&["serve"], &place[..], &ports].concat());
    assert_eq!(serve.code, Some(1), "{serve:?}");
    let checks = doctor(data, &place[2..]);
    let stored = named(&checks, "stored files");
    assert_eq!(stored[1], "problem");
    [serve.err, stored[2].clone()]
}

/// A data folder that was used.
fn used() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dossier.db"), "").unwrap();
    folder
}

#[test]
fn a_link_in_place_of_the_folder_of_bytes_is_refused_in_plain_words() {
    let (folder, elsewhere) = (used(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("blobs")).unwrap();
    for said in said(folder.path()) {
        assert!(said.contains("the folder blobs") && said.contains("symbolic link"), "{said}");
    }
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_of_bytes_on_another_disk_is_refused_in_plain_words() {
    let (Some(disk), same) = (Disk::mounted("4m"), tempfile::tempdir().unwrap()) else { return };
    for source in [disk.path(), same.path()] {
        let folder = used();
        let blobs = folder.path().join("blobs");
        std::fs::create_dir(&blobs).unwrap();
        // The second one is of the same disk, and mounted apart.
        let mount = Command::new("mount").arg("--bind").args([source, &blobs]).status();
        assert!(mount.unwrap().success());
        let said = std::panic::catch_unwind(|| said(folder.path()));
        let end = Command::new("umount").arg("-l").arg(&blobs).status();
        assert!(end.unwrap().success());
        for said in said.unwrap() {
            assert!(said.contains("on two disks, or mounted apart"), "{said}");
        }
    }
}
