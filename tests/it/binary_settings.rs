//! Settings, keys and sites on the command line.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, Dossier, command, printed, refused, run};

/// How long a change made beside the server may take to hold, on a machine under load.
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
    Answer::of(request).await.status.as_u16()
}

/// The address that upload URLs begin with tells which source of a setting has won.
async fn public_url_of(server: &mut Dossier) -> String {
    let ready = server.ready();
    let contact = Uuid::new_v4();
    let base = ready["http"].as_str().unwrap();
    let generate = Client::new()
        .post(format!("{base}/contacts/v4/attachments/{contact}/upload-url"))
        .header("authorization", ready["apiKey"].as_str().unwrap())
        .json(&json!({ "fileName": "a.csv", "mimeType": "text/csv" }));
    let answer = Answer::of(generate).await.ok();
    let url = answer["uploadUrl"].as_str().unwrap();
    url.split_once("/upload/").unwrap().0.to_owned()
}

#[tokio::test]
async fn flags_win_over_variables_and_these_over_the_file() {
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
fn the_data_folder_can_be_a_variable_or_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let serve = ["serve", "--ready-json", "--listen", "127.0.0.1:0", "--listen-tls", "off"];
    let data = folder.path().join("by-variable");
    let mut by_variable = Dossier::start(&serve, &[("DOSSIER_DATA", data.to_str().unwrap())]);
    by_variable.ready();
    assert!(data.join("dossier.db").is_file());
    let mut by_default = command(&serve, &[]);
    by_default.current_dir(folder.path());
    Dossier::of(by_default).ready();
    assert!(folder.path().join("dossier-data/dossier.db").is_file());
}

/// A folder that a server has used.
fn used_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    Dossier::serve(folder.path(), &["--listen-tls", "off"]).0.stop();
    folder
}

#[test]
fn keys_and_sites_of_a_folder_without_data_are_refused_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("mistyped");
    for command in [["key", "create"], ["key", "list"], ["site", "create"], ["site", "list"]] {
        let message = refused(&with_data(&data, &command));
        let expected = format!("there is no data in {}", data.display());
        assert!(message.contains(&expected), "{message}");
    }
    assert!(!data.exists());
}

#[test]
fn an_unknown_name_is_refused_wherever_it_stands() {
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
        let ended = Dossier::start(&[serve.as_slice(), &more].concat(), &variables).ended();
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{place}: {ended:?}");
        assert!(ended.err.contains("there is no setting"), "{place}: {}", ended.err);
        assert!(ended.err.contains(place) && ended.err.contains("listen_tls"), "{}", ended.err);
    }
    let ended = run(&[serve.as_slice(), &["--lissten", "127.0.0.1:0"]].concat());
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.err.contains("--lissten") && ended.err.contains("--listen"), "{}", ended.err);
    assert!(!data.exists(), "nothing may be made for a start that is refused");
}

#[test]
fn a_wrong_value_is_refused_with_the_name_of_its_setting() {
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
        let message = refused(&with_data(&data, &[&["serve"][..], &flags].concat()));
        assert!(message.starts_with("dossier: ") && message.contains(name), "{name}: {message}");
    }
    assert!(!data.exists(), "nothing may be made for a start that is refused");
}

#[test]
fn variables_of_others_do_not_matter() {
    let folder = used_folder();
    let mut list = command(&with_data(folder.path(), &["site", "list"]), &[("DOSSIERX", "1")]);
    list.env("SOMETHING", std::ffi::OsStr::from_bytes(b"not UTF-8: \xff"));
    let ended = Dossier::of(list).ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn a_setting_that_is_not_utf_8_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut list = command(&with_data(folder.path(), &["site", "list"]), &[]);
    list.env("DOSSIER_LOG", std::ffi::OsStr::from_bytes(b"\xff"));
    let ended = Dossier::of(list).ended();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("DOSSIER_LOG"), "{}", ended.err);
}

#[test]
fn every_command_says_what_it_does() {
    for (arguments, words) in [
        (&["--help"][..], "A self-hosted server for the files that belong to a contact"),
        (&["serve", "--help"], "Answer requests, until SIGTERM or SIGINT"),
        (&["demo", "--help"], "Show the whole way of a file"),
        (&["key", "--help"], "API keys: create, list, revoke"),
        (&["key", "create", "--help"], "Make an API key"),
        (&["key", "list", "--help"], "List the keys"),
        (&["key", "revoke", "--help"], "Revoke a key"),
        (&["site", "--help"], "Sites, the tenants: create, set, list"),
        (&["site", "create", "--help"], "Make a site"),
        (&["site", "list", "--help"], "List the sites"),
    ] {
        let help = printed(arguments);
        assert!(help.contains(words), "{arguments:?}: {help}");
        assert!(help.contains("Usage: dossier"), "{arguments:?}: {help}");
        assert_eq!(printed(&[&["help"][..], &arguments[..arguments.len() - 1]].concat()), help);
    }
    let version = format!("dossier {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(printed(&["--version"]), version);
    let ended = run::<&str>(&[]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for command in ["serve", "demo", "key", "site"] {
        assert!(ended.err.contains(command), "{}", ended.err);
    }
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked_beside_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let (_server, first) = Dossier::serve(data, &[]);
    let (base, site) = (first["http"].as_str().unwrap(), first["siteId"].as_str().unwrap());
    let made = json_of(data, &["key", "create", "--scope", "view", "--name", "reader"]);
    assert_eq!(made["siteId"], site);
    assert_eq!(made["scopes"], "CONTACTS_ATTACHMENTS.VIEW");
    let (key, id) = (made["apiKey"].as_str().unwrap(), made["id"].as_str().unwrap());
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
    let said = printed(&with_data(data, &["key", "revoke", id]));
    assert!(said.contains(&format!("key {id} is revoked since 20")), "{said}");
    let begin = Instant::now();
    while list_status(base, key, site).await != 401 {
        assert!(begin.elapsed() < DEADLINE, "the key still works");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(printed(&with_data(data, &["key", "revoke", id])), said, "the first time counts");
    let table = printed(&with_data(data, &["key", "list"]));
    assert!(table.lines().any(|line| line.contains(id) && line.contains("revoked")), "{table}");
    let first_key = first["apiKey"].as_str().unwrap();
    assert_eq!(list_status(base, first_key, site).await, 200, "other keys go on");
}

#[tokio::test]
async fn sites_are_made_and_listed_beside_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let (_server, first) = Dossier::serve(data, &[]);
    let base = first["http"].as_str().unwrap();
    let made = json_of(data, &["site", "create", "--name", "second", "--link-life-seconds", "60"]);
    let site = made["siteId"].as_str().unwrap();
    let sites = json_of(data, &["site", "list"]);
    let found = sites["sites"].as_array().unwrap().iter().find(|found| found["siteId"] == site);
    let found = found.unwrap_or_else(|| panic!("{site} is not in {sites}"));
    assert_eq!((&found["name"], &found["linkLifeSeconds"]), (&json!("second"), &json!(60)));
    let table = printed(&with_data(data, &["site", "list"]));
    assert!(table.contains(site) && table.contains("second") && table.contains("first"), "{table}");
    let message = refused(&with_data(data, &["key", "create"]));
    assert!(message.contains("there are several sites"), "{message}");
    let key = json_of(data, &["key", "create", "--site", site]);
    let key = key["apiKey"].as_str().unwrap();
    assert_eq!(list_status(base, key, site).await, 200);
    assert_eq!(list_status(base, key, first["siteId"].as_str().unwrap()).await, 403);
}

#[test]
fn keys_and_sites_that_cannot_be_are_refused() {
    let folder = used_folder();
    let data = folder.path();
    let before = json_of(data, &["key", "list"]);
    let unknown = Uuid::new_v4().to_string();
    for (arguments, words) in [
        (vec!["key", "create", "--scope", "OWNER"], "there is no scope \"OWNER\""),
        (vec!["key", "create", "--scope", ""], "a key without a scope"),
        (vec!["key", "create", "--site", "first"], "the site is not a GUID"),
        (vec!["key", "create", "--site", &unknown], "there is no site"),
        (vec!["key", "revoke", "first"], "the key id is not a GUID"),
        (vec!["key", "revoke", &unknown], "there is no key"),
    ] {
        let message = refused(&with_data(data, &arguments));
        assert!(message.contains(words), "{arguments:?}: {message}");
    }
    assert_eq!(json_of(data, &["key", "list"]), before);
    let made = printed(&with_data(data, &["key", "create"]));
    let site = before["keys"][0]["siteId"].as_str().unwrap();
    for part in ["dossier_", "shown this once", site, "MODIFY"] {
        assert!(made.contains(part), "{part} is missing in {made}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = command(&["settings"], &[]).stdout(writer).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{said}");
    assert_eq!(said, "");
}
