//! What the operator may set about a breaker, and which settings make sense.

use std::time::Duration;

/// The most calls a window may remember one by one: they are kept in memory for every tool.
const MAX_WINDOW_CALLS: usize = 1_000;

/// The settings of a breaker, not yet checked; [`Policy::try_new`] checks them.
///
/// More may come: write them as changes of others, `Settings { .., ..Settings::default() }`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Open after this many failures in a row, all of calls that began after the last success ended; 0 switches the rule off.
    pub consecutive_failures: u32,
    /// Open when the share of successes in the window falls below this, from 0 to 1; 0 switches
    /// the rule off.
    pub min_success_rate: f64,
    /// Open the upstream's own breaker after this many calls in a row, of at least two targets, that the transport could not
    /// deliver, without any answer between them; 0 switches the rule off.
    pub connect_failures: u32,
    /// Open the upstream's own breaker when the breakers of at least two of its targets have opened, and of this share of
    /// those that are active, from 0 to 1; 0 switches the rule off. Active is a target that a call has asked for within
    /// `sample_max_age`; what opened longer ago than that does not count, nor what opened before the upstream's breaker last
    /// closed. Targets of one name count as one.
    pub open_share: f64,
    /// The window holds at least this many of the latest calls, and says nothing about fewer.
    pub window_calls: usize,
    /// The window holds all calls of this last stretch of time, where they are more than
    /// `window_calls`. It moves in steps of a thirtieth of its length.
    pub window_span: Duration,
    /// Nothing older than this counts. A run of failures ends when it sees no new one for as long.
    pub sample_max_age: Duration,
    /// The first cool-down. Each one after a failed probe, or after a relapse during the ramp, is
    /// twice as long. The time really waited is drawn from the upper half of the cool-down.
    pub cool_down_min: Duration,
    /// The longest cool-down, and the most of a server's `Retry-After` that is believed.
    pub cool_down_max: Duration,
    /// How long after a passed probe traffic takes to grow back to full; 0 lets all of it in at once.
    pub ramp: Duration,
    /// The share of calls let in when the ramp begins, above 0 and up to 1.
    pub ramp_floor: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // Five trips ten times as often on 10 % random failures, and saves one call.
            consecutive_failures: 6,
            min_success_rate: 0.5,
            connect_failures: 6,
            open_share: 0.5,
            window_calls: 20,
            window_span: Duration::from_secs(30),
            sample_max_age: Duration::from_secs(5 * 60),
            cool_down_min: Duration::from_secs(5),
            cool_down_max: Duration::from_secs(300),
            ramp: Duration::from_secs(10),
            ramp_floor: 0.25,
        }
    }
}

/// Settings that make sense together: the only kind a breaker runs on.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Policy(Settings);

impl Policy {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// The first setting that contradicts its range or another setting, with the values of both.
    pub fn try_new(settings: Settings) -> Result<Self, PolicyError> {
        let s = &settings;
        if !(0.0..=1.0).contains(&s.min_success_rate) {
            return Err(PolicyError::SuccessRate(s.min_success_rate));
        }
        if s.consecutive_failures == 0 && s.min_success_rate == 0.0 {
            return Err(PolicyError::NeverOpens);
        }
        if !(0.0..=1.0).contains(&s.open_share) {
            return Err(PolicyError::OpenShare(s.open_share));
        }
        if !(1..=MAX_WINDOW_CALLS).contains(&s.window_calls) {
            return Err(PolicyError::WindowCalls(s.window_calls));
        }
        if s.window_span.is_zero() || s.window_span > s.sample_max_age {
            return Err(PolicyError::WindowSpan { span: s.window_span, max_age: s.sample_max_age });
        }
        if s.cool_down_min.is_zero() || s.cool_down_min > s.cool_down_max {
            return Err(PolicyError::CoolDown { min: s.cool_down_min, max: s.cool_down_max });
        }
        // A share of 0 would be a second cool-down in disguise.
        if s.ramp_floor == 0.0 || !(0.0..=1.0).contains(&s.ramp_floor) {
            return Err(PolicyError::RampFloor(s.ramp_floor));
        }
        Ok(Self(settings))
    }

    /// The settings, as checked.
    pub const fn settings(&self) -> &Settings {
        &self.0
    }
}

impl TryFrom<Settings> for Policy {
    type Error = PolicyError;

    fn try_from(settings: Settings) -> Result<Self, Self::Error> {
        Self::try_new(settings)
    }
}

/// Why a set of settings is no policy.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The success rate is no share.
    #[error("min_success_rate is {0}, but must be from 0 (off) to 1")]
    SuccessRate(f64),
    /// Both rules are off. Who wants no breaker takes [`BreakerLayer::off`](super::BreakerLayer::off).
    #[error("consecutive_failures is 0 and min_success_rate is 0: this breaker would never open")]
    NeverOpens,
    /// The share of open breakers is no share.
    #[error("open_share is {0}, but must be from 0 (off) to 1")]
    OpenShare(f64),
    /// The window holds nothing, or too much to keep in memory for every tool.
    #[error("window_calls is {0}, but must be from 1 to {MAX_WINDOW_CALLS}")]
    WindowCalls(usize),
    /// The window is empty, or reaches back beyond what counts at all.
    #[error(
        "window_span is {span:?}, but must be above 0 and no longer than sample_max_age, \
         which is {max_age:?}"
    )]
    WindowSpan {
        /// The `window_span` given.
        span: Duration,
        /// The `sample_max_age` given.
        max_age: Duration,
    },
    /// There is no cool-down, or the first is longer than the longest.
    #[error(
        "cool_down_min is {min:?}, but must be above 0 and no longer than cool_down_max, \
         which is {max:?}"
    )]
    CoolDown {
        /// The `cool_down_min` given.
        min: Duration,
        /// The `cool_down_max` given.
        max: Duration,
    },
    /// The ramp begins with nothing, or is no share.
    #[error("ramp_floor is {0}, but must be above 0 and at most 1")]
    RampFloor(f64),
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
