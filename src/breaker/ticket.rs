//! What passes between a call and the breaker.

use std::time::Duration;

/// What a breaker is doing, as its callers and metrics see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls go through, except those held back by the ramp after a passed probe.
    Closed,
    /// Calls are refused. It stays so after the cool-down, until a call comes that can be a probe.
    Open,
    /// Calls are refused but for one probe at a time.
    HalfOpen,
}

/// A change of state, to be counted and logged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transition {
    /// What it was.
    pub(crate) from: State,
    /// What it is now.
    pub(crate) to: State,
}

/// How an admitted call ended, as far as the breaker cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    /// The upstream did its work. Passes a probe.
    Success,
    /// The upstream did not: counts against both rules, fails a probe.
    Failure { retry_after: Option<Duration> },
    /// The upstream is alive and asks for less: counts against the success rate and fails a probe,
    /// but neither lengthens nor ends a run of failures.
    Throttled { retry_after: Option<Duration> },
    /// The call was wrong, and the upstream said so: counts nowhere, but passes a probe.
    Neutral,
    /// The upstream had no say: counts nowhere, and frees a probe's place for the next call.
    Ignored,
}

impl Sample {
    /// How long the upstream asked to be left alone, if it did.
    pub(super) fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Failure { retry_after } | Self::Throttled { retry_after } => retry_after,
            Self::Success | Self::Neutral | Self::Ignored => None,
        }
    }
}

/// The right to make one call, and the duty to [settle](super::machine::Machine::settle) it.
///
/// A ticket that is lost while it is the probe would hold the breaker half open for ever. Whoever
/// holds one must therefore settle it as [`Sample::Ignored`] when dropped.
#[derive(Debug)]
#[must_use = "a ticket has to be settled"]
pub(crate) struct Ticket {
    /// The phase of the breaker it was issued in, by number.
    pub(super) generation: u64,
}

/// The answer to a call that asks to go through.
#[derive(Debug)]
pub(crate) enum Admit {
    /// Go ahead.
    Pass(Ticket),
    /// Go ahead: all others wait for how this call ends.
    Probe(Ticket),
    /// Do not go ahead; it is worth asking again after `retry_after`.
    Refuse { retry_after: Duration },
}
