//! The retry schedule of deliveries, and the circuit breaker of each endpoint.

use uuid::Uuid;

const MINUTE_MS: i64 = 60_000;
/// Largest jitter, in per mille of a retry's delay. It spreads the retries after an outage.
const JITTER_PER_MILLE: i64 = 100;
/// Longest pause that an endpoint may request by `Retry-After`.
const MAX_RETRY_AFTER_MS: i64 = 12 * 60 * MINUTE_MS;
/// Consecutive failures that open the circuit.
const FAILURES_TO_OPEN: u32 = 5;
/// How long the circuit first stays open; each further failure doubles it.
const FIRST_PAUSE_MS: i64 = 15_000;
/// How long the circuit stays open at most.
const LONGEST_PAUSE_MS: i64 = 10 * MINUTE_MS;
/// How much longer than its schedule a delivery may wait for an open circuit.
const GRACE_MS: i64 = 60 * MINUTE_MS;

/// The delays between attempts, in minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(Vec<u32>);

impl Schedule {
    /// A schedule with these minutes after each failure.
    pub fn new(minutes: Vec<u32>) -> Self {
        Self(minutes)
    }

    /// When to retry after `failed` failed attempts; `None` after the last one. Jitter derived from
    /// the ids in `spread` delays a retry by at most a tenth and never makes it earlier.
    pub fn next_ms(&self, failed: u32, now_ms: i64, spread: (Uuid, Uuid)) -> Option<i64> {
        let minutes = self.0.get(failed.checked_sub(1)? as usize)?;
        let delay_ms = i64::from(*minutes) * MINUTE_MS;
        Some(now_ms + delay_ms + delay_ms * jitter_per_mille(spread, failed) / 1_000)
    }

    /// The age at which a delivery is abandoned, however few attempts were made.
    pub fn max_age_ms(&self) -> i64 {
        let whole_ms: i64 = self.0.iter().map(|minutes| i64::from(*minutes) * MINUTE_MS).sum();
        whole_ms + whole_ms * JITTER_PER_MILLE / 1_000 + GRACE_MS
    }

    /// Most attempts, the first one included.
    pub fn attempts(&self) -> u32 {
        self.0.len() as u32 + 1
    }
}

/// Event ids contain random bits, so this spreads retries and stays deterministic.
fn jitter_per_mille((one, other): (Uuid, Uuid), failed: u32) -> i64 {
    let mixed = (one.as_u128() ^ other.as_u128().rotate_left(failed))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (mixed >> 96) as i64 % (JITTER_PER_MILLE + 1)
}

/// Parses `Retry-After`, in seconds or as a date. Returns milliseconds from now, capped at
/// 12 hours.
pub fn retry_after_ms(header: &str, now_ms: i64) -> Option<i64> {
    let header = header.trim();
    let wait_ms = if let Ok(seconds) = header.parse::<u32>() {
        i64::from(seconds) * 1_000
    } else {
        let date = httpdate::parse_http_date(header).ok()?;
        let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()? - now_ms
    };
    Some(wait_ms.clamp(0, MAX_RETRY_AFTER_MS))
}

/// The circuit breaker of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Circuit {
    /// Consecutive failures.
    pub failures: u32,
    /// Until when no attempt is made, in Unix milliseconds; then a single one probes the endpoint.
    pub open_until_ms: i64,
}

impl Circuit {
    /// The state after a success.
    pub const CLOSED: Self = Self { failures: 0, open_until_ms: 0 };

    /// The state after one more failure; `retry_after_ms` is the pause that the endpoint requested.
    #[must_use]
    pub fn after_failure(self, now_ms: i64, retry_after_ms: Option<i64>) -> Self {
        let failures = self.failures.saturating_add(1);
        let pause_ms = match failures.checked_sub(FAILURES_TO_OPEN) {
            None => 0,
            // Ten doublings already exceed the longest pause; more could overflow.
            Some(more) => (FIRST_PAUSE_MS << more.min(10)).min(LONGEST_PAUSE_MS),
        };
        let pause_ms = pause_ms.max(retry_after_ms.unwrap_or(0));
        Self { failures, open_until_ms: if pause_ms == 0 { 0 } else { now_ms + pause_ms } }
    }

    /// How many attempts may run concurrently.
    pub fn max_concurrent(self, most: usize) -> usize {
        if self.failures == 0 { most } else { 1 }
    }

    /// Whether repeated failures have opened the circuit.
    pub fn is_open(self) -> bool {
        self.failures >= FAILURES_TO_OPEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_retry_is_never_early_and_at_most_a_tenth_late(
            one: u128, other: u128, failed in 1_u32..4, now_ms in 0_i64..1 << 50,
        ) {
            let schedule = Schedule::new(vec![1, 10, 720]);
            let minutes = i64::from(schedule.0[failed as usize - 1]);
            let spread = (Uuid::from_u128(one), Uuid::from_u128(other));
            let late = schedule.next_ms(failed, now_ms, spread).unwrap() - now_ms - minutes * 60_000;
            prop_assert!((0..=minutes * 6_000).contains(&late), "{}", late);
        }
    }

    #[test]
    fn retries_of_many_events_are_spread() {
        let schedule = Schedule::new(vec![60]);
        let at = |id: u128| schedule.next_ms(1, 0, (Uuid::from_u128(id << 40), Uuid::nil()));
        let found: std::collections::BTreeSet<_> = (0..200).map(at).collect();
        assert!(found.len() > 60, "{}", found.len());
    }

    #[test]
    fn there_is_no_retry_after_the_last_attempt() {
        let schedule = Schedule::new(vec![1, 10]);
        let spread = (Uuid::nil(), Uuid::nil());
        assert_eq!(schedule.attempts(), 3);
        assert!(schedule.next_ms(2, 0, spread).is_some());
        assert_eq!(schedule.next_ms(3, 0, spread), None);
        assert_eq!(schedule.next_ms(0, 0, spread), None);
    }

    #[test]
    fn retry_after_is_parsed_in_both_forms_and_capped() {
        let now_ms = 1_767_323_045_000;
        assert_eq!(retry_after_ms("120", now_ms), Some(120_000));
        assert_eq!(retry_after_ms("Fri, 02 Jan 2026 03:05:05 GMT", now_ms), Some(60_000));
        assert_eq!(retry_after_ms("Thu, 01 Jan 2026 00:00:00 GMT", now_ms), Some(0));
        assert_eq!(retry_after_ms("4000000000", now_ms), Some(MAX_RETRY_AFTER_MS));
        for text in ["", "soon", "-1", "1.5", "99999999999"] {
            assert_eq!(retry_after_ms(text, now_ms), None, "{text}");
        }
    }

    #[test]
    fn a_circuit_opens_after_consecutive_failures_with_exponential_backoff() {
        let mut circuit = Circuit::CLOSED;
        let mut pauses = Vec::new();
        for _ in 0..16 {
            circuit = circuit.after_failure(1_000, None);
            pauses.push((circuit.open_until_ms - 1_000).max(0) / 1_000);
        }
        assert_eq!(pauses, [0, 0, 0, 0, 15, 30, 60, 120, 240, 480, 600, 600, 600, 600, 600, 600]);
        assert_eq!((circuit.max_concurrent(32), Circuit::CLOSED.max_concurrent(32)), (1, 32));
    }

    #[test]
    fn a_requested_pause_is_kept_without_opening_the_circuit() {
        let circuit = Circuit::CLOSED.after_failure(1_000, Some(120_000));
        assert_eq!(circuit, Circuit { failures: 1, open_until_ms: 121_000 });
        assert!(!circuit.is_open());
    }
}
