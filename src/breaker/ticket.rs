//! What passes between a call and the breaker.

use std::time::Duration;

use crate::call::{Digest, Head};

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

impl State {
    /// All states.
    pub(super) const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The value of the `state`, `from` and `to` labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What an operator wants of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Force {
    /// Refuse every call until told otherwise.
    Open,
    /// Let every call pass, and count none.
    Closed,
    /// Decide by the policy. A breaker that was forced starts anew, closed, with nothing counted; one that was not goes on.
    #[default]
    Auto,
}

/// A change of state, to be counted and logged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transition {
    /// What it was.
    pub(crate) from: State,
    /// What it is now.
    pub(crate) to: State,
}

impl Transition {
    /// The changes that there are. From open straight to closed leads an operator's hand only.
    pub(super) const ALL: [Self; 5] = [
        Self { from: State::Closed, to: State::Open },
        Self { from: State::Open, to: State::HalfOpen },
        Self { from: State::HalfOpen, to: State::Open },
        Self { from: State::HalfOpen, to: State::Closed },
        Self { from: State::Open, to: State::Closed },
    ];
}

/// The right to make one call, and the duty to settle it with who issued it.
///
/// A ticket that is lost while it is the probe would hold the breaker half open for ever. Whoever
/// holds one must therefore settle it as [`Sample::Ignored`](super::sample::Sample::Ignored) when dropped.
#[derive(Debug)]
#[must_use = "a ticket has to be settled"]
pub(crate) struct Ticket {
    /// The phase of the breaker it was issued in, by number.
    pub(super) generation: u64,
    /// The run of failures that its own failure would belong to, by number.
    pub(super) run: u64,
}

/// Whose call asks to go through, as far as that matters where there is one probe for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) tenant: Digest,
    /// Whether the call's own caller gives it less time than the operator would.
    pub(crate) hurries: bool,
}

impl Who {
    pub(crate) fn of(head: &Head) -> Self {
        Self { tenant: head.caller.tenant_digest(), hurries: head.granted.is_some() }
    }
}

#[cfg(test)]
impl Who {
    /// Who has all the time there is.
    pub(super) fn patient(tenant: u8) -> Self {
        Self { tenant: Digest::of(&[tenant]), hurries: false }
    }

    pub(super) fn hurried(tenant: u8) -> Self {
        Self { hurries: true, ..Self::patient(tenant) }
    }
}

/// The answer to a call that asks to go through.
#[derive(Debug)]
pub(crate) enum Admit {
    /// Go ahead.
    Pass(Ticket),
    /// Go ahead: all others wait for how this call ends.
    Probe(Ticket),
    /// Do not go ahead; it is worth asking again after `retry_after`. `None`: when, nobody knows.
    Refuse { retry_after: Option<Duration> },
}
