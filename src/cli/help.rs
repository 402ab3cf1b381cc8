//! The help of the whole program: its commands in groups, since there are too many for one list.

use std::fmt::Write as _;

use clap::Command;
use clap::builder::styling::Style;

/// What belongs together. Every command is in one of them; a test says when one is forgotten.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "A server, and what it keeps",
        &["serve", "demo", "doctor", "fsck", "backup", "storage", "db", "migrate", "settings"],
    ),
    ("Files, on any server", &["login", "put", "ls", "get", "rm", "open", "status", "logout"]),
    (
        "Who may and whose it is, beside the server's data",
        &["site", "key", "sign-in", "contact", "inbound"],
    ),
    ("Events", &["webhook", "listen", "trigger"]),
    ("This program", &["openapi", "completions", "man", "help"]),
];
/// What `help` says of itself; the parser adds that command after this text is made.
const HELP: &str = "Print this, or the help of a command";
/// Where what a command does begins.
const INDENT: usize = 15;

/// Lets the help show the commands in their groups.
pub(super) fn grouped(command: Command) -> Command {
    let (heading, name) = (Style::new().bold().underline(), Style::new().bold());
    let mut template = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (title, names) in GROUPS {
        let _ = write!(template, "\n{heading}{title}:{heading:#}\n");
        for one in *names {
            let about = command.find_subcommand(one).and_then(Command::get_about);
            let about = about.map_or_else(|| HELP.to_owned(), ToString::to_string);
            let space = " ".repeat(INDENT.saturating_sub(2 + one.len()));
            let _ = writeln!(template, "  {name}{one}{name:#}{space}{about}");
        }
    }
    let _ = write!(template, "\n{heading}Options:{heading:#}\n{{options}}");
    command.help_template(template)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Arguments;

    /// Columns of a terminal that nobody has made larger.
    const COLUMNS: usize = 80;

    #[test]
    fn every_command_is_in_one_group_and_fits_a_line() {
        let mut command = grouped(Arguments::command());
        command.build();
        let known: BTreeSet<_> = command
            .get_subcommands()
            .filter(|one| !one.is_hide_set())
            .map(Command::get_name)
            .collect();
        let listed: Vec<_> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), known);
        assert_eq!(listed.len(), known.len(), "one stands twice");
        let help = command.render_help().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
        assert!(
            help.contains("\n  serve        Answer requests, until SIGTERM or SIGINT\n"),
            "{help}"
        );
    }
}
