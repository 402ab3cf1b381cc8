//! Exponential backoff between retries.

use std::time::Duration;

/// The first delay; each further one is twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(500);
/// The longest delay of the client's own.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// The longest `Retry-After` that is honoured.
const MAX_RETRY_AFTER_SECONDS: u64 = 120;
/// Retries after consecutive failures: about two and a half minutes in all.
const MAX_RETRIES: u32 = 10;

/// Counts consecutive failures.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Returns the delay after another failure; `None` when no retries are left.
    pub(super) fn next_delay(&mut self, retry_after_seconds: Option<u64>) -> Option<Duration> {
        self.failures += 1;
        if self.failures > MAX_RETRIES {
            return None;
        }
        let own = FIRST_DELAY.saturating_mul(1 << (self.failures - 1)).min(MAX_DELAY);
        let retry_after = retry_after_seconds.unwrap_or(0).min(MAX_RETRY_AFTER_SECONDS);
        Some(own.max(Duration::from_secs(retry_after)))
    }

    /// Starts over, after progress was made.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_end() {
        let mut backoff = Backoff::default();
        let delays: Vec<u128> = std::iter::from_fn(|| backoff.next_delay(None))
            .map(|delay| delay.as_millis())
            .collect();
        let expected = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000];
        assert_eq!(delays, expected);
        backoff.reset();
        assert_eq!(backoff.next_delay(Some(7)), Some(Duration::from_secs(7)));
        assert_eq!(backoff.next_delay(Some(9_999)), Some(Duration::from_mins(2)));
    }
}
