//! How fast a body must arrive (S29): it may neither stop nor trickle.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::time::Instant;

use super::too_large;
use crate::config::Config;
use crate::error::{Error, Result};

/// What a body is held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    idle: Duration,
    /// Bytes that each stretch of `idle` must bring.
    least_bytes: u64,
}

impl Pace {
    pub(super) fn of(config: &Config) -> Self {
        let idle_seconds = config.body_idle_seconds;
        let least_bytes = config.body_min_bytes_per_second.saturating_mul(idle_seconds);
        Self { idle: Duration::from_secs(idle_seconds), least_bytes }
    }
}

/// A body that is read at its pace and within its limit.
pub(super) struct Paced<S> {
    body: S,
    pace: Pace,
    most_bytes: u64,
    bytes: u64,
    /// Time that was spent waiting for the client, and for nothing else, in this stretch.
    waited: Duration,
    stretch_bytes: u64,
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> Paced<S> {
    pub(super) fn new(body: S, pace: Pace, most_bytes: u64) -> Self {
        let (bytes, waited, stretch_bytes) = (0, Duration::ZERO, 0);
        Self { body, pace, most_bytes, bytes, waited, stretch_bytes }
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        let begin = Instant::now();
        let next = tokio::time::timeout(self.pace.idle, self.body.next()).await;
        let Ok(next) = next else {
            return Err(Error::Interrupted { problem: "the body stopped arriving" });
        };
        let Some(chunk) = next.transpose()? else { return Ok(None) };
        self.bytes += chunk.len() as u64;
        if self.bytes > self.most_bytes {
            return Err(too_large(self.most_bytes));
        }
        self.waited += begin.elapsed();
        self.stretch_bytes += chunk.len() as u64;
        if self.waited >= self.pace.idle {
            if self.stretch_bytes < self.pace.least_bytes {
                return Err(Error::Interrupted { problem: "the body arrives too slowly" });
            }
            (self.waited, self.stretch_bytes) = (Duration::ZERO, 0);
        }
        Ok(Some(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { idle: Duration::from_secs(30), least_bytes: 30 * 1_024 };

    /// A body of pieces, each after so many seconds.
    fn body(pieces: usize, size: usize, seconds: u64) -> impl Stream<Item = Result<Bytes>> + Unpin {
        Box::pin(futures_util::stream::iter(0..pieces).then(move |_| async move {
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
    async fn a_body_may_be_slow_for_as_long_as_it_takes() {
        assert_eq!(read(body(1_000, 11_000, 10)).await.unwrap(), 11_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up() {
        let error = read(body(1_000, 1, 5)).await.unwrap_err();
        assert_eq!(error.to_string(), "the body arrives too slowly");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_is_given_up() {
        let error = read(body(2, 50_000, 31)).await.unwrap_err();
        assert_eq!(error.to_string(), "the body stopped arriving");
    }

    #[tokio::test(start_paused = true)]
    async fn our_own_slowness_is_not_the_clients() {
        let mut paced = Paced::new(body(10, 1_000, 1), PACE, u64::MAX);
        while paced.next().await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_secs(100)).await;
        }
        assert_eq!(paced.bytes, 10_000);
    }
}
