//! Whether a line stands: a controlled delay (CoDel) that turns the order around instead of dropping.

use std::time::Duration;

use tokio::time::Instant;

use crate::concurrency::latency::Typical;

/// For how long the wait must not have been short once.
const INTERVAL: Duration = Duration::from_millis(100);
/// What the wait is held against, where a twentieth of a typical call is less or more.
const TARGET: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(500)];

/// Whether whoever waits longest has waited too long for a whole interval, at each look. A burst drains and does not stand; what
/// stands adds to every call's time and serves none sooner.
#[derive(Debug, Default)]
pub(super) struct Standing {
    above_since: Option<Instant>,
}

impl Standing {
    /// A look: how long the oldest has waited. `None`: nobody waits.
    pub(super) fn look(&mut self, oldest: Option<Duration>, typical: Option<Typical>, now: Instant) {
        match oldest {
            Some(waited) if waited > target(typical) => {
                self.above_since.get_or_insert(now);
            }
            _ => self.above_since = None,
        }
    }

    /// As of the last look.
    pub(super) fn stands(&self, typical: Option<Typical>, now: Instant) -> bool {
        // At least one call should have ended in an interval, or nothing could have moved.
        let interval = typical.map_or(INTERVAL, |typical| typical.p50.max(INTERVAL));
        self.above_since.is_some_and(|since| now.saturating_duration_since(since) >= interval)
    }
}

fn target(typical: Option<Typical>) -> Duration {
    let [least, most] = TARGET;
    typical.map_or(least, |typical| (typical.p50 / 20).clamp(least, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn of(p50: Duration) -> Option<Typical> {
        Some(Typical { p50, p90: p50 })
    }

    #[tokio::test(start_paused = true)]
    async fn stands_after_an_interval_without_a_short_wait() {
        let (begin, mut standing) = (Instant::now(), Standing::default());
        for at in 0..100 {
            standing.look(Some(6 * MS), None, begin + at * MS);
            assert!(!standing.stands(None, begin + at * MS));
        }
        assert!(standing.stands(None, begin + 100 * MS));
        // One short wait, or nobody there, and it starts anew.
        for oldest in [Some(5 * MS), None] {
            standing.look(oldest, None, begin + 100 * MS);
            assert!(!standing.stands(None, begin + 300 * MS));
            standing.look(Some(6 * MS), None, begin + 100 * MS);
            assert!(standing.stands(None, begin + 300 * MS));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_long_depends_on_the_tool() {
        for (p50, target) in [(MS, 5 * MS), (200 * MS, 10 * MS), (4000 * MS, 200 * MS), (60_000 * MS, 500 * MS)] {
            let (begin, typical) = (Instant::now(), of(p50));
            for (waited, stands) in [(target, false), (target + MS, true)] {
                let mut standing = Standing::default();
                standing.look(Some(waited), typical, begin);
                assert_eq!(standing.stands(typical, begin + p50.max(100 * MS)), stands, "{p50:?}, {waited:?}");
                assert!(!standing.stands(typical, begin + p50.max(100 * MS) - MS));
            }
        }
    }
}
