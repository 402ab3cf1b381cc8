//! `dossier login`, and which server and key a command goes to.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use uuid::Uuid;

use crate::support::terminal::Person;
use crate::support::{Dossier, TestApp};

#[tokio::test]
async fn a_login_is_kept_for_its_owner_and_used_from_then_on() {
    let app = TestApp::start().await;
    let person = Person::nowhere();
    let error = person.failed(&["ls"], 2).await;
    assert!(error.contains("no server is named\n  -> dossier login --server URL"), "{error}");
    let words = ["login", "--server", &app.base];
    let ended = person.fed(&words, format!("{}\n", app.key).into_bytes()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("the key may VIEW, MODIFY and ADMIN"), "{}", ended.out);
    assert!(!ended.out.contains(&app.key), "{}", ended.out);
    let mode = std::fs::metadata(person.profiles()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(person.json(&["status"]).await["profile"], "default");
    person.done(&["ls"]).await;
    std::fs::set_permissions(person.profiles(), PermissionsExt::from_mode(0o644)).unwrap();
    let error = person.failed(&["ls"], 1).await;
    assert!(error.contains("\n  -> chmod 600 "), "{error}");
}

#[tokio::test]
async fn a_logout_forgets_the_key_of_one_profile() {
    let app = TestApp::start().await;
    let person = Person::nowhere();
    for name in ["default", "work"] {
        let words = ["login", "--server", &app.base, "--profile", name];
        let ended = person.fed(&words, app.key.clone().into_bytes()).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let told = person.done(&["logout", "--profile", "work"]).await;
    assert!(told.contains("profile work. It still opens the server: dossier key revoke"), "{told}");
    let kept = std::fs::read_to_string(person.profiles()).unwrap();
    assert_eq!(kept.matches(&app.key).count(), 1, "{kept}");
    let error = person.failed(&["logout", "--profile", "work"], 2).await;
    assert!(error.contains("there is no profile work; there are: default"), "{error}");
    let told = person.json(&["logout"]).await;
    assert_eq!(told["profile"], "default");
    person.failed(&["ls"], 2).await;
}

#[tokio::test]
async fn what_is_wrong_is_not_kept() {
    let app = TestApp::start().await;
    let person = Person::nowhere();
    for (words, key, code, expected) in [
        (vec!["login", "--server", &app.base], "dossier_wrong", 4, "does not know this API key"),
        (vec!["login", "--server", &app.base], "", 2, "that is no API key"),
        (vec!["login", "--server", "ftp://x"], "key", 2, "ftp://x is no address of a server"),
        (vec!["login", "--server", "http://192.0.2.1"], "key", 2, "-> use https, or --allow-http"),
        (
            vec!["login", "--server", "http://127.0.0.1:1"],
            "key",
            5,
            "cannot be reached: Connection",
        ),
    ] {
        let ended = person.fed(&words, key.as_bytes().to_vec()).await;
        assert_eq!(ended.code, Some(code), "{words:?}: {ended:?}");
        assert!(ended.err.contains(expected), "{words:?}: {}", ended.err);
    }
    assert!(!person.profiles().exists());
}

#[tokio::test]
async fn a_key_goes_to_the_server_of_its_profile_only() {
    let (app, other) = (TestApp::start().await, TestApp::start().await);
    let person = Person::nowhere();
    for (name, app) in [("default", &app), ("other", &other)] {
        let words = ["login", "--server", &app.base, "--profile", name];
        let ended = person.fed(&words, app.key.clone().into_bytes()).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    person.done(&["ls", "--server", &app.base]).await;
    let error = person.failed(&["ls", "--server", &other.base], 4).await;
    assert!(error.contains("no API key is known for"), "{error}");
    let status = person.json(&["status", "--profile", "other"]).await;
    assert_eq!(status["server"], other.base);
    let error = person.failed(&["ls", "--profile", "third"], 2).await;
    assert!(error.contains("there is no profile third; there are: default, other"), "{error}");
    // A profile that is named wins over the environment; without one the environment does.
    let person = person.with("DOSSIER_SERVER", &other.base).with("DOSSIER_KEY", &other.key);
    assert_eq!(person.json(&["status", "--profile", "default"]).await["server"], app.base);
    assert_eq!(person.json(&["status"]).await["server"], other.base);
}

#[tokio::test]
async fn a_certificate_of_its_own_needs_its_authority_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, ready) = Dossier::serve(folder.path(), &[]);
    let text = |name: &str| ready[name].as_str().unwrap();
    let person = Person::nowhere();
    let words = ["login", "--server", text("https")];
    let ended = person.fed(&words, text("apiKey").as_bytes().to_vec()).await;
    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(ended.err.contains("-> --ca FILE names the authority"), "{}", ended.err);
    let words = [&words[..], &["--ca", text("caFile")]].concat();
    let ended = person.fed(&words, text("apiKey").as_bytes().to_vec()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(person.json(&["ls"]).await, json!({ "contacts": [] }));
}

#[tokio::test]
async fn a_server_with_several_sites_is_told_which() {
    let app = TestApp::start().await;
    let person = Person::of(&app);
    let data = app.data().to_str().unwrap();
    person.done(&["site", "create", "--data", data]).await;
    app.app().registry.refresh(&app.app().db).await.unwrap();
    let error = person.failed(&["ls"], 4).await;
    let expected = "the server has several sites\n  -> name the key's one: --site ID";
    assert!(error.contains(expected), "{error}");
    person.done(&["ls", "--site", &app.site.to_string()]).await;
}

#[tokio::test]
async fn a_key_that_may_only_read_says_which_scope_it_lacks() {
    let app = TestApp::start().await;
    let data = app.data().to_str().unwrap();
    let made = Person::nowhere().json(&["key", "create", "--scope", "VIEW", "--data", data]).await;
    let person = Person::at(&app.base, made["apiKey"].as_str().unwrap());
    assert_eq!(person.json(&["status"]).await["scopes"], json!(["VIEW"]));
    person.write("a.csv", b"a,b\n");
    let words = ["put", &Uuid::new_v4().to_string(), "a.csv"];
    let error = person.failed(&words, 4).await;
    assert!(error.contains("a.csv: this API key lacks the scope"), "{error}");
    assert!(
        error.contains("\n  -> on the server: dossier key create --scope VIEW,MODIFY"),
        "{error}"
    );
    // For programs the same as JSON.
    let error = person.failed(&[&words[..], &["--json"]].concat(), 4).await;
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(
        (&error["error"]["kind"], &error["error"]["exitCode"]),
        (&json!("notAllowed"), &json!(4))
    );
}
