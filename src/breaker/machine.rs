//! The breaker of one target: a [circuit](super::circuit) that opens when the target's [health](super::health) is too poor.

use std::{ops::ControlFlow, time::Duration};

use tokio::time::Instant;

use super::{
    circuit::Circuit,
    health::Health,
    policy::Policy,
    sample::Sample,
    ticket::{Admit, Force, State, Ticket, Transition, Who},
};

/// The state of one target's breaker.
#[derive(Debug)]
pub(crate) struct Machine {
    circuit: Circuit,
    health: Health,
    /// When a call last asked to go through.
    asked: Option<Instant>,
}

impl Machine {
    /// A closed breaker that has seen nothing yet.
    pub(crate) fn new(policy: Policy, now: Instant) -> Self {
        Self { circuit: Circuit::new(policy), health: Health::new(policy.settings(), now), asked: None }
    }

    /// The state as of the last call: it changes with transitions only, never by time alone.
    pub(crate) const fn state(&self) -> State {
        self.circuit.state()
    }

    /// Whether an operator holds it where it is.
    pub(crate) const fn is_held(&self) -> bool {
        self.circuit.is_held()
    }

    /// How long until a call could be the probe.
    pub(crate) fn until_probe(&self, now: Instant) -> Option<Duration> {
        self.circuit.until_probe(now)
    }

    /// Failures in a row.
    pub(crate) const fn failures(&self) -> u32 {
        self.health.failures()
    }

    /// The share of successes, once there are enough calls to tell.
    pub(crate) fn success_rate(&self) -> Option<f64> {
        self.health.success_rate()
    }

    /// Whether a call has asked to go through lately: within the time after which nothing counts any more.
    pub(crate) fn is_active(&self, now: Instant) -> bool {
        let max_age = self.circuit.settings().sample_max_age;
        self.asked.is_some_and(|asked| now.saturating_duration_since(asked) <= max_age)
    }

    /// Decides whether a call may go through.
    #[inline]
    pub(crate) fn admit(&mut self, who: impl FnOnce() -> Who, now: Instant) -> (Admit, Option<Transition>) {
        self.asked = Some(now);
        let (mut admit, transition) = self.circuit.admit(who, false, now);
        if let Admit::Pass(ticket) | Admit::Probe(ticket) = &mut admit {
            ticket.run = self.health.run();
        }
        (admit, transition)
    }

    /// Whether this call began after the last success ended, and after the last change of state.
    pub(crate) const fn is_current(&self, ticket: &Ticket) -> bool {
        ticket.run == self.health.run()
    }

    /// Takes in how an admitted call ended. If the phase it was admitted in is over, that counts for
    /// nothing. Only a cool-down that begins here uses `rng`.
    #[inline]
    pub(crate) fn settle(&mut self, ticket: Ticket, sample: Sample, now: Instant, rng: &mut fastrand::Rng) -> Option<Transition> {
        if let ControlFlow::Break(transition) = self.circuit.settle(&ticket, sample, now, rng) {
            if transition.is_some() {
                self.health.clear();
            }
            return transition;
        }
        if !self.health.count(sample, ticket.run, self.circuit.settings(), now) {
            return None;
        }
        self.health.clear();
        self.circuit.trip(sample.retry_after(), now, rng)
    }

    /// Does as the operator says.
    pub(crate) fn force(&mut self, force: Force) -> Option<Transition> {
        let (anew, transition) = self.circuit.force(force);
        if anew {
            self.health.clear();
        }
        transition
    }

    /// Goes by another policy from now on.
    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.circuit.set_policy(policy);
        self.health.set_reach(policy.settings());
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "model_tests.rs"]
mod model;
