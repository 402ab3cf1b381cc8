//! What may happen to events on a real network, on purpose and the same again with the same seed:
//! they come twice, late, and in another order (R20).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;

/// Flags of `dossier listen`.
#[derive(Args)]
pub(super) struct Flags {
    /// Forward so many of 100 events twice.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent())]
    repeat: u64,
    /// Let so many of 100 events go behind the next one.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent())]
    reorder: u64,
    /// Forward each event up to so many milliseconds late.
    #[arg(long, value_name = "MILLISECONDS", default_value = "0")]
    delay: u64,
    /// Which events these are: the same for the same seed.
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    seed: u64,
}

fn percent() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(0..=100)
}

/// What happens to one event; by default nothing unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fate {
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
    late: Mutex<JoinSet<()>>,
}

impl Chaos {
    pub(super) fn new(flags: &Flags) -> Self {
        Self {
            repeat: flags.repeat,
            reorder: flags.reorder,
            delay: flags.delay,
            state: Mutex::new(flags.seed),
            held: Mutex::default(),
            late: Mutex::default(),
        }
    }

    /// What happens to the next event.
    pub(super) fn fate(&self) -> Fate {
        let mut state = lock(&self.state);
        let (twice, swap, delay) = (next(&mut state), next(&mut state), next(&mut state));
        Fate {
            twice: twice % 100 < self.repeat,
            swap: swap % 100 < self.reorder,
            delay: Duration::from_millis(delay % (self.delay + 1)),
        }
    }

    /// Holds an event back; returns the one that was held before.
    pub(super) fn hold(&self, token: String) -> Option<String> {
        lock(&self.held).replace(token)
    }

    /// What is held back.
    pub(super) fn take(&self) -> Option<String> {
        lock(&self.held).take()
    }

    /// Runs something later, for as long as this lives.
    pub(super) fn later(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut late = lock(&self.late);
        while late.try_join_next().is_some() {}
        late.spawn(work);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `SplitMix64`: small, and the same everywhere.
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

    fn fates(repeat: u64, reorder: u64, delay: u64, seed: u64) -> Vec<Fate> {
        let chaos = Chaos::new(&Flags { repeat, reorder, delay, seed });
        (0..1_000).map(|_| chaos.fate()).collect()
    }

    #[test]
    fn the_same_seed_is_the_same_fate_and_shares_are_kept() {
        let (one, same, other) =
            (fates(30, 10, 200, 7), fates(30, 10, 200, 7), fates(30, 10, 200, 8));
        assert!(one == same && one != other);
        let twice = one.iter().filter(|fate| fate.twice).count();
        let swapped = one.iter().filter(|fate| fate.swap).count();
        assert!((250..350).contains(&twice) && (70..130).contains(&swapped), "{twice} {swapped}");
        assert!(one.iter().all(|fate| fate.delay <= Duration::from_millis(200)));
        assert!(fates(0, 0, 0, 1).iter().all(|fate| *fate == Fate::default()));
    }
}
