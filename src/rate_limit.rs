//! Limits the requests of each API key per minute. Off by default; the vendor's own service allows
//! 200 a minute (contract §7).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

const MINUTE_MS: i64 = 60_000;

/// Request counts of the current minute, one entry per key.
#[derive(Default)]
pub struct RateLimit {
    /// Requests that a key may make in a minute; 0 means unlimited.
    per_minute: u32,
    counts: Mutex<HashMap<Uuid, (i64, u32)>>,
}

impl RateLimit {
    /// Allows `per_minute` requests for each key; 0 means unlimited.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, counts: Mutex::default() }
    }

    /// Counts a request.
    ///
    /// # Errors
    ///
    /// When the limit is exceeded: the seconds until the minute ends.
    pub fn count(&self, key: Uuid, now_ms: i64) -> Result<(), u32> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let minute = now_ms.div_euclid(MINUTE_MS);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (counted_minute, count) = counts.entry(key).or_insert((minute, 0));
        if *counted_minute != minute {
            (*counted_minute, *count) = (minute, 0);
        }
        if *count >= self.per_minute {
            let left_ms = MINUTE_MS - now_ms.rem_euclid(MINUTE_MS);
            return Err((left_ms as u32).div_ceil(1_000));
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_minute() {
        let (limit, one, other) = (RateLimit::new(2), Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(limit.count(one, 10_000), Ok(()));
        assert_eq!(limit.count(one, 10_000), Ok(()));
        assert_eq!(limit.count(one, 10_500), Err(50));
        assert_eq!(limit.count(other, 10_500), Ok(()));
        assert_eq!(limit.count(one, 60_000), Ok(()));
    }

    #[test]
    fn nothing_is_counted_without_a_limit() {
        let limit = RateLimit::new(0);
        assert!((0..1_000).all(|_| limit.count(Uuid::nil(), 0) == Ok(())));
        assert!(limit.counts.lock().unwrap().is_empty());
    }
}
