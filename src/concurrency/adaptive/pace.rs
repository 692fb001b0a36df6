//! How fast those who wait are let in where a limit has grown. Hundreds of slots filled at once knock a healthy target over.

/// How much quicker than the slots come free by themselves.
const QUICKER: f64 = 1.1;
/// The share of the limit that may start at once, and the least.
const BURST: f64 = 1.0 / 64.0;
const LEAST_BURST: f64 = 4.0;

/// When the next of those who wait is due: kept as GCRA keeps a rate. Times are in seconds.
#[derive(Debug)]
pub(super) struct Pace {
    due: f64,
    /// What a call takes, as the last group of calls showed.
    pub latency: f64,
    /// And of late.
    recent: f64,
    /// The most that start in a second, whatever they take.
    pub fastest: f64,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { due: 0.0, latency: f64::INFINITY, recent: 0.0, fastest: f64::INFINITY }
    }

    pub(super) fn may_start(&self, limit: f64, now: f64) -> bool {
        self.due - self.interval(limit) * (limit * BURST).max(LEAST_BURST) <= now
    }

    pub(super) fn started(&mut self, limit: f64, now: f64) {
        self.due = self.due.max(now) + self.interval(limit);
    }

    pub(super) fn ended(&mut self, took: f64) {
        self.recent += (took - self.recent) / 8.0;
    }

    /// Seconds between two starts.
    fn interval(&self, limit: f64) -> f64 {
        (self.latency.min(self.recent) / (limit * QUICKER)).max(1.0 / self.fastest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts_at(pace: &mut Pace, limit: f64, now: f64) -> u32 {
        let mut starts = 0;
        while starts < 1000 && pace.may_start(limit, now) {
            pace.started(limit, now);
            starts += 1;
        }
        starts
    }

    fn starts_within(pace: &mut Pace, limit: f64, from: f64, millis: u32) -> u32 {
        (1..=millis).map(|ms| starts_at(pace, limit, from + f64::from(ms) / 1e3)).sum()
    }

    #[test]
    fn a_few_start_at_once_and_the_others_one_by_one() {
        let mut pace = Pace { latency: 1.0, ..Pace::new() };
        (0..100).for_each(|_| pace.ended(1.0));
        assert_eq!(starts_at(&mut pace, 1000.0, 0.0), 16);
        // 1.1 times as fast as a thousand calls of a second make room.
        assert!(starts_within(&mut pace, 1000.0, 0.0, 100).abs_diff(110) <= 1);
        // A pause is no reason to start more at once.
        assert_eq!(starts_at(&mut pace, 10.0, 10.0), 5);
    }

    #[test]
    fn no_more_start_than_the_fastest_pace_allows() {
        let mut pace = Pace { fastest: 100.0, ..Pace::new() };
        starts_at(&mut pace, 1000.0, 0.0);
        assert!(starts_within(&mut pace, 1000.0, 0.0, 1000).abs_diff(100) <= 1);
    }

    #[test]
    fn of_an_unknown_target_all_start_at_once() {
        assert_eq!(starts_at(&mut Pace::new(), 1000.0, 0.0), 1000);
    }
}
