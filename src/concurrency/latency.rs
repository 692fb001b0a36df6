//! How long the calls of one target take: the median and the 90th percentile, followed and not stored.

use std::time::Duration;

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How far a sample moves an estimate once there have been many. A shift by a factor of 90 takes the median about 180 samples,
/// and the 90th percentile about 100 up and 900 down, since so few are above it; and the estimates stray by a tenth.
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
    /// The median and the 90th percentile in seconds, an `f32` each; 0: there has been no sample. One word says both, so that
    /// nobody goes by an estimate that is not there yet.
    estimates: AtomicU64,
    /// The samples so far, as long as they are few.
    seen: AtomicU32,
}

impl Latency {
    pub(super) fn record(&self, took: Duration) {
        let seconds = took.as_secs_f32().max(LEAST);
        let seen = self.seen.load(Ordering::Relaxed);
        let [p50, p90] = self.estimates().unwrap_or([seconds; 2]);
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
        let [p50, p90] = self.estimates()?.map(|seconds| Duration::try_from_secs_f32(seconds).unwrap_or(Duration::MAX));
        Some(Typical { p50, p90: p90.max(p50) })
    }

    #[expect(clippy::cast_possible_truncation, reason = "two halves")]
    fn estimates(&self) -> Option<[f32; 2]> {
        let bits = self.estimates.load(Ordering::Relaxed);
        (bits != 0).then(|| [f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32)])
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
