//! Settings, keys and sites on the command line.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Dossier, Response, command, failure, printed, run};

/// How long a change made behind the server's back may take to apply on a loaded machine.
const DEADLINE: Duration = Duration::from_mins(1);

fn with_data<'a>(data: &'a Path, arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &["--data", data.to_str().unwrap()]].concat()
}

fn json_of(data: &Path, arguments: &[&str]) -> Value {
    let out = printed(&with_data(data, &[arguments, &["--json"]].concat()));
    assert_eq!(out.lines().count(), 1, "{out}");
    serde_json::from_str(&out).unwrap()
}

async fn list_status(base: &str, key: &str, site: &str) -> u16 {
    let url = format!("{base}/contacts/v4/attachments/{}", Uuid::new_v4());
    let request = Client::new().get(url).header("authorization", key).header("wix-site-id", site);
    Response::to(request).await.status.as_u16()
}

/// The prefix of upload URLs shows which source of the setting won.
async fn public_url_of(server: &mut Dossier) -> String {
    let ready = server.ready();
    let contact = Uuid::new_v4();
    let base = ready["http"].as_str().unwrap();
    let generate = Client::new()
        .post(format!("{base}/contacts/v4/attachments/{contact}/upload-url"))
        .header("authorization", ready["apiKey"].as_str().unwrap())
        .json(&json!({ "fileName": "a.csv", "mimeType": "text/csv" }));
    let response = Response::to(generate).await.ok();
    let url = response["uploadUrl"].as_str().unwrap();
    url.split_once("/upload/").unwrap().0.to_owned()
}

#[tokio::test]
async fn flags_override_variables_and_variables_override_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    let listen = "listen = \"127.0.0.1:0\"\nlisten_tls = \"off\"\n";
    std::fs::write(&file, format!("{listen}public_url = \"https://file.example\"\n")).unwrap();
    let file = file.to_str().unwrap();
    let variable = ("DOSSIER_PUBLIC_URL", "https://variable.example");
    let in_variable = ("DOSSIER_CONFIG", file);
    let flag = ["--public-url", "https://flag.example"];
    let set = ["--set", "public_url=https://set.example"];
    for (number, (flags, variables, expected)) in [
        (vec!["--config", file], vec![], "https://file.example"),
        (vec![], vec![in_variable], "https://file.example"),
        (vec!["--config", file], vec![variable], "https://variable.example"),
        (set.to_vec(), vec![in_variable, variable], "https://set.example"),
        (flag.to_vec(), vec![in_variable, variable], "https://flag.example"),
    ]
    .into_iter()
    .enumerate()
    {
        let data = folder.path().join(number.to_string());
        let arguments = with_data(&data, &[&["serve", "--ready-json"], flags.as_slice()].concat());
        let mut server = Dossier::start(&arguments, &variables);
        assert_eq!(public_url_of(&mut server).await, expected, "case {number}");
    }
}

#[test]
fn the_data_folder_comes_from_a_variable_or_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let serve = ["serve", "--ready-json", "--listen", "127.0.0.1:0", "--listen-tls", "off"];
    let data = folder.path().join("by-variable");
    let mut by_variable = Dossier::start(&serve, &[("DOSSIER_DATA", data.to_str().unwrap())]);
    by_variable.ready();
    assert!(data.join("dossier.db").is_file());
    let mut by_default = command(&serve, &[]);
    by_default.current_dir(folder.path());
    Dossier::spawn(by_default).ready();
    assert!(folder.path().join("dossier-data/dossier.db").is_file());
}

/// A folder that a server has used.
fn used_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    Dossier::serve(folder.path(), &["--listen-tls", "off"]).0.stop();
    folder
}

#[test]
fn key_and_site_commands_on_a_folder_without_data_fail_and_create_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("mistyped");
    for command in [["key", "create"], ["key", "list"], ["site", "create"], ["site", "list"]] {
        let message = failure(&with_data(&data, &command));
        let expected = format!("there is no data in {}", data.display());
        assert!(message.contains(&expected), "{message}");
    }
    assert!(!data.exists());
}

#[test]
fn an_unknown_setting_is_rejected_from_every_source() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("settings.toml"));
    std::fs::write(&file, "lissten = \"127.0.0.1:0\"\n").unwrap();
    let file = file.to_str().unwrap();
    let serve = with_data(&data, &["serve"]);
    for (more, variables, place) in [
        (vec!["--config", file], vec![], file),
        (vec![], vec![("DOSSIER_CONFIG", file)], file),
        (vec!["--set", "lissten=127.0.0.1:0"], vec![], "--set lissten"),
        (vec![], vec![("DOSSIER_LISSTEN", "127.0.0.1:0")], "DOSSIER_LISSTEN"),
        (vec![], vec![("DOSSIER_DOSSIER_LISTEN", "127.0.0.1:0")], "DOSSIER_DOSSIER_LISTEN"),
    ] {
        let output = Dossier::start(&[serve.as_slice(), &more].concat(), &variables).wait();
        assert_eq!((output.code, output.out.as_str()), (Some(1), ""), "{place}: {output:?}");
        assert!(output.err.contains("there is no setting"), "{place}: {}", output.err);
        assert!(output.err.contains(place) && output.err.contains("listen_tls"), "{}", output.err);
    }
    let output = run(&[serve.as_slice(), &["--lissten", "127.0.0.1:0"]].concat());
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.err.contains("--lissten") && output.err.contains("--listen"), "{}", output.err);
    assert!(!data.exists(), "a rejected start must create nothing");
}

#[test]
fn an_invalid_value_is_rejected_with_the_name_of_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for (flags, name) in [
        (["--listen", "8080"], "listen"),
        (["--public-url", "files.example"], "public_url"),
        (["--set", "upload_max_bytes=1MB"], "upload_max_bytes"),
        (["--set", "media_references=both"], "media_references"),
        (["--set", "log=a=b=c"], "log"),
        (["--config", "/nowhere/settings.toml"], "/nowhere/settings.toml"),
    ] {
        let message = failure(&with_data(&data, &[&["serve"][..], &flags].concat()));
        assert!(message.starts_with("dossier: ") && message.contains(name), "{name}: {message}");
    }
    assert!(!data.exists(), "a rejected start must create nothing");
}

#[test]
fn variables_of_other_programs_are_ignored() {
    let folder = used_folder();
    let mut list = command(&with_data(folder.path(), &["site", "list"]), &[("DOSSIERX", "1")]);
    list.env("SOMETHING", std::ffi::OsStr::from_bytes(b"not UTF-8: \xff"));
    let output = Dossier::spawn(list).wait();
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn a_setting_that_is_not_utf_8_is_rejected_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut list = command(&with_data(folder.path(), &["site", "list"]), &[]);
    list.env("DOSSIER_LOG", std::ffi::OsStr::from_bytes(b"\xff"));
    let output = Dossier::spawn(list).wait();
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.err.contains("DOSSIER_LOG"), "{}", output.err);
}

#[test]
fn every_commands_help_names_its_arguments() {
    for (arguments, names) in [
        (&["--help"][..], &["Usage: dossier <COMMAND>", "serve", "demo", "key", "site"][..]),
        (&["serve", "--help"], &["Usage: dossier serve", "--listen-tls", "--ready-json"]),
        (&["demo", "--help"], &["Usage: dossier demo", "--keep"]),
        (&["key", "--help"], &["Usage: dossier key", "create", "list", "revoke"]),
        (&["key", "create", "--help"], &["Usage: dossier key create", "--scope", "--site"]),
        (&["key", "list", "--help"], &["Usage: dossier key list", "--json"]),
        (&["key", "revoke", "--help"], &["Usage: dossier key revoke", "<ID>"]),
        (&["site", "--help"], &["Usage: dossier site", "create", "set", "list"]),
        (&["site", "create", "--help"], &["Usage: dossier site create", "--link-life-seconds"]),
        (&["site", "list", "--help"], &["Usage: dossier site list", "--json"]),
    ] {
        let help = printed(arguments);
        for name in names {
            assert!(help.contains(name), "{name} is missing from {arguments:?}: {help}");
        }
        assert_eq!(printed(&[&["help"][..], &arguments[..arguments.len() - 1]].concat()), help);
    }
    let version = format!("dossier {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(printed(&["--version"]), version);
    let output = run::<&str>(&[]);
    assert_eq!(output.code, Some(2), "{output:?}");
    for command in ["serve", "demo", "key", "site"] {
        assert!(output.err.contains(command), "{}", output.err);
    }
}

#[tokio::test]
async fn keys_are_created_listed_and_revoked_while_a_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let (_server, first) = Dossier::serve(data, &[]);
    let (base, site) = (first["http"].as_str().unwrap(), first["siteId"].as_str().unwrap());
    let created = json_of(data, &["key", "create", "--scope", "view", "--name", "reader"]);
    assert_eq!(created["siteId"], site);
    assert_eq!(created["scopes"], "CONTACTS_ATTACHMENTS.VIEW");
    let (key, id) = (created["apiKey"].as_str().unwrap(), created["id"].as_str().unwrap());
    assert_eq!(list_status(base, key, site).await, 200, "a new key works at once");
    let listed = json_of(data, &["key", "list"]);
    let by_name: BTreeMap<&str, &Value> = listed["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (key["name"].as_str().unwrap(), key))
        .collect();
    assert_eq!(by_name.keys().collect::<Vec<_>>(), [&"first", &"reader"]);
    assert_eq!(by_name["reader"]["id"], id);
    assert_eq!(by_name["reader"]["revokedDate"], Value::Null);
    let table = printed(&with_data(data, &["key", "list"]));
    assert!(
        table.contains(id) && table.contains("live") && table.contains("VIEW,MODIFY"),
        "{table}"
    );
    for text in [listed.to_string(), table] {
        assert!(!text.contains("dossier_"), "a secret is listed: {text}");
    }
    let message = printed(&with_data(data, &["key", "revoke", id]));
    assert!(message.contains(&format!("key {id} was revoked at 20")), "{message}");
    let started = Instant::now();
    while list_status(base, key, site).await != 401 {
        assert!(started.elapsed() < DEADLINE, "the key still works");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        printed(&with_data(data, &["key", "revoke", id])),
        message,
        "the first revocation counts"
    );
    let table = printed(&with_data(data, &["key", "list"]));
    assert!(table.lines().any(|line| line.contains(id) && line.contains("revoked")), "{table}");
    let first_key = first["apiKey"].as_str().unwrap();
    assert_eq!(list_status(base, first_key, site).await, 200, "other keys still work");
}

#[tokio::test]
async fn sites_are_created_and_listed_while_a_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let (_server, first) = Dossier::serve(data, &[]);
    let base = first["http"].as_str().unwrap();
    let created =
        json_of(data, &["site", "create", "--name", "second", "--link-life-seconds", "60"]);
    let site = created["siteId"].as_str().unwrap();
    let sites = json_of(data, &["site", "list"]);
    let found = sites["sites"].as_array().unwrap().iter().find(|found| found["siteId"] == site);
    let found = found.unwrap_or_else(|| panic!("{site} is not in {sites}"));
    assert_eq!((&found["name"], &found["linkLifeSeconds"]), (&json!("second"), &json!(60)));
    let table = printed(&with_data(data, &["site", "list"]));
    assert!(table.contains(site) && table.contains("second") && table.contains("first"), "{table}");
    let message = failure(&with_data(data, &["key", "create"]));
    assert!(message.contains("there are several sites"), "{message}");
    let key = json_of(data, &["key", "create", "--site", site]);
    let key = key["apiKey"].as_str().unwrap();
    assert_eq!(list_status(base, key, site).await, 200);
    assert_eq!(list_status(base, key, first["siteId"].as_str().unwrap()).await, 403);
}

#[test]
fn invalid_keys_and_sites_are_rejected() {
    let folder = used_folder();
    let data = folder.path();
    let before = json_of(data, &["key", "list"]);
    let unknown = Uuid::new_v4().to_string();
    for (arguments, words) in [
        (vec!["key", "create", "--scope", "OWNER"], "there is no scope \"OWNER\""),
        (vec!["key", "create", "--scope", ""], "a key needs at least one scope"),
        (vec!["key", "create", "--site", "first"], "the site id is not a GUID"),
        (vec!["key", "create", "--site", &unknown], "there is no site"),
        (vec!["key", "revoke", "first"], "the key id is not a GUID"),
        (vec!["key", "revoke", &unknown], "there is no key"),
    ] {
        let message = failure(&with_data(data, &arguments));
        assert!(message.contains(words), "{arguments:?}: {message}");
    }
    assert_eq!(json_of(data, &["key", "list"]), before);
    let created = printed(&with_data(data, &["key", "create"]));
    let site = before["keys"][0]["siteId"].as_str().unwrap();
    for part in ["dossier_", "shown only once", site, "MODIFY"] {
        assert!(created.contains(part), "{part} is missing from {created}");
    }
}

#[test]
fn a_reader_that_closes_early_is_not_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command(&["settings"], &[]).stdout(writer).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{message}");
    assert_eq!(message, "");
}
