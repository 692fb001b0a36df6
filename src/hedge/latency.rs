//! How long a tool takes: a quantile over what was seen lately, in a bounded space.

use std::time::Duration;

use tokio::time::Instant;

/// Two windows of which the older goes when the newer is full, so that a tool which has changed is soon known to have.
#[derive(Debug)]
pub(super) struct Latency {
    quantile: f64,
    current: Window,
    previous: Window,
    /// When the current window began.
    began: Instant,
    /// The quantile, as of the last time that it was worked out; and how many samples there have been since.
    known: Option<Duration>,
    since: u32,
}

/// Fewer samples say nothing of one in twenty.
const ENOUGH: u32 = 50;
/// A window is full with so many, or with enough after so long.
const FULL: u32 = 500;
const LONG: Duration = Duration::from_secs(30);
/// How often the quantile is worked out.
const EACH: u32 = 16;

impl Latency {
    pub(super) fn new(now: Instant) -> Self {
        Self { quantile: 1.0, current: Window::new(), previous: Window::new(), began: now, known: None, since: 0 }
    }

    /// Says which quantile is asked for from now on.
    pub(super) fn look_for(&mut self, quantile: f64) {
        if self.quantile.to_bits() != quantile.to_bits() {
            self.quantile = quantile;
            self.known = self.work_out();
        }
    }

    /// The quantile, once enough has been seen.
    pub(super) const fn quantile(&self) -> Option<Duration> {
        self.known
    }

    pub(super) fn record(&mut self, took: Duration, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if self.current.total >= FULL || (self.current.total >= ENOUGH && age >= LONG) {
            std::mem::swap(&mut self.current, &mut self.previous);
            self.current.clear();
            self.began = now;
        }
        self.current.counts[bucket(took)] += 1;
        self.current.total += 1;
        self.since += 1;
        if self.since >= EACH || self.known.is_none() {
            self.since = 0;
            self.known = self.work_out();
        }
    }

    /// Something took at least so long: how long, nobody will know. Such a sample can stand in for the true one only in the
    /// tail, beyond the quantile, where all count alike; below, it would make the tool look faster than it is.
    pub(super) fn record_at_least(&mut self, took: Duration, now: Instant) {
        if self.known.is_some_and(|quantile| took >= quantile) {
            self.record(took, now);
        }
    }

    fn work_out(&self) -> Option<Duration> {
        let total = self.current.total + self.previous.total;
        if total < ENOUGH {
            return None;
        }
        let wanted = f64::from(total) * self.quantile;
        let mut seen = 0;
        let place = self.current.counts.iter().zip(self.previous.counts.iter()).position(|(current, previous)| {
            seen += current + previous;
            f64::from(seen) >= wanted
        });
        place.map(|place| ceiling(place).max(Duration::from_millis(1)))
    }
}

#[derive(Debug)]
struct Window {
    counts: Box<[u32; BUCKETS]>,
    total: u32,
}

impl Window {
    fn new() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }

    fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }
}

/// Buckets of a sixteenth of a millisecond, and from a millisecond on, sixteen to each doubling: so each is known to a
/// sixteenth. The last begins at more than an hour.
const BUCKETS: usize = 24 * 16;
const PER_MS: u128 = 16;

fn bucket(took: Duration) -> usize {
    let parts = u64::try_from(took.as_micros() * PER_MS / 1_000).unwrap_or(u64::MAX);
    let doublings = (63 - (parts | 15).leading_zeros()).saturating_sub(3);
    let place = match doublings {
        0 => parts,
        doublings => u64::from(doublings) * 16 + ((parts >> (doublings - 1)) & 15),
    };
    usize::try_from(place).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// Where a bucket ends.
fn ceiling(bucket: usize) -> Duration {
    let next = bucket as u64 + 1;
    let parts = match next / 16 {
        0 => next,
        doublings => (16 + next % 16) << (doublings - 1),
    };
    Duration::from_micros(parts * 1_000 / 16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn buckets_follow_each_other_and_end_where_the_next_begins() {
        for place in 0..BUCKETS - 1 {
            let end = ceiling(place);
            assert_eq!(bucket(end.saturating_sub(Duration::from_micros(1))), place, "{end:?}");
            // Rounded down to a microsecond, an end may still be inside.
            assert_eq!(bucket(end + Duration::from_micros(1)), place + 1, "{end:?}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    fn latency_at(quantile: f64, now: Instant) -> Latency {
        let mut latency = Latency::new(now);
        latency.look_for(quantile);
        latency
    }

    #[tokio::test(start_paused = true)]
    async fn too_few_samples_say_nothing() {
        let mut latency = latency_at(0.95, Instant::now());
        for n in 1..=ENOUGH {
            assert_eq!(latency.quantile(), None, "after {n} samples");
            latency.record(10 * MS, Instant::now());
        }
        assert!(latency.quantile().is_some_and(|quantile| (10 * MS..11 * MS).contains(&quantile)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tool_that_has_changed_is_soon_known_to_have() {
        let now = Instant::now();
        let mut latency = latency_at(0.95, now);
        (0..2_000).for_each(|_| latency.record(10 * MS, now));
        (0..80).for_each(|_| latency.record(100 * MS, now));
        assert!(latency.quantile().is_some_and(|quantile| quantile >= 100 * MS));
        (0..2_000).for_each(|_| latency.record(MS, now));
        assert!(latency.quantile().is_some_and(|quantile| quantile < 2 * MS));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_seen_to_its_end_counts_in_the_tail_only() {
        let now = Instant::now();
        let mut latency = latency_at(0.95, now);
        (0..100).for_each(|_| latency.record(10 * MS, now));
        (0..400).for_each(|_| latency.record_at_least(MS, now));
        assert!(latency.quantile().is_some_and(|quantile| quantile >= 10 * MS), "losers made the tool look fast");
        (0..40).for_each(|_| latency.record_at_least(50 * MS, now));
        assert!(latency.quantile().is_some_and(|quantile| quantile >= 50 * MS));
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_ends_after_so_many_or_with_enough_after_so_long() {
        for (samples, age, ends) in [
            (FULL, Duration::ZERO, true),
            (FULL - 1, Duration::ZERO, false),
            (ENOUGH, LONG, true),
            (ENOUGH, LONG - MS, false),
            (ENOUGH - 1, LONG, false),
        ] {
            let began = Instant::now();
            let mut latency = latency_at(0.95, began);
            (0..samples).for_each(|_| latency.record(10 * MS, began));
            assert_eq!((latency.current.total, latency.previous.total), (samples, 0));
            latency.record(MS, began + age);
            let expected = if ends { (1, samples) } else { (samples + 1, 0) };
            assert_eq!((latency.current.total, latency.previous.total), expected, "{samples} samples, {age:?}");
            assert_eq!(latency.began, if ends { began + age } else { began });
        }
    }

    /// It is read by each call, and worked out by one in sixteen.
    #[tokio::test(start_paused = true)]
    async fn the_quantile_is_not_worked_out_by_each_call() {
        let now = Instant::now();
        let mut latency = latency_at(0.5, now);
        (0..ENOUGH).for_each(|_| latency.record(10 * MS, now));
        let known = latency.quantile();
        (1..EACH).for_each(|_| latency.record(100 * MS, now));
        assert_eq!((latency.quantile(), latency.since), (known, EACH - 1));
        latency.record(100 * MS, now);
        assert_eq!(latency.since, 0);
    }

    proptest! {
        #[test]
        fn the_quantile_is_within_a_sixteenth_of_the_true_one(samples in prop::collection::vec(1_000..60_000_000_u64, 64..480)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let _inside = runtime.enter();
            let now = Instant::now();
            let mut latency = latency_at(0.95, now);
            let mut sorted = Vec::new();
            for micros in samples {
                sorted.push(micros);
                latency.record(Duration::from_micros(micros), now);
                if latency.since == 0 && sorted.len() >= 50 {
                    sorted.sort_unstable();
                    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
                    let place = ((sorted.len() as f64 * 0.95).ceil() as usize).max(1) - 1;
                    let truth = Duration::from_micros(sorted[place]);
                    let known = latency.quantile().unwrap();
                    prop_assert!(known >= truth && known <= truth.mul_f64(17.0 / 16.0) + MS, "{known:?} for {truth:?}");
                }
            }
        }
    }
}
