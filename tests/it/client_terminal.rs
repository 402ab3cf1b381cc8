//! The client at a terminal: progress bars that fit, hidden keys, confirmation of deletes.

use uuid::Uuid;

use crate::support::TestApp;
use crate::support::files::{PDF, csv};
use crate::support::gate::Gate;
use crate::support::terminal::{Terminal, User};

/// The lines drawn, without cursor movements and colours.
fn drawn_lines(text: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                let sequence = characters.next() == Some('[');
                while sequence && characters.next().is_some_and(|next| !next.is_ascii_alphabetic())
                {
                }
                plain.push('\n');
            }
            '\r' => plain.push('\n'),
            other => plain.push(other),
        }
    }
    plain.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn progress_bars_fit_terminals_of_every_width() {
    let app = TestApp::start().await;
    for columns in [40, 100] {
        let gate = Gate::start(&app.base).await;
        let (user, contact) = (User::with_server(&gate.url, &app.key), Uuid::new_v4());
        let name = format!("{}.csv", "long name ".repeat(12));
        user.write(&name, &csv(6 << 20));
        gate.hold_after(3 << 20);
        let id = contact.to_string();
        let mut terminal = Terminal::start(user.command(&["put", &id, &name]), columns);
        gate.wait_until_held().await;
        let (mut terminal, gate) = tokio::task::spawn_blocking(move || {
            terminal.wait_for(if columns == 40 { "%" } else { "MiB/" });
            (terminal, gate)
        })
        .await
        .unwrap();
        gate.release();
        let (code, text) = tokio::task::spawn_blocking(move || {
            terminal.wait_for("(6.0 MiB)");
            terminal.wait()
        })
        .await
        .unwrap();
        assert_eq!(code, Some(0), "{text}");
        for line in drawn_lines(&text).iter().filter(|line| !line.contains("(6.0 MiB)")) {
            let width = console::measure_text_width(line);
            assert!(width <= usize::from(columns), "{width} columns of {columns}: {line:?}");
        }
        let is_wide = drawn_lines(&text).iter().any(|line| line.contains("MiB/"));
        assert_eq!(is_wide, columns == 100, "{text}");
    }
}

#[tokio::test]
async fn a_typed_key_is_not_shown() {
    let app = TestApp::start().await;
    let user = User::without_server();
    let command = user.command(&["login", "--server", &app.base]);
    let key = app.key.clone();
    let (code, text) = tokio::task::spawn_blocking(move || {
        let mut terminal = Terminal::start(command, 80);
        terminal.wait_for("(input is hidden): ");
        terminal.type_text(&format!("{key}\n"));
        terminal.wait()
    })
    .await
    .unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains(&app.key) && text.contains("Logged in to"), "{text}");
    user.succeed(&["ls"]).await;
}

#[tokio::test]
async fn a_delete_asks_for_confirmation_and_defaults_to_no() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (user, id) = (User::of(&app), contact.to_string());
    user.write("a.pdf", PDF);
    let sent = user.json(&["put", &id, "a.pdf"]).await;
    let attachment = sent["files"][0]["attachmentId"].as_str().unwrap();
    for (typed, code, left) in [("\n", 1, 1), ("y\n", 0, 0)] {
        let command = user.command(&["rm", &id, attachment]);
        let (output, text) = tokio::task::spawn_blocking(move || {
            let mut terminal = Terminal::start(command, 80);
            terminal.wait_for("[y/N] ");
            terminal.type_text(typed);
            terminal.wait()
        })
        .await
        .unwrap();
        assert_eq!(output, Some(code), "{text}");
        assert!(text.contains("  a.pdf"), "{text}");
        assert_eq!(app.list(contact).await.ok()["metadata"]["total"], left);
    }
}

#[tokio::test]
async fn colours_appear_only_on_terminals_that_want_them() {
    let app = TestApp::start().await;
    for (variable, has_colours) in [(("LANG", "C"), true), (("NO_COLOR", "1"), false)] {
        let user = User::of(&app).with_variable(variable.0, variable.1);
        let command = user.command(&["status"]);
        let (code, text) =
            tokio::task::spawn_blocking(|| Terminal::start(command, 80).wait()).await.unwrap();
        assert_eq!((code, text.contains('\u{1b}')), (Some(0), has_colours), "{text:?}");
        assert!(!user.succeed(&["status"]).await.contains('\u{1b}'));
    }
}
