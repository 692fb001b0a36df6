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
    /// When the last one started.
    last: f64,
    /// What a call takes, as the last group of calls showed.
    pub latency: f64,
    /// And of late.
    recent: f64,
    /// The most that start in a second, whatever they take.
    pub fastest: f64,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { due: 0.0, last: 0.0, latency: f64::INFINITY, recent: 0.0, fastest: f64::INFINITY }
    }

    /// When the next is due, with so many waiting. However slow the pace has been, that is no more than an interval after the
    /// last.
    pub(super) fn due(&self, limit: f64, waiting: f64) -> f64 {
        let interval = self.interval(limit, waiting);
        (self.due - interval * burst(limit)).min(self.last + interval)
    }

    /// One starts, due or not.
    pub(super) fn started(&mut self, limit: f64, waiting: f64, now: f64) {
        let interval = self.interval(limit, waiting);
        self.due = (self.due.max(now) + interval).min(now + interval * (burst(limit) + 1.0));
        self.last = now;
    }

    pub(super) fn ended(&mut self, took: f64) {
        self.recent += (took - self.recent) / 8.0;
    }

    /// Seconds between two starts. Whatever the fastest pace is, as many start in the time of one call as wait: that pace is of
    /// those who came of late, and a quiet hour says nothing of a crowd.
    fn interval(&self, limit: f64, waiting: f64) -> f64 {
        let call = self.latency.min(self.recent);
        (call / (limit * QUICKER)).max(self.fastest.recip().min(call / waiting))
    }
}

fn burst(limit: f64) -> f64 {
    (limit * BURST).max(LEAST_BURST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts_at(pace: &mut Pace, limit: f64, now: f64) -> u32 {
        let mut starts = 0;
        while starts < 1000 && pace.due(limit, 0.0) <= now {
            pace.started(limit, 0.0, now);
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
    fn those_who_start_undue_take_no_burst_from_who_comes_after_a_pause() {
        let mut pace = Pace { latency: 0.1, ..Pace::new() };
        (0..100).for_each(|_| pace.ended(0.1));
        (0..1000).for_each(|_| pace.started(10.0, 0.0, 0.0));
        assert_eq!(starts_at(&mut pace, 10.0, 1.0), 5);
    }

    #[test]
    fn of_an_unknown_target_all_start_at_once() {
        assert_eq!(starts_at(&mut Pace::new(), 1000.0, 0.0), 1000);
    }

    #[test]
    fn a_crowd_after_a_quiet_hour_starts_within_the_time_of_a_few_calls() {
        let mut pace = Pace { latency: 0.05, fastest: 0.01, ..Pace::new() };
        (0..100).for_each(|_| pace.ended(0.05));
        // They find slots free, and none of them is to blame for it.
        (0..20).for_each(|_| pace.started(20.0, 0.0, 3600.0));
        let (mut waiting, mut now) = (40.0, 3600.0);
        while waiting > 0.0 {
            now = pace.due(20.0, waiting).max(now);
            waiting -= 1.0;
            pace.started(20.0, waiting, now);
        }
        // 1 + 1/2 + 1/3 and so on, to 1/40.
        assert!((0.05..0.25).contains(&(now - 3600.0)), "{}", now - 3600.0);
    }
}
