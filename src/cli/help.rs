//! The program's help: lists the commands in groups, because there are too many for one list.

use std::fmt::Write as _;

use clap::Command;
use clap::builder::styling::Style;

/// The groups and their commands. A test fails if a command is in no group.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Server and stored data",
        &["serve", "demo", "doctor", "fsck", "backup", "storage", "db", "migrate", "settings"],
    ),
    ("Client, for any server", &["login", "put", "ls", "get", "rm", "open", "status", "logout"]),
    ("Sites, keys and contacts, on the server", &["site", "key", "sign-in", "contact", "inbound"]),
    ("Events", &["webhook", "listen", "trigger"]),
    ("Other", &["openapi", "completions", "man", "help"]),
];
/// The text for `help`, which clap adds only after the template is built.
const HELP: &str = "Print this help, or the help of a command";
/// Column in which the descriptions begin.
const INDENT: usize = 15;

/// Makes the help list the commands by group.
pub(super) fn grouped(command: Command) -> Command {
    let (heading, bold) = (Style::new().bold().underline(), Style::new().bold());
    let mut template = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (title, names) in GROUPS {
        let _ = write!(template, "\n{heading}{title}:{heading:#}\n");
        for name in *names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map_or_else(|| HELP.to_owned(), ToString::to_string);
            let space = " ".repeat(INDENT.saturating_sub(2 + name.len()));
            let _ = writeln!(template, "  {bold}{name}{bold:#}{space}{about}");
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

    /// Default width of a terminal.
    const COLUMNS: usize = 80;

    #[test]
    fn every_command_is_in_one_group_and_fits_a_line() {
        let mut command = grouped(Arguments::command());
        command.build();
        let known: BTreeSet<_> = command
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .map(Command::get_name)
            .collect();
        let listed: Vec<_> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), known);
        assert_eq!(listed.len(), known.len(), "a command is listed twice");
        let help = command.render_help().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
        assert!(help.contains("\n  serve        "), "{help}");
    }
}
