//! The short form of the kill loop; CONTRIBUTING.md says how to run the long one.

use std::path::Path;
use std::time::Duration;

use crate::rig::{self, Figures, Plan};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_and_nothing_half_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    let plan = Plan {
        program: Path::new(env!("CARGO_BIN_EXE_dossier")).to_path_buf(),
        folder: folder.path().to_path_buf(),
        kills: 100,
        most_between: Duration::from_millis(200),
        seed,
        // Fewer kills on a machine under load, rather than a long wait.
        most_time: Duration::from_secs(90),
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
    // The kills hit work: otherwise this shows nothing.
    let interrupted = figures.unanswered_whole + figures.unanswered_absent;
    assert!(figures.uploads > 0 && interrupted > 0, "seed {seed}: {figures:?}");
    assert!(figures.fscks > 0, "seed {seed}: {figures:?}");
}
