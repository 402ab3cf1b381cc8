//! `dossier completions` and `dossier man`, generated from the definition of the command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command, ValueEnum};

use super::print_stdout;

/// Arguments of `dossier completions`.
#[derive(Args)]
pub(super) struct Completions {
    /// The shell to complete for.
    shell: Shell,
}

/// Shells with completion support.
#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Arguments of `dossier man`.
#[derive(Args)]
pub(super) struct Man {
    /// Write all pages to this folder.
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
    print_stdout(String::from_utf8(out).context("the completion script is not UTF-8")?.trim_end())
}

/// Runs `dossier man`.
pub(super) fn man(mut definition: Command, command: &Man) -> anyhow::Result<()> {
    // Gives the commands their full names and removes the hidden ones.
    definition.build();
    let Some(folder) = &command.to else {
        return print_stdout(
            String::from_utf8(render_page(&definition)?)
                .context("the manual page is not UTF-8")?
                .trim_end(),
        );
    };
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let count = write_pages(&definition, folder)?;
    print_stdout(&format!(
        "Wrote {count} pages to {}. To read one: man -l {0}/dossier.1",
        folder.display()
    ))
}

fn render_page(definition: &Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(definition.clone()).render(&mut page)?;
    Ok(page)
}

fn write_pages(definition: &Command, folder: &Path) -> anyhow::Result<usize> {
    let name = definition.get_display_name().unwrap_or(definition.get_name());
    let path = folder.join(format!("{name}.1"));
    let written = std::fs::File::create(&path)
        .and_then(|mut file| file.write_all(&render_page(definition).unwrap_or_default()));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    let mut count = 1;
    let visible = definition.get_subcommands().filter(|command| !command.is_hide_set());
    for command in visible.filter(|command| command.get_name() != "help") {
        count += write_pages(command, folder)?;
    }
    Ok(count)
}
