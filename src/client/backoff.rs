//! How long to wait before something is tried again.

use std::time::Duration;

/// The first wait; each one after it is twice as long.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait of our own choice.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait that a server may ask for.
const LONGEST_ASKED_SECONDS: u64 = 120;
/// Failures in a row after which it is given up: about two and a half minutes.
const MOST_IN_A_ROW: u32 = 10;

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait after another failure; `None` when it is given up.
    pub(super) fn wait(&mut self, asked_seconds: Option<u64>) -> Option<Duration> {
        self.failures += 1;
        if self.failures > MOST_IN_A_ROW {
            return None;
        }
        let own = FIRST.saturating_mul(1 << (self.failures - 1)).min(LONGEST);
        let asked = asked_seconds.unwrap_or(0).min(LONGEST_ASKED_SECONDS);
        Some(own.max(Duration::from_secs(asked)))
    }

    /// Something went forward: failures before it count no more.
    pub(super) fn forget(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> =
            std::iter::from_fn(|| backoff.wait(None)).map(|wait| wait.as_millis()).collect();
        let expected = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000];
        assert_eq!(waits, expected);
        backoff.forget();
        assert_eq!(backoff.wait(Some(7)), Some(Duration::from_secs(7)));
        assert_eq!(backoff.wait(Some(9_999)), Some(Duration::from_mins(2)));
    }
}
