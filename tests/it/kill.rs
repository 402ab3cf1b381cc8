//! The kill loop: 20 kills daily, 1,000 in `scripts/test --all`. CONTRIBUTING.md describes longer runs.

use std::path::Path;
use std::time::Duration;

use crate::rig::{self, Figures, Plan};
use crate::support::runs_long_forms;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_changes_survive_kills_and_nothing_half_done_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (kills, minutes) = if runs_long_forms() { (1_000, 30) } else { (20, 1) };
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    let plan = Plan {
        program: Path::new(env!("CARGO_BIN_EXE_dossier")).to_path_buf(),
        folder: folder.path().to_path_buf(),
        kills,
        max_between: Duration::from_millis(200),
        seed,
        // Fewer kills on a loaded machine, rather than a long test.
        max_time: Duration::from_mins(minutes),
    };
    let mut figures = Figures::default();
    let outcome = rig::run(plan, &mut figures).await;
    assert!(
        outcome.is_ok(),
        "{:?}\nseed {seed}: {figures:?}\n{}",
        outcome.err(),
        rig::end_of_log(folder.path())
    );
    assert_eq!(figures.losses, 0, "seed {seed}");
    // The kills interrupted work; otherwise the test proves nothing.
    let interrupted = figures.unanswered_stored + figures.unanswered_absent;
    assert!(figures.uploads > 0 && interrupted > 0, "seed {seed}: {figures:?}");
    assert!(figures.fscks > 0, "seed {seed}: {figures:?}");
}
