//! The gate that every breaker has, whatever makes it open.
//!
//! `Closed` lets calls through; the owner counts how they end, and [trips](Circuit::trip) the
//! circuit when it has seen enough. Then it is `Open`, where every call is refused until the
//! cool-down is over. Then it is `HalfOpen`: one call goes through as a probe, and how it ends
//! decides between `Closed`, at first along a [`Ramp`], and `Open` again.
//!
//! Nothing here waits, locks or reads a clock: the caller brings the time and the randomness. It
//! reads the clock before it has the lock around the machine, so times may come a little out of
//! order; a time before the last then counts as no time passed.

use std::{ops::ControlFlow, time::Duration};

use tokio::time::Instant;

use super::{
    policy::{Policy, Settings},
    probe::Probe,
    ramp::Ramp,
    sample::Sample,
    ticket::{Admit, Force, State, Ticket, Transition, Who},
};

/// The longest that a call without right of way leaves the probe to others.
const LONGEST_YIELD: Duration = Duration::from_secs(10);

/// The phase of one breaker.
#[derive(Debug)]
pub(super) struct Circuit {
    policy: Policy,
    phase: Phase,
    /// Told apart by this, a call admitted before a change of phase cannot count after it.
    generation: u64,
    /// What the next trip will draw its cool-down from.
    cool_down: Duration,
}

#[derive(Debug)]
pub(super) enum Phase {
    Closed,
    Ramping(Ramp),
    Open(Rest),
    HalfOpen { rest: Rest, probe: Probe },
    HeldClosed,
    HeldOpen,
}

/// A cool-down, under way or over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    since: Instant,
    length: Duration,
}

impl Rest {
    /// What is left until a call may be the probe. One that `yields` leaves it to others for a quarter of the rest more.
    fn left(self, yields: bool, now: Instant) -> Duration {
        let longer = if yields { (self.length / 4).min(LONGEST_YIELD) } else { Duration::ZERO };
        self.length.saturating_add(longer).saturating_sub(now.saturating_duration_since(self.since))
    }
}

impl Circuit {
    /// A closed circuit.
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, phase: Phase::Closed, generation: 0, cool_down: policy.settings().cool_down_min }
    }

    pub(super) const fn settings(&self) -> &Settings {
        self.policy.settings()
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The state as of the last call: it changes with transitions only, never by time alone.
    pub(super) const fn state(&self) -> State {
        match self.phase {
            Phase::Closed | Phase::Ramping(_) | Phase::HeldClosed => State::Closed,
            Phase::Open(_) | Phase::HeldOpen => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Whether every call gets through and counts.
    pub(super) const fn is_plain(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether what calls do counts toward opening.
    pub(super) const fn counts(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Ramping(_))
    }

    /// Whether an operator holds it where it is.
    pub(super) const fn is_held(&self) -> bool {
        matches!(self.phase, Phase::HeldClosed | Phase::HeldOpen)
    }

    /// How long until a call could be the probe; `None` where no call could, or all pass.
    pub(super) fn until_probe(&self, now: Instant) -> Option<Duration> {
        match &self.phase {
            Phase::Open(rest) => Some(rest.left(false, now)),
            Phase::HalfOpen { probe, .. } if !probe.is_out() => Some(Duration::ZERO),
            _ => None,
        }
    }

    /// Decides whether a call may go through. The first one after a cool-down half-opens the circuit; one that `yields` comes
    /// first only where nobody else came for a while. The ticket belongs to no run.
    pub(super) fn admit(&mut self, who: impl FnOnce() -> Who, yields: bool, now: Instant) -> (Admit, Option<Transition>) {
        self.end_ramp(now);
        let refuse = |retry_after| (Admit::Refuse { retry_after }, None);
        match &mut self.phase {
            Phase::Closed | Phase::HeldClosed => (Admit::Pass(self.ticket()), None),
            Phase::HeldOpen => refuse(None),
            Phase::Ramping(ramp) => match ramp.admit(now) {
                Ok(()) => (Admit::Pass(self.ticket()), None),
                Err(retry_after) => refuse(Some(retry_after)),
            },
            Phase::HalfOpen { probe, .. } if probe.is_out() => {
                probe.turn_away(who(), now);
                // No one knows when the probe ends. This is the shortest a cool-down can be, so the hint is never longer than what
                // an open breaker would have said.
                refuse(Some(self.policy.settings().cool_down_min / 2))
            }
            Phase::HalfOpen { rest, probe } => {
                let who = who();
                let left = rest.left(yields, now).max(probe.stands_back(who, now));
                if !left.is_zero() {
                    return refuse(Some(left));
                }
                probe.take(who, now);
                (Admit::Probe(self.ticket()), None)
            }
            Phase::Open(rest) => {
                let (rest, left) = (*rest, rest.left(yields, now));
                if !left.is_zero() {
                    return refuse(Some(left));
                }
                let transition = self.enter(Phase::HalfOpen { rest, probe: Probe::new(who(), now) });
                (Admit::Probe(self.ticket()), transition)
            }
        }
    }

    /// Takes in how an admitted call ended. `Continue`: it counts by the owner's rules. `Break`: it does not, because the phase
    /// that it was admitted in is over, or because it was the probe and has decided. Only a cool-down that begins here uses
    /// `rng`.
    #[inline]
    pub(super) fn settle(
        &mut self,
        ticket: &Ticket,
        sample: Sample,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> ControlFlow<Option<Transition>> {
        self.end_ramp(now);
        if ticket.generation != self.generation {
            return ControlFlow::Break(None);
        }
        match &mut self.phase {
            Phase::Closed | Phase::Ramping(_) => ControlFlow::Continue(()),
            // Of this generation, but only probes are admitted while half open: this is the probe.
            Phase::HalfOpen { probe, .. } => ControlFlow::Break(match sample {
                Sample::Success | Sample::Neutral => {
                    let ramp = Ramp::new(self.policy.settings(), now);
                    self.enter(Phase::Ramping(ramp))
                }
                Sample::Failure { .. } | Sample::Throttled { .. } => self.trip(sample.retry_after(), now, rng),
                Sample::Ignored => {
                    probe.release(now);
                    None
                }
            }),
            // Nothing is admitted while open, so no ticket is of this generation.
            Phase::HeldClosed | Phase::HeldOpen | Phase::Open(_) => ControlFlow::Break(None),
        }
    }

    /// Opens the circuit for a cool-down.
    pub(super) fn trip(&mut self, retry_after: Option<Duration>, now: Instant, rng: &mut fastrand::Rng) -> Option<Transition> {
        let longest = self.policy.settings().cool_down_max;
        // Half fixed, so that the upstream gets a rest; half drawn, so that many clients that lost
        // it together do not come back together.
        let half = self.cool_down / 2;
        let drawn = half + half.mul_f64(rng.f64());
        let asked = retry_after.unwrap_or_default().min(longest);
        self.cool_down = self.cool_down.saturating_mul(2).min(longest);
        self.enter(Phase::Open(Rest { since: now, length: drawn.max(asked) }))
    }

    /// Does as the operator says. True if that ends what has been counted so far.
    pub(super) fn force(&mut self, force: Force) -> (bool, Option<Transition>) {
        let phase = match force {
            Force::Open => Phase::HeldOpen,
            Force::Closed => Phase::HeldClosed,
            Force::Auto if !self.is_held() => return (false, None),
            Force::Auto => Phase::Closed,
        };
        self.cool_down = self.policy.settings().cool_down_min;
        (true, self.enter(phase))
    }

    /// Goes by another policy from now on. A cool-down under way ends no later than the new longest one would.
    pub(super) fn set_policy(&mut self, policy: Policy) {
        let Settings { cool_down_min, cool_down_max, .. } = *policy.settings();
        self.policy = policy;
        self.cool_down = self.cool_down.clamp(cool_down_min, cool_down_max);
        if let Phase::Open(rest) | Phase::HalfOpen { rest, .. } = &mut self.phase {
            rest.length = rest.length.min(cool_down_max);
        }
    }

    fn enter(&mut self, phase: Phase) -> Option<Transition> {
        let from = self.state();
        self.phase = phase;
        self.generation += 1;
        let to = self.state();
        (from != to).then_some(Transition { from, to })
    }

    /// Ends a ramp that is complete. This is no new generation: what the ramp let in still counts.
    #[inline]
    fn end_ramp(&mut self, now: Instant) {
        if let Phase::Ramping(ramp) = &self.phase
            && ramp.remaining(now).is_zero()
        {
            self.phase = Phase::Closed;
            // Only now is the outage over: the next one starts from the shortest cool-down.
            self.cool_down = self.policy.settings().cool_down_min;
        }
    }

    const fn ticket(&self) -> Ticket {
        Ticket { generation: self.generation, run: 0 }
    }
}

#[cfg(test)]
impl Circuit {
    /// Puts it where a test wants it.
    pub(super) fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
    }
}
