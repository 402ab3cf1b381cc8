//! `dossier login`, and which server and key a command uses.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use uuid::Uuid;

use crate::support::terminal::User;
use crate::support::{Dossier, TestApp};

#[tokio::test]
async fn a_login_is_saved_privately_and_used_from_then_on() {
    let app = TestApp::start().await;
    let user = User::without_server();
    let error = user.fail(&["ls"], 2).await;
    assert!(
        error.contains("no server is configured\n  -> run dossier login --server URL"),
        "{error}"
    );
    let words = ["login", "--server", &app.base];
    let output = user.run_with_stdin(&words, format!("{}\n", app.key).into_bytes()).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.out.contains("with scopes VIEW, MODIFY and ADMIN"), "{}", output.out);
    assert!(!output.out.contains(&app.key), "{}", output.out);
    let mode = std::fs::metadata(user.profiles()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(user.json(&["status"]).await["profile"], "default");
    user.succeed(&["ls"]).await;
    std::fs::set_permissions(user.profiles(), PermissionsExt::from_mode(0o644)).unwrap();
    let error = user.fail(&["ls"], 1).await;
    assert!(error.contains("\n  -> chmod 600 "), "{error}");
}

#[tokio::test]
async fn a_logout_removes_the_key_of_one_profile() {
    let app = TestApp::start().await;
    let user = User::without_server();
    for name in ["default", "work"] {
        let words = ["login", "--server", &app.base, "--profile", name];
        let output = user.run_with_stdin(&words, app.key.clone().into_bytes()).await;
        assert_eq!(output.code, Some(0), "{output:?}");
    }
    let output = user.succeed(&["logout", "--profile", "work"]).await;
    assert!(
        output.contains("profile work. The key is still valid: dossier key revoke"),
        "{output}"
    );
    let kept = std::fs::read_to_string(user.profiles()).unwrap();
    assert_eq!(kept.matches(&app.key).count(), 1, "{kept}");
    let error = user.fail(&["logout", "--profile", "work"], 2).await;
    assert!(error.contains("there is no profile work; saved profiles: default"), "{error}");
    let output = user.json(&["logout"]).await;
    assert_eq!(output["profile"], "default");
    user.fail(&["ls"], 2).await;
}

#[tokio::test]
async fn a_failed_login_is_not_saved() {
    let app = TestApp::start().await;
    let user = User::without_server();
    for (words, key, code, expected) in [
        (vec!["login", "--server", &app.base], "dossier_wrong", 4, "rejects this API key"),
        (vec!["login", "--server", &app.base], "", 2, "that is not an API key"),
        (vec!["login", "--server", "ftp://x"], "key", 2, "ftp://x is not a server URL"),
        (vec!["login", "--server", "http://192.0.2.1"], "key", 2, "-> use https, or --allow-http"),
        (
            vec!["login", "--server", "http://127.0.0.1:1"],
            "key",
            5,
            "cannot connect to http://127.0.0.1:1: Connection",
        ),
    ] {
        let output = user.run_with_stdin(&words, key.as_bytes().to_vec()).await;
        assert_eq!(output.code, Some(code), "{words:?}: {output:?}");
        assert!(output.err.contains(expected), "{words:?}: {}", output.err);
    }
    assert!(!user.profiles().exists());
}

#[tokio::test]
async fn a_key_is_sent_only_to_the_server_of_its_profile() {
    let (app, other) = (TestApp::start().await, TestApp::start().await);
    let user = User::without_server();
    for (name, app) in [("default", &app), ("other", &other)] {
        let words = ["login", "--server", &app.base, "--profile", name];
        let output = user.run_with_stdin(&words, app.key.clone().into_bytes()).await;
        assert_eq!(output.code, Some(0), "{output:?}");
    }
    user.succeed(&["ls", "--server", &app.base]).await;
    let error = user.fail(&["ls", "--server", &other.base], 4).await;
    assert!(error.contains("no API key is saved for"), "{error}");
    let status = user.json(&["status", "--profile", "other"]).await;
    assert_eq!(status["server"], other.base);
    let error = user.fail(&["ls", "--profile", "third"], 2).await;
    assert!(error.contains("there is no profile third; saved profiles: default, other"), "{error}");
    // An explicitly named profile wins over the environment; otherwise the environment wins.
    let user =
        user.with_variable("DOSSIER_SERVER", &other.base).with_variable("DOSSIER_KEY", &other.key);
    assert_eq!(user.json(&["status", "--profile", "default"]).await["server"], app.base);
    assert_eq!(user.json(&["status"]).await["server"], other.base);
}

#[tokio::test]
async fn a_private_certificate_authority_is_given_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, ready) = Dossier::serve(folder.path(), &[]);
    let text = |name: &str| ready[name].as_str().unwrap();
    let user = User::without_server();
    let words = ["login", "--server", text("https")];
    let output = user.run_with_stdin(&words, text("apiKey").as_bytes().to_vec()).await;
    assert_eq!(output.code, Some(5), "{output:?}");
    assert!(output.err.contains("-> use --ca FILE to trust its CA"), "{}", output.err);
    let words = [&words[..], &["--ca", text("caFile")]].concat();
    let output = user.run_with_stdin(&words, text("apiKey").as_bytes().to_vec()).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(user.json(&["ls"]).await, json!({ "contacts": [] }));
}

#[tokio::test]
async fn with_several_sites_a_login_needs_the_site() {
    let app = TestApp::start().await;
    let user = User::of(&app);
    let data = app.data().to_str().unwrap();
    user.succeed(&["site", "create", "--data", data]).await;
    app.app().registry.refresh(&app.app().db).await.unwrap();
    let error = user.fail(&["ls"], 4).await;
    let expected = "the server has several sites\n  -> choose the key's site: --site ID";
    assert!(error.contains(expected), "{error}");
    user.succeed(&["ls", "--site", &app.site.to_string()]).await;
}

#[tokio::test]
async fn a_read_only_key_reports_the_missing_scope() {
    let app = TestApp::start().await;
    let data = app.data().to_str().unwrap();
    let created =
        User::without_server().json(&["key", "create", "--scope", "VIEW", "--data", data]).await;
    let user = User::with_server(&app.base, created["apiKey"].as_str().unwrap());
    assert_eq!(user.json(&["status"]).await["scopes"], json!(["VIEW"]));
    user.write("a.csv", b"a,b\n");
    let words = ["put", &Uuid::new_v4().to_string(), "a.csv"];
    let error = user.fail(&words, 4).await;
    assert!(error.contains("a.csv: this API key lacks the scope"), "{error}");
    assert!(
        error.contains(
            "\n  -> to create a key on the server: dossier key create --scope VIEW,MODIFY"
        ),
        "{error}"
    );
    // Programs see the same, as JSON.
    let error = user.fail(&[&words[..], &["--json"]].concat(), 4).await;
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(
        (&error["error"]["kind"], &error["error"]["exitCode"]),
        (&json!("notAllowed"), &json!(4))
    );
}
