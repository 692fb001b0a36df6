//! The breaker's state machine.
//!
//! `Closed` lets calls through and counts how they end. Too many failures and it is `Open`, where
//! every call is refused until the cool-down is over. Then it is `HalfOpen`: one call goes through
//! as a probe, and how it ends decides between `Closed`, at first along a [`Ramp`], and `Open` again.
//!
//! Nothing here waits, locks or reads a clock: the caller brings the time and the randomness. It
//! reads the clock before it has the lock around the machine, so times may come a little out of
//! order; a time before the last then counts as no time passed.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    health::Health,
    policy::Policy,
    ramp::Ramp,
    ticket::{Admit, Sample, State, Ticket, Transition},
};

/// The breaker of one upstream or tool.
#[derive(Debug)]
pub(crate) struct Machine {
    policy: Policy,
    phase: Phase,
    /// Told apart by this, a call admitted before a change of phase cannot count after it.
    generation: u64,
    health: Health,
    /// What the next trip will draw its cool-down from.
    cool_down: Duration,
}

#[derive(Debug)]
enum Phase {
    Closed,
    Ramping(Ramp),
    Open { since: Instant, cool_down: Duration },
    HalfOpen { probe_out: bool },
}

impl Machine {
    /// A closed breaker that has seen nothing yet.
    pub(crate) fn new(policy: Policy, now: Instant) -> Self {
        Self {
            policy,
            phase: Phase::Closed,
            generation: 0,
            health: Health::new(policy.settings(), now),
            cool_down: policy.settings().cool_down_min,
        }
    }

    /// The state as of the last call: it changes with transitions only, never by time alone.
    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Closed | Phase::Ramping(_) => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Decides whether a call may go through. The first one after a cool-down half-opens the breaker.
    pub(crate) fn admit(&mut self, now: Instant) -> (Admit, Option<Transition>) {
        self.end_ramp(now);
        match &mut self.phase {
            Phase::Closed => (Admit::Pass(self.ticket()), None),
            Phase::Ramping(ramp) => match ramp.admit(now) {
                Ok(()) => (Admit::Pass(self.ticket()), None),
                Err(retry_after) => (Admit::Refuse { retry_after }, None),
            },
            Phase::Open { since, cool_down } => {
                let left = cool_down.saturating_sub(now.saturating_duration_since(*since));
                if !left.is_zero() {
                    return (Admit::Refuse { retry_after: left }, None);
                }
                let transition = self.enter(Phase::HalfOpen { probe_out: true });
                (Admit::Probe(self.ticket()), Some(transition))
            }
            Phase::HalfOpen { probe_out: true } => {
                // No one knows when the probe ends. This is the shortest a cool-down can be, so the
                // hint is never longer than what an open breaker would have said.
                (Admit::Refuse { retry_after: self.policy.settings().cool_down_min / 2 }, None)
            }
            Phase::HalfOpen { probe_out } => {
                *probe_out = true;
                (Admit::Probe(self.ticket()), None)
            }
        }
    }

    /// Takes in how an admitted call ended. If the phase it was admitted in is over, that counts for
    /// nothing. Only a cool-down that begins here uses `rng`.
    pub(crate) fn settle(&mut self, ticket: Ticket, sample: Sample, now: Instant, rng: &mut fastrand::Rng) -> Option<Transition> {
        self.end_ramp(now);
        if ticket.generation != self.generation {
            return None;
        }
        match &mut self.phase {
            Phase::Closed | Phase::Ramping(_) => {
                let settings = self.policy.settings();
                let opens = self.health.count(sample, settings, now);
                opens.then(|| self.open(sample.retry_after(), now, rng))
            }
            // Of this generation, but only probes are admitted while half open: this is the probe.
            Phase::HalfOpen { probe_out } => match sample {
                Sample::Success | Sample::Neutral => {
                    let ramp = Ramp::new(self.policy.settings(), now);
                    Some(self.enter(Phase::Ramping(ramp)))
                }
                Sample::Failure { .. } | Sample::Throttled { .. } => Some(self.open(sample.retry_after(), now, rng)),
                Sample::Ignored => {
                    *probe_out = false;
                    None
                }
            },
            // Nothing is admitted while open, so no ticket is of this generation.
            Phase::Open { .. } => None,
        }
    }

    fn open(&mut self, retry_after: Option<Duration>, now: Instant, rng: &mut fastrand::Rng) -> Transition {
        let longest = self.policy.settings().cool_down_max;
        // Half fixed, so that the upstream gets a rest; half drawn, so that many clients that lost
        // it together do not come back together.
        let half = self.cool_down / 2;
        let drawn = half + half.mul_f64(rng.f64());
        let asked = retry_after.unwrap_or_default().min(longest);
        self.cool_down = self.cool_down.saturating_mul(2).min(longest);
        self.health.clear();
        self.enter(Phase::Open { since: now, cool_down: drawn.max(asked) })
    }

    fn enter(&mut self, phase: Phase) -> Transition {
        let from = self.state();
        self.phase = phase;
        self.generation += 1;
        Transition { from, to: self.state() }
    }

    /// Ends a ramp that is complete. This is no new generation: what the ramp let in still counts.
    fn end_ramp(&mut self, now: Instant) {
        if let Phase::Ramping(ramp) = &self.phase
            && ramp.remaining(now).is_zero()
        {
            self.phase = Phase::Closed;
            // Only now is the outage over: the next one starts from the shortest cool-down.
            self.cool_down = self.policy.settings().cool_down_min;
        }
    }

    fn ticket(&self) -> Ticket {
        Ticket { generation: self.generation }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "model_tests.rs"]
mod model;
