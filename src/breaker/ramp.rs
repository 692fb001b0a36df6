//! The way back to full traffic after a passed probe.

use std::time::Duration;

use tokio::time::Instant;

use super::policy::Settings;

/// A share of the calls that grows from a floor to all of them.
///
/// Which calls get in is counted, not drawn: each call pays in the share, and one gets in for every
/// whole call paid. A quarter is then every fourth call, and never four in a row by luck.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ramp {
    began: Instant,
    length: Duration,
    floor: f64,
    /// Calls paid in and not yet let in.
    credit: f64,
}

impl Ramp {
    /// A ramp that begins now and lets its first call in.
    pub(super) fn new(settings: &Settings, now: Instant) -> Self {
        Self { began: now, length: settings.ramp, floor: settings.ramp_floor, credit: 1.0 - settings.ramp_floor }
    }

    /// How long until every call gets in; zero when the ramp is complete.
    pub(super) fn remaining(&self, now: Instant) -> Duration {
        self.length.saturating_sub(now.saturating_duration_since(self.began))
    }

    /// Whether this call gets in. If not, a tenth of the ramp later the odds are better: the answer
    /// is that, or what remains if it is less.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        let remaining = self.remaining(now);
        if remaining.is_zero() {
            return Ok(());
        }
        let ahead = remaining.div_duration_f64(self.length);
        self.credit += 1.0 - (1.0 - self.floor) * ahead;
        if self.credit < 1.0 {
            return Err(remaining.min(self.length / 10));
        }
        self.credit -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
#[path = "ramp_tests.rs"]
mod tests;
