//! The command line as a whole: exit codes are documented, every command has help, and shells and
//! man pages are generated. `tests/book` runs the commands of docs/cli.md.

use std::process::Command;

use crate::support::terminal::User;
use crate::support::{printed, run};

const DOCS: &str = include_str!("../../docs/cli.md");
const EXIT_CODES: &str = include_str!("../../docs/exit-codes.md");

#[test]
fn exit_codes_are_in_the_docs_and_the_help() {
    for command in ["login", "put", "ls", "get", "rm", "open", "status"] {
        let help = printed(&[command, "--help"]);
        assert!(help.contains("Exit codes:") && help.contains("--json"), "{command}: {help}");
        assert!(DOCS.contains(&format!("dossier {command}")), "{command} is not in docs/cli.md");
    }
    for code in 0..=5 {
        let row = format!("| {code} |");
        assert!(EXIT_CODES.contains(&row), "{code} is not in docs/exit-codes.md");
    }
}

#[test]
fn invalid_usage_exits_with_2() {
    for words in [&["put"][..], &["put", "no-guid", "a"], &["get", "--nothing"], &["no-command"]] {
        assert_eq!(run(words).code, Some(2), "{words:?}");
    }
}

#[test]
fn plural_command_names_are_accepted() {
    for (singular, plural) in
        [("key", "keys"), ("site", "sites"), ("contact", "contacts"), ("webhook", "webhooks")]
    {
        assert_eq!(printed(&[plural, "--help"]), printed(&[singular, "--help"]));
    }
}

#[test]
fn shell_completions_cover_every_command() {
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
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    printed(&["man", "--to", folder.path().to_str().unwrap()]);
    for page in ["dossier", "dossier-put", "dossier-key-create", "dossier-webhook-replay"] {
        let text = std::fs::read_to_string(folder.path().join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".TH ") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    assert!(printed(&["man"]).contains(".SH NAME"));
}

#[test]
fn client_variables_are_not_server_settings() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("none");
    let words = ["doctor", "--data", data.to_str().unwrap(), "--json"];
    let user = User::with_server("http://127.0.0.1:1", "key").with_variable("DOSSIER_PROFILE", "x");
    let output = user.with_variable("DOSSIER_SITE", "y").start(&words).wait();
    assert!(output.out.contains("\"checks\""), "{output:?}");
}
