//! Enforces how fast a body must arrive (S29): it may neither stall nor trickle.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::time::Instant;

use super::too_large;
use crate::config::Config;
use crate::error::{Error, Result};

/// The minimum pace of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    idle: Duration,
    /// Bytes that must arrive in each window of `idle`.
    min_bytes: u64,
}

impl Pace {
    pub(super) fn from_config(config: &Config) -> Self {
        let idle_seconds = config.body_idle_seconds;
        let min_bytes = config.body_min_bytes_per_second.saturating_mul(idle_seconds);
        Self { idle: Duration::from_secs(idle_seconds), min_bytes }
    }
}

/// A body that must keep the pace and stay within its size limit.
pub(super) struct Paced<S> {
    body: S,
    pace: Pace,
    max_bytes: u64,
    bytes: u64,
    /// Time spent waiting for the client, and for nothing else, in this window.
    waited: Duration,
    window_bytes: u64,
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> Paced<S> {
    pub(super) fn new(body: S, pace: Pace, max_bytes: u64) -> Self {
        let (bytes, waited, window_bytes) = (0, Duration::ZERO, 0);
        Self { body, pace, max_bytes, bytes, waited, window_bytes }
    }

    /// The next chunk of the body; `None` at its end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        let begin = Instant::now();
        let next = tokio::time::timeout(self.pace.idle, self.body.next()).await;
        let Ok(next) = next else {
            return Err(Error::Interrupted { problem: "the body stopped arriving" });
        };
        let Some(chunk) = next.transpose()? else { return Ok(None) };
        self.bytes += chunk.len() as u64;
        if self.bytes > self.max_bytes {
            return Err(too_large(self.max_bytes));
        }
        self.waited += begin.elapsed();
        self.window_bytes += chunk.len() as u64;
        if self.waited >= self.pace.idle {
            if self.window_bytes < self.pace.min_bytes {
                return Err(Error::Interrupted { problem: "the body arrives too slowly" });
            }
            (self.waited, self.window_bytes) = (Duration::ZERO, 0);
        }
        Ok(Some(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { idle: Duration::from_secs(30), min_bytes: 30 * 1_024 };

    /// A body of chunks, each after `seconds`.
    fn body(chunks: usize, size: usize, seconds: u64) -> impl Stream<Item = Result<Bytes>> + Unpin {
        Box::pin(futures_util::stream::iter(0..chunks).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok(Bytes::from(vec![b'a'; size]))
        }))
    }

    async fn read(body: impl Stream<Item = Result<Bytes>> + Unpin) -> Result<u64> {
        let mut paced = Paced::new(body, PACE, u64::MAX);
        while paced.next().await?.is_some() {}
        Ok(paced.bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_may_take_any_time() {
        assert_eq!(read(body(1_000, 11_000, 10)).await.unwrap(), 11_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickling_body_is_rejected() {
        let error = read(body(1_000, 1, 5)).await.unwrap_err();
        assert_eq!(error.to_string(), "the body arrives too slowly");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_body_is_rejected() {
        let error = read(body(2, 50_000, 31)).await.unwrap_err();
        assert_eq!(error.to_string(), "the body stopped arriving");
    }

    #[tokio::test(start_paused = true)]
    async fn time_spent_by_the_server_does_not_count() {
        let mut paced = Paced::new(body(10, 1_000, 1), PACE, u64::MAX);
        while paced.next().await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_secs(100)).await;
        }
        assert_eq!(paced.bytes, 10_000);
    }
}
