//! The client at a terminal: bars that fit, a key that is not shown, a question before a delete.

use uuid::Uuid;

use crate::support::TestApp;
use crate::support::files::{PDF, csv};
use crate::support::gate::Gate;
use crate::support::terminal::{Person, Terminal};

/// What was drawn, as lines, without what moves the cursor and sets colours.
fn drawn(text: &str) -> Vec<String> {
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
async fn bars_fit_into_terminals_of_every_width() {
    let app = TestApp::start().await;
    for columns in [40, 100] {
        let gate = Gate::start(&app.base).await;
        let (person, contact) = (Person::at(&gate.url, &app.key), Uuid::new_v4());
        let name = format!("{}.csv", "long name ".repeat(12));
        person.write(&name, &csv(6 << 20));
        gate.hold_after(3 << 20);
        let id = contact.to_string();
        let mut terminal = Terminal::start(person.command(&["put", &id, &name]), columns);
        gate.held().await;
        let (mut terminal, gate) = tokio::task::spawn_blocking(move || {
            terminal.shows(if columns == 40 { "%" } else { "MiB/" });
            (terminal, gate)
        })
        .await
        .unwrap();
        gate.release();
        let (code, text) = tokio::task::spawn_blocking(move || {
            terminal.shows("(6.0 MiB)");
            terminal.ended()
        })
        .await
        .unwrap();
        assert_eq!(code, Some(0), "{text}");
        for line in drawn(&text).iter().filter(|line| !line.contains("(6.0 MiB)")) {
            let width = console::measure_text_width(line);
            assert!(width <= usize::from(columns), "{width} columns of {columns}: {line:?}");
        }
        let is_wide = drawn(&text).iter().any(|line| line.contains("MiB/"));
        assert_eq!(is_wide, columns == 100, "{text}");
    }
}

#[tokio::test]
async fn a_key_that_is_typed_is_not_shown() {
    let app = TestApp::start().await;
    let person = Person::nowhere();
    let command = person.command(&["login", "--server", &app.base]);
    let key = app.key.clone();
    let (code, text) = tokio::task::spawn_blocking(move || {
        let mut terminal = Terminal::start(command, 80);
        terminal.shows("(it is not shown): ");
        terminal.types(&format!("{key}\n"));
        terminal.ended()
    })
    .await
    .unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains(&app.key) && text.contains("Logged in to"), "{text}");
    person.done(&["ls"]).await;
}

#[tokio::test]
async fn a_delete_is_asked_for_and_no_is_the_default() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (person, id) = (Person::of(&app), contact.to_string());
    person.write("a.pdf", PDF);
    let sent = person.json(&["put", &id, "a.pdf"]).await;
    let attachment = sent["files"][0]["attachmentId"].as_str().unwrap();
    for (typed, code, left) in [("\n", 1, 1), ("y\n", 0, 0)] {
        let command = person.command(&["rm", &id, attachment]);
        let (ended, text) = tokio::task::spawn_blocking(move || {
            let mut terminal = Terminal::start(command, 80);
            terminal.shows("[y/N] ");
            terminal.types(typed);
            terminal.ended()
        })
        .await
        .unwrap();
        assert_eq!(ended, Some(code), "{text}");
        assert!(text.contains("  a.pdf"), "{text}");
        assert_eq!(app.list(contact).await.ok()["metadata"]["total"], left);
    }
}

#[tokio::test]
async fn colours_are_for_terminals_whose_owner_wants_them() {
    let app = TestApp::start().await;
    for (variable, has_colours) in [(("LANG", "C"), true), (("NO_COLOR", "1"), false)] {
        let person = Person::of(&app).with(variable.0, variable.1);
        let command = person.command(&["status"]);
        let (code, text) =
            tokio::task::spawn_blocking(|| Terminal::start(command, 80).ended()).await.unwrap();
        assert_eq!((code, text.contains('\u{1b}')), (Some(0), has_colours), "{text:?}");
        assert!(!person.done(&["status"]).await.contains('\u{1b}'));
    }
}
