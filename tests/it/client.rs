//! The command line as a whole: docs/cli.md does what it says, help is there for everything, shells and
//! man get what they need.

use std::process::Command;

use uuid::Uuid;

use crate::support::files::{PDF, csv};
use crate::support::terminal::Person;
use crate::support::{PNG, PROGRAM, TestApp, printed, run};

const DOCS: &str = include_str!("../../docs/cli.md");

/// The commands of the docs, in their order.
fn commands_of_the_docs() -> String {
    let blocks = DOCS.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.collect()
}

#[tokio::test]
async fn the_commands_of_the_docs_work() {
    let app = TestApp::start().await;
    let script = commands_of_the_docs();
    assert!(script.lines().count() > 15, "{script}");
    let person = Person::nowhere();
    person.write("report.pdf", PDF);
    person.write("key.txt", format!("{}\n", app.key).as_bytes());
    person.write("photos/garden.png", PNG);
    person.write("photos/2026/house.png", PNG);
    person.write("people.csv", &csv(1_000));
    std::fs::create_dir(person.path("bin")).unwrap();
    std::os::unix::fs::symlink(PROGRAM, person.path("bin/dossier")).unwrap();
    let script = script.replace("http://127.0.0.1:8080", &app.base);
    let path = format!("{}:/usr/bin:/bin", person.path("bin").display());
    let mut shell = Command::new("sh");
    shell
        .args(["-euc", &script])
        .env_clear()
        .env("PATH", path)
        .env("HOME", person.path("home"))
        .env("CONTACT", Uuid::new_v4().to_string())
        .current_dir(person.path(""));
    let output = tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}\n{script}");
    assert_eq!(std::fs::read(person.path("fetched/report.pdf")).unwrap(), PDF);
    assert_eq!(std::fs::read(person.path("copy.pdf")).unwrap(), PDF);
}

#[test]
fn exit_codes_stand_in_the_docs_and_in_the_help() {
    for command in ["login", "put", "ls", "get", "rm", "open", "status"] {
        let help = printed(&[command, "--help"]);
        assert!(help.contains("Exit codes:") && help.contains("--json"), "{command}: {help}");
        assert!(DOCS.contains(&format!("dossier {command}")), "{command} is not in docs/cli.md");
    }
    for code in 0..=5 {
        assert!(DOCS.contains(&format!("| {code} |")), "{code} is not in docs/cli.md");
    }
}

#[test]
fn a_usage_that_cannot_be_is_2() {
    for words in [&["put"][..], &["put", "no-guid", "a"], &["get", "--nothing"], &["no-command"]] {
        assert_eq!(run(words).code, Some(2), "{words:?}");
    }
}

#[test]
fn the_plural_is_understood() {
    for (singular, plural) in
        [("key", "keys"), ("site", "sites"), ("contact", "contacts"), ("webhook", "webhooks")]
    {
        assert_eq!(printed(&[plural, "--help"]), printed(&[singular, "--help"]));
    }
}

#[test]
fn shells_are_told_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        for word in ["put", "parallel", "webhook", "status"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dossier.bash");
    std::fs::write(&file, printed(&["completions", "bash"])).unwrap();
    let ask = format!(
        ". {} && COMP_WORDS=(dossier st) COMP_CWORD=1 && _dossier dossier st dossier && echo $COMPREPLY",
        file.display()
    );
    let output = Command::new("bash").args(["-c", &ask]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "status\n");
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    let folder = tempfile::tempdir().unwrap();
    printed(&["man", "--to", folder.path().to_str().unwrap()]);
    for page in ["dossier", "dossier-put", "dossier-key-create", "dossier-webhook-replay"] {
        let text = std::fs::read_to_string(folder.path().join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".TH ") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    assert!(printed(&["man"]).contains(".SH NAME"));
}

#[test]
fn variables_of_the_client_are_no_settings_of_a_server() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("none");
    let words = ["doctor", "--data", data.to_str().unwrap(), "--json"];
    let person = Person::at("http://127.0.0.1:1", "key").with("DOSSIER_PROFILE", "x");
    let ended = person.with("DOSSIER_SITE", "y").start(&words).ended();
    assert!(ended.out.contains("\"checks\""), "{ended:?}");
}
