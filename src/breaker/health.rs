//! When a closed breaker has seen enough: the two rules that open it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    policy::Settings,
    ticket::Sample,
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

/// Failures without a success between them.
#[derive(Debug)]
struct Run {
    length: u32,
    /// When the last one ended.
    last: Instant,
}

impl Health {
    /// Nothing counted yet.
    pub(super) fn new(settings: &Settings, now: Instant) -> Self {
        let reach = Reach { calls: settings.window_calls, span: settings.window_span, max_age: settings.sample_max_age };
        Self { failures: Run { length: 0, last: now }, window: Window::new(reach, now) }
    }

    /// Counts how a call ended; true if it was one too many.
    pub(super) fn count(&mut self, sample: Sample, settings: &Settings, now: Instant) -> bool {
        match sample {
            Sample::Success => {
                self.failures.length = 0;
                self.window.record(true, now);
                // Even where older successes have just aged away, a success opens nothing.
                return false;
            }
            Sample::Failure { .. } => self.failures.extend(settings.sample_max_age, now),
            Sample::Throttled { .. } => {}
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
        self.failures.length = 0;
        self.window.clear();
    }
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
}
