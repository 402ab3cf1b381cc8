//! `dossier completions` and `dossier man`: what is made from the definition of the command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command, ValueEnum};

use super::say;

/// Arguments of `dossier completions`.
#[derive(Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

/// Shells whose completion is made.
#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Arguments of `dossier man`.
#[derive(Args)]
pub(super) struct Man {
    /// A folder for all pages.
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

/// Runs `dossier completions`.
pub(super) fn completions(mut definition: Command, command: &Completions) -> anyhow::Result<()> {
    use clap_complete::shells;
    let (name, mut out) = (definition.get_name().to_owned(), Vec::new());
    let (definition, out_to) = (&mut definition, &mut out);
    match command.shell {
        Shell::Bash => clap_complete::generate(shells::Bash, definition, name, out_to),
        Shell::Zsh => clap_complete::generate(shells::Zsh, definition, name, out_to),
        Shell::Fish => clap_complete::generate(shells::Fish, definition, name, out_to),
    }
    say(String::from_utf8(out).context("the completion is no text")?.trim_end())
}

/// Runs `dossier man`.
pub(super) fn man(mut definition: Command, command: &Man) -> anyhow::Result<()> {
    // Gives the commands their full names, and takes those away that are not shown.
    definition.build();
    let Some(folder) = &command.to else {
        return say(String::from_utf8(page(&definition)?)
            .context("the page is no text")?
            .trim_end());
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let count = write_pages(&definition, folder)?;
    say(&format!("{count} pages are in {}: man -l {0}/dossier.1", folder.display()))
}

fn page(definition: &Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(definition.clone()).render(&mut page)?;
    Ok(page)
}

fn write_pages(definition: &Command, folder: &Path) -> anyhow::Result<usize> {
    let name = definition.get_display_name().unwrap_or(definition.get_name());
    let path = folder.join(format!("{name}.1"));
    let written = std::fs::File::create(&path)
        .and_then(|mut file| file.write_all(&page(definition).unwrap_or_default()));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    let mut count = 1;
    let shown = definition.get_subcommands().filter(|one| !one.is_hide_set());
    for one in shown.filter(|one| one.get_name() != "help") {
        count += write_pages(one, folder)?;
    }
    Ok(count)
}
