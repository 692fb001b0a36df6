//! How long the calls of one target take: the median and the 90th percentile, followed and not stored.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

/// How far a sample moves an estimate once there have been many: a shift by a factor of 90 is followed within about 100 samples,
/// and the estimates stray by a tenth.
const STEP: f32 = 0.05;
/// How far the first ones do, over their number.
const FIRST_STEP: f32 = 2.0;
/// Estimates move by factors, so none may be zero.
const LEAST: f32 = 1e-6;

/// What is typical of a target's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Typical {
    pub(super) p50: Duration,
    pub(super) p90: Duration,
}

/// Two estimates that follow the samples: each goes up by a factor for a sample above it and down for one below, by as much more
/// one way as the quantile is rarer the other way. No lock: of two samples at the same moment one may go unheard.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// The median and the 90th percentile in seconds, an `f32` each.
    estimates: AtomicU64,
    seen: AtomicU32,
}

impl Latency {
    pub(super) fn record(&self, took: Duration) {
        let seconds = took.as_secs_f32().max(LEAST);
        let seen = self.seen.load(Ordering::Relaxed);
        let [p50, p90] = match seen {
            0 => [seconds; 2],
            _ => self.estimates(),
        };
        #[expect(clippy::cast_precision_loss, reason = "counted only while it is small")]
        let step = STEP.max(FIRST_STEP / (seen + 2) as f32);
        if FIRST_STEP > STEP * f32::from(u16::try_from(seen).unwrap_or(u16::MAX)) {
            self.seen.store(seen + 1, Ordering::Relaxed);
        }
        let next = [moved(p50, 0.5, step, seconds), moved(p90, 0.9, step, seconds)];
        let [low, high] = next.map(|estimate| u64::from(estimate.to_bits()));
        self.estimates.store(high << 32 | low, Ordering::Relaxed);
    }

    /// `None` where there has been no sample.
    pub(super) fn typical(&self) -> Option<Typical> {
        if self.seen.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let [p50, p90] = self.estimates().map(|seconds| Duration::try_from_secs_f32(seconds).unwrap_or(Duration::MAX));
        Some(Typical { p50, p90: p90.max(p50) })
    }

    #[expect(clippy::cast_possible_truncation, reason = "two halves")]
    fn estimates(&self) -> [f32; 2] {
        let bits = self.estimates.load(Ordering::Relaxed);
        [f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32)]
    }
}

fn moved(estimate: f32, quantile: f32, step: f32, sample: f32) -> f32 {
    let factor = match sample.total_cmp(&estimate) {
        std::cmp::Ordering::Greater => 1.0 + step * quantile,
        std::cmp::Ordering::Less => 1.0 + step * (quantile - 1.0),
        std::cmp::Ordering::Equal => return estimate,
    };
    (estimate * factor).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(typical: Option<Typical>) -> (f64, f64) {
        let typical = typical.unwrap();
        (typical.p50.as_secs_f64(), typical.p90.as_secs_f64())
    }

    fn near(value: f64, expected: f64) -> bool {
        (0.7..1.4).contains(&(value / expected))
    }

    #[test]
    fn knows_nothing_before_the_first_and_then_says_what_that_was() {
        let latency = Latency::default();
        assert_eq!(latency.typical(), None);
        latency.record(Duration::from_millis(50));
        let (p50, p90) = seconds(latency.typical());
        assert!((p50 - 0.05).abs() < 1e-6 && (p90 - 0.05).abs() < 1e-6);
        latency.record(Duration::ZERO);
        assert!(latency.typical().is_some());
    }

    #[test]
    fn follows_the_quantiles_of_many_distributions() {
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (even, exponential) = (Latency::default(), Latency::default());
            for _ in 0..1000 {
                even.record(Duration::from_secs_f64(0.8 + 0.4 * rng.f64()));
                exponential.record(Duration::from_secs_f64(-(1.0 - rng.f64()).ln()));
            }
            let ((e50, e90), (x50, x90)) = (seconds(even.typical()), seconds(exponential.typical()));
            assert!((0.9..1.1).contains(&e50) && (1.05..1.27).contains(&e90), "even: {e50} {e90}");
            assert!(near(x50, 0.693) && near(x90, 2.303), "exponential: {x50} {x90}");
        }
    }

    #[test]
    fn follows_a_shift_within_some_hundred_samples() {
        let latency = Latency::default();
        let record = |millis, times| (0..times).for_each(|_| latency.record(Duration::from_millis(millis)));
        record(50, 1000);
        record(4550, 200);
        assert!(near(seconds(latency.typical()).0, 4.55) && near(seconds(latency.typical()).1, 4.55));
        record(50, 1000);
        assert!(near(seconds(latency.typical()).0, 0.05) && near(seconds(latency.typical()).1, 0.05));
    }
}
