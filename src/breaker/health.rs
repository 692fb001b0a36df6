//! When a closed breaker has seen enough: the two rules that open it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    policy::Settings,
    sample::Sample,
    window::{Reach, Window},
};

/// What a closed breaker has counted.
///
/// The run of failures finds an outage within a few calls; the success rate finds what a run never
/// does, an upstream that fails most calls but not all, or one that only throttles.
#[derive(Debug)]
pub(super) struct Health {
    failures: Run,
    window: Window,
}

/// Failures of calls that began after the last success ended.
///
/// Not simply those without a success between them: calls that hang end long after they began, and
/// several that began in one bad moment end together, though all is well again by then.
#[derive(Debug)]
struct Run {
    /// Which run since the beginning; each success begins a new one.
    number: u64,
    length: u32,
    /// When the last one ended.
    last: Instant,
}

impl Health {
    /// Nothing counted yet.
    pub(super) fn new(settings: &Settings, now: Instant) -> Self {
        Self { failures: Run { number: 0, length: 0, last: now }, window: Window::new(reach(settings), now) }
    }

    /// The run that the failure of a call which begins now would belong to.
    pub(super) const fn run(&self) -> u64 {
        self.failures.number
    }

    /// How long the run is.
    pub(super) const fn failures(&self) -> u32 {
        self.failures.length
    }

    /// The share of successes, once there are enough calls to tell.
    pub(super) fn success_rate(&self) -> Option<f64> {
        self.window.success_rate()
    }

    /// Counts how a call ended that began in this `run`; true if it was one too many.
    #[inline]
    pub(super) fn count(&mut self, sample: Sample, run: u64, settings: &Settings, now: Instant) -> bool {
        match sample {
            Sample::Success => {
                self.failures.end();
                self.window.record(true, now);
                // Even where older successes have just aged away, a success opens nothing.
                return false;
            }
            Sample::Failure { .. } if run == self.failures.number => self.failures.extend(settings.sample_max_age, now),
            Sample::Failure { .. } | Sample::Throttled { .. } => {}
            Sample::Neutral | Sample::Ignored => return false,
        }
        self.window.record(false, now);

        let failures = self.failures.length;
        let too_many = settings.consecutive_failures > 0 && failures >= settings.consecutive_failures;
        let too_poor = self.window.success_rate().is_some_and(|rate| rate < settings.min_success_rate);
        too_many || too_poor
    }

    /// Forgets everything counted.
    pub(super) fn clear(&mut self) {
        self.failures.end();
        self.window.clear();
    }

    /// Reaches as far back as other settings say.
    pub(super) fn set_reach(&mut self, settings: &Settings) {
        self.window.set_reach(reach(settings));
    }
}

const fn reach(settings: &Settings) -> Reach {
    Reach { calls: settings.window_calls, span: settings.window_span, max_age: settings.sample_max_age }
}

impl Run {
    /// One more failure; a run that has been silent for longer than `max_age` is over.
    fn extend(&mut self, max_age: Duration, now: Instant) {
        if now.saturating_duration_since(self.last) > max_age {
            self.length = 0;
        }
        self.length = self.length.saturating_add(1);
        self.last = now;
    }

    /// What begins from now on belongs to another run.
    const fn end(&mut self) {
        self.number += 1;
        self.length = 0;
    }
}
