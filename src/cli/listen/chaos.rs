//! Simulates faults of a real network, reproducibly by seed: events arrive twice, late and out of
//! order (R20).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;

/// The fault flags of `dossier listen`.
#[derive(Args)]
pub(super) struct Flags {
    /// Forward this percentage of events twice.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent())]
    repeat: u64,
    /// Forward this percentage of events after the next one.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent())]
    reorder: u64,
    /// Delay each event by up to this many milliseconds.
    #[arg(long, value_name = "MILLISECONDS", default_value = "0")]
    delay: u64,
    /// Seed of the random choice. The same seed picks the same events.
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    seed: u64,
}

fn percent() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(0..=100)
}

/// The faults that apply to one event; by default none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Faults {
    pub(super) twice: bool,
    pub(super) swap: bool,
    pub(super) delay: Duration,
}

pub(super) struct Chaos {
    repeat: u64,
    reorder: u64,
    delay: u64,
    state: Mutex<u64>,
    held: Mutex<Option<String>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Chaos {
    pub(super) fn new(flags: &Flags) -> Self {
        Self {
            repeat: flags.repeat,
            reorder: flags.reorder,
            delay: flags.delay,
            state: Mutex::new(flags.seed),
            held: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    /// Draws the faults for the next event.
    pub(super) fn next_faults(&self) -> Faults {
        let mut state = lock(&self.state);
        let (twice, swap, delay) = (next(&mut state), next(&mut state), next(&mut state));
        Faults {
            twice: twice % 100 < self.repeat,
            swap: swap % 100 < self.reorder,
            delay: Duration::from_millis(delay % (self.delay + 1)),
        }
    }

    /// Holds an event back; returns the event that was held before.
    pub(super) fn hold(&self, token: String) -> Option<String> {
        lock(&self.held).replace(token)
    }

    /// Takes the event that is held back.
    pub(super) fn take(&self) -> Option<String> {
        lock(&self.held).take()
    }

    /// Runs a task in the background; it is aborted when `self` is dropped.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `SplitMix64`: small, and the same on every platform.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(repeat: u64, reorder: u64, delay: u64, seed: u64) -> Vec<Faults> {
        let chaos = Chaos::new(&Flags { repeat, reorder, delay, seed });
        (0..1_000).map(|_| chaos.next_faults()).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_faults_and_percentages_hold() {
        let (one, same, other) = (draw(30, 10, 200, 7), draw(30, 10, 200, 7), draw(30, 10, 200, 8));
        assert!(one == same && one != other);
        let twice = one.iter().filter(|faults| faults.twice).count();
        let swapped = one.iter().filter(|faults| faults.swap).count();
        assert!((250..350).contains(&twice) && (70..130).contains(&swapped), "{twice} {swapped}");
        assert!(one.iter().all(|faults| faults.delay <= Duration::from_millis(200)));
        assert!(draw(0, 0, 0, 1).iter().all(|faults| *faults == Faults::default()));
    }
}
