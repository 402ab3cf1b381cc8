//! Generates docs/settings.md from the defaults and their comments.

use std::fmt::Write as _;

use crate::{assert_up_to_date, cell};

const INTRODUCTION: &str = "\
# Settings

No setting is needed. Each can be a line in a TOML file (`--config FILE` or `DOSSIER_CONFIG`), a variable
(`DOSSIER_UPLOAD_MAX_BYTES=…`) or an argument (`--set upload_max_bytes=…`). Arguments win, then variables, then the file.
Unknown names are rejected.

`dossier serve` also has the flags `--data`, `--listen`, `--listen-tls`, `--public-url`, `--tls-cert`, `--tls-key` and
`--tls-name`; its `--dev` sets `webhook_allow_private`. `dossier settings` prints all settings as a file, and
`dossier doctor` checks one:

```sh
dossier settings > dossier.toml
dossier doctor --config dossier.toml
```

Names end in their unit. `dossier site set` gives one site its own lifetime of links and its own quotas.

<!-- Generated from config.default.toml by UPDATE_DOCS=1 cargo test --test docs -->

| setting | default | meaning |
|---|---|---|
";

/// Settings that share a comment.
#[derive(Default)]
struct Group {
    comment: String,
    names: Vec<String>,
    defaults: Vec<String>,
}

fn groups() -> Vec<Group> {
    let mut groups = vec![Group::default()];
    for line in dossier::config::DEFAULTS.lines() {
        let Some(group) = groups.last_mut() else { continue };
        if let Some(comment) = line.strip_prefix('#') {
            group.comment.push_str(comment);
        } else if let Some((name, default)) = line.split_once(" = ") {
            group.names.push(format!("`{name}`"));
            group.defaults.push(format!("`{default}`"));
        } else {
            groups.push(Group::default());
        }
    }
    // The comment on top of the file belongs to no setting.
    groups.retain(|group| !group.names.is_empty());
    groups
}

fn page() -> String {
    let mut text = INTRODUCTION.to_owned();
    for Group { comment, names, defaults } in groups() {
        let (names, defaults) = (names.join("<br>"), defaults.join("<br>"));
        writeln!(text, "| {names} | {defaults} | {} |", cell(comment.trim())).unwrap();
    }
    text
}

#[test]
fn every_setting_is_in_the_book() {
    let text = page();
    let settings: toml::Table = dossier::config::DEFAULTS.parse().unwrap();
    for setting in settings.keys() {
        assert!(text.contains(&format!("`{setting}`")), "{setting}");
    }
    for group in groups() {
        assert!(!group.comment.is_empty(), "{} has no comment", group.names.join(", "));
    }
    assert_up_to_date("docs/settings.md", &text);
}
