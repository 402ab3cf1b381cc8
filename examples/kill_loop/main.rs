//! Kills a server under load again and again and checks its promises: `kill_loop [--program PATH]
//! [--kills N] [--seconds-between S] [--seed N]`. Exits with 1 and keeps the data folder when
//! anything acknowledged was lost or anything is half done.

mod rig;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use rig::{Figures, Plan};

/// Kills a server under load again and again and checks that nothing acknowledged is lost.
#[derive(Parser)]
struct Arguments {
    /// The server [default: the one built with this program].
    #[arg(long)]
    program: Option<PathBuf>,
    /// Number of kills.
    #[arg(long, default_value_t = 1_000)]
    kills: u64,
    /// The longest time under load between two kills; each time is random up to this.
    #[arg(long, default_value_t = 1.0)]
    seconds_between: f64,
    /// No new round starts after this many minutes.
    #[arg(long, default_value_t = 24 * 60)]
    minutes: u64,
    /// Seed for files, actions and times [default: random].
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "it is this program's output")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let folder = tempfile::Builder::new().prefix("kill-loop-").tempdir()?;
    println!("seed {seed}, data in {}", folder.path().display());
    let plan = Plan {
        program: arguments.program.map_or_else(built_beside, Ok)?,
        folder: folder.path().to_path_buf(),
        kills: arguments.kills,
        max_between: Duration::try_from_secs_f64(arguments.seconds_between)?,
        seed,
        max_time: Duration::from_mins(arguments.minutes),
    };
    let mut figures = Figures::default();
    let outcome = rig::run(plan, &mut figures).await;
    print(&figures);
    let Err(error) = outcome else { return Ok(ExitCode::SUCCESS) };
    let kept = folder.keep();
    println!("\nVIOLATION (seed {seed}, data kept in {}): {error:?}", kept.display());
    println!("\nThe end of the server's log:\n{}", rig::end_of_log(&kept));
    Ok(ExitCode::FAILURE)
}

/// The server that was built with this program.
fn built_beside() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let profile = own.parent().and_then(|examples| examples.parent());
    let program = profile.context("this program is not in a target folder")?.join("dossier");
    anyhow::ensure!(program.is_file(), "{} is missing; run cargo build", program.display());
    Ok(program)
}

#[expect(clippy::print_stdout, reason = "it is this program's output")]
fn print(figures: &Figures) {
    let mut times = figures.recoveries.clone();
    times.sort_unstable();
    let p50 = times.get(times.len() / 2).copied().unwrap_or_default();
    let max = times.last().copied().unwrap_or_default();
    println!(
        "kills                  {} ({} while starting)",
        figures.kills, figures.kills_while_starting
    );
    println!("uploads acknowledged   {}", figures.uploads);
    println!("deletes acknowledged   {}", figures.deletes);
    println!(
        "uploads not answered   {} stored, {} absent",
        figures.unanswered_stored, figures.unanswered_absent
    );
    println!("  sent again           {}", figures.retried);
    println!("    resumed            {}", figures.resumed);
    println!(
        "left in staging        {} ({} linked to their final path)",
        figures.staged, figures.linked
    );
    println!("files compared         {}", figures.hashed);
    println!("losses                 {}", figures.losses);
    println!("fsck, found nothing    {} times", figures.fscks);
    println!("recovery               p50 {p50:.1?}, max {max:.1?}");
    println!("last fsck              {}", figures.last_fsck);
}
