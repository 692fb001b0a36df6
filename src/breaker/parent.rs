//! The breaker of an upstream as a whole: a [circuit](super::circuit) above those of its targets, with rules of its own.
//!
//! It never counts failures as such: one caller that hammers one sick tool would shut out all. It opens when the targets'
//! own breakers do, several of them, or when the transport cannot reach the upstream, for several targets in a row.
//!
//! Pure like the circuit: the clock, the randomness and the number of active targets are passed in.

use std::{ops::ControlFlow, time::Duration};

use tokio::time::Instant;

use super::{
    circuit::Circuit,
    policy::{Policy, Settings},
    sample::{Contact, Sample},
    ticket::{Admit, Force, State, Ticket, Transition, Who},
};

/// One target says nothing about the others: this many have to be in trouble.
const SEVERAL: usize = 2;

/// A target by the number of its name: targets that bear one name (a tool that several authorisations list privately) are
/// one here.
pub(super) type Name = u64;

/// The state of one upstream's breaker.
#[derive(Debug)]
pub(super) struct Parent {
    circuit: Circuit,
    contact: LostContact,
    /// Whose breakers have opened since this one last closed, and when each last did. At most one entry a name.
    open: Vec<(Name, Instant)>,
    /// Who was the last probe, if that failed: the next should be another.
    failed_probe: Option<Name>,
}

/// Calls that could not be delivered, without an answer between them.
#[derive(Debug)]
struct LostContact {
    length: u32,
    /// Whose was the first.
    first: Name,
    /// Whether there are others among them.
    mixed: bool,
    /// When the last one ended.
    last: Instant,
}

impl Parent {
    /// A closed breaker that has seen nothing yet.
    pub(super) fn new(policy: Policy, now: Instant) -> Self {
        Self {
            circuit: Circuit::new(policy),
            contact: LostContact { length: 0, first: 0, mixed: false, last: now },
            open: Vec::new(),
            failed_probe: None,
        }
    }

    /// The state as of the last call.
    pub(super) const fn state(&self) -> State {
        self.circuit.state()
    }

    /// Whether an operator holds it where it is.
    pub(super) const fn is_held(&self) -> bool {
        self.circuit.is_held()
    }

    /// Told apart by this, a call admitted before a change of phase cannot count after it.
    pub(super) const fn generation(&self) -> u64 {
        self.circuit.generation()
    }

    /// How long until a call could be the probe.
    pub(super) fn until_probe(&self, now: Instant) -> Option<Duration> {
        self.circuit.until_probe(now)
    }

    /// Calls in a row that could not be delivered.
    pub(super) const fn failures(&self) -> u32 {
        self.contact.length
    }

    /// Whether there is nothing to ask it or to tell it, but of calls that could not be delivered.
    pub(super) const fn is_quiet(&self) -> bool {
        self.circuit.is_plain() && self.contact.length == 0
    }

    /// Decides whether a call of `name` may go through. The probe should harm nobody and tell something new: so a call that is
    /// not safe to repeat, or whose target was the last probe to fail, leaves it to others for a while.
    pub(super) fn admit(
        &mut self,
        name: Name,
        safe: bool,
        who: impl FnOnce() -> Who,
        now: Instant,
    ) -> (Admit, Option<Transition>) {
        let yields = !safe || self.failed_probe == Some(name);
        self.circuit.admit(who, yields, now)
    }

    /// Takes in how a call of `name` ended that was admitted here.
    pub(super) fn settle(
        &mut self,
        ticket: &Ticket,
        name: Name,
        (sample, contact): (Sample, Contact),
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Option<Transition> {
        if let ControlFlow::Break(transition) = self.circuit.settle(ticket, sample, now, rng) {
            if let Some(Transition { to, .. }) = transition {
                self.forget();
                self.failed_probe = (to == State::Open).then_some(name);
            }
            return transition;
        }
        let &Settings { connect_failures, sample_max_age, .. } = self.circuit.settings();
        match contact {
            Contact::Unknown => return None,
            Contact::Made => {
                self.contact.length = 0;
                return None;
            }
            Contact::Failed => self.contact.extend(name, sample_max_age, now),
        }
        let lost = connect_failures > 0 && self.contact.length >= connect_failures && self.contact.mixed;
        if lost { self.trip(now, rng) } else { None }
    }

    /// Takes in that the breaker of `name` has changed, when so many names are `active`.
    pub(super) fn heed(
        &mut self,
        name: Name,
        Transition { from, to }: Transition,
        active: usize,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Option<Transition> {
        if !self.circuit.counts() {
            return None;
        }
        let &Settings { open_share, sample_max_age, .. } = self.circuit.settings();
        self.open.retain(|(_, at)| now.saturating_duration_since(*at) <= sample_max_age);
        let known = self.open.iter().position(|(open, _)| *open == name);
        match (from, to, known) {
            (State::Closed, State::Open, None) => self.open.push((name, now)),
            // A relapse is no news of who was in trouble before this breaker last closed.
            (_, State::Open, Some(known)) => self.open[known].1 = now,
            (_, State::Closed, Some(known)) => {
                self.open.swap_remove(known);
                return None;
            }
            _ => return None,
        }
        let open = self.open.len();
        let most = open_share > 0.0 && open >= SEVERAL && open as f64 >= open_share * active as f64;
        if most { self.trip(now, rng) } else { None }
    }

    /// Does as the operator says.
    pub(super) fn force(&mut self, force: Force) -> Option<Transition> {
        let (anew, transition) = self.circuit.force(force);
        if anew {
            self.forget();
        }
        transition
    }

    /// Goes by another policy from now on.
    pub(super) fn set_policy(&mut self, policy: Policy) {
        self.circuit.set_policy(policy);
    }

    fn trip(&mut self, now: Instant, rng: &mut fastrand::Rng) -> Option<Transition> {
        self.forget();
        self.circuit.trip(None, now, rng)
    }

    /// What was known before a change is no reason for the next.
    fn forget(&mut self) {
        self.open.clear();
        self.contact.length = 0;
        self.failed_probe = None;
    }
}

impl LostContact {
    /// One more; a run that has been silent for longer than `max_age` is over.
    fn extend(&mut self, name: Name, max_age: Duration, now: Instant) {
        if self.length == 0 || now.saturating_duration_since(self.last) > max_age {
            (self.length, self.first, self.mixed) = (0, name, false);
        }
        self.length = self.length.saturating_add(1);
        self.mixed |= self.first != name;
        self.last = now;
    }
}

#[cfg(test)]
#[path = "parent_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "parent_model_tests.rs"]
mod model;
