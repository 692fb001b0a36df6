//! One target's breaker: the machine behind its lock, what it tells the metrics and the upstream's breaker, and the guard of a
//! call under way.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fastrand::Rng;
use tokio::time::Instant;

use super::{
    handle::Status,
    history::Cause,
    machine::Machine,
    parent::Name,
    policy::Policy,
    sample::{Contact, Sample},
    series::Series,
    ticket::{Admit, Force, State, Ticket, Transition},
    upstream::{Passage, Upstream},
};
use crate::{
    call::{Target, Verdict},
    error::{Reason, Rejected},
    gate::Observed,
    metrics::Subject,
};

#[derive(Debug)]
pub(super) struct Cell {
    upstream: Arc<Upstream>,
    method: &'static str,
    label: String,
    name: Name,
    machine: Mutex<(Machine, Rng)>,
    series: Series,
    observed: Observed,
}

impl Cell {
    pub(super) fn new(upstream: Arc<Upstream>, policy: Policy, seed: Option<u64>, target: &Target, now: Instant) -> Self {
        let series = Series::new(upstream.name().clone(), &Subject::of(target), upstream.history().clone(), now);
        let mut name = DefaultHasher::new();
        (target.method().label(), target.name()).hash(&mut name);
        Self {
            upstream,
            method: target.method().label(),
            label: target.label().to_owned(),
            name: name.finish(),
            machine: Mutex::new((Machine::new(policy, now), seed.map_or_else(Rng::new, Rng::with_seed))),
            series,
            observed: Observed::new("breaker"),
        }
    }

    /// Lets a call through under a guard, or refuses it. The upstream is asked first: while it refuses, its targets' breakers
    /// see nothing.
    pub(super) fn admit(self: &Arc<Self>, safe: impl FnOnce() -> bool, now: Instant) -> Result<Guard, Rejected> {
        let passage = self.upstream.admit(self.name, safe, now)?;
        let (admit, transition) = self.lock().0.admit(now);
        if let Some(transition) = transition {
            self.tell(transition, now);
        }
        let (ticket, probe) = match admit {
            Admit::Pass(ticket) => (ticket, false),
            Admit::Probe(ticket) => (ticket, true),
            Admit::Refuse { retry_after } => {
                self.upstream.settle(&passage, self.name, (Sample::Ignored, Contact::Unknown), now);
                return Err(Rejected::new("breaker", Reason::BreakerOpen).retry_after(retry_after));
            }
        };
        Ok(Guard { cell: self.clone(), probe: probe || passage.is_probe(), admitted: Some((ticket, passage)) })
    }

    /// Counts a refusal that was not carried out.
    pub(super) fn observe(&self, target: &Target, rejected: &Rejected) {
        self.observed.count(target, rejected.reason());
    }

    pub(super) fn force(&self, force: Force, now: Instant) {
        let mut locked = self.lock();
        let from = locked.0.state();
        let transition = locked.0.force(force);
        drop(locked);
        if let Some(transition) = transition {
            self.log(transition, Cause::Operator, now);
        }
        if force != Force::Auto {
            // An operator's hand is no sign of trouble: the upstream's breaker forgets what there was.
            self.upstream.heed(self.name, Transition { from, to: State::Closed }, now);
        }
    }

    pub(super) fn set_policy(&self, policy: Policy) {
        self.lock().0.set_policy(policy);
    }

    pub(super) fn is_active(&self, now: Instant) -> bool {
        self.lock().0.is_active(now)
    }

    pub(super) const fn name(&self) -> Name {
        self.name
    }

    pub(super) fn status(&self, now: Instant) -> Status {
        let locked = self.lock();
        let machine = &locked.0;
        Status {
            upstream: self.upstream.name().clone(),
            method: Some(self.method),
            name: (!self.label.is_empty()).then(|| self.label.clone()),
            state: machine.state(),
            since: self.series.since(),
            forced: machine.is_held(),
            until_probe: machine.until_probe(now),
            failures: machine.failures(),
            success_rate: machine.success_rate(),
        }
    }

    fn settle(&self, ticket: Ticket, passage: &Passage, (sample, contact): (Sample, Contact), now: Instant) {
        let mut locked = self.lock();
        let (machine, rng) = &mut *locked;
        let current = machine.is_current(&ticket);
        let transition = machine.settle(ticket, sample, now, rng);
        drop(locked);
        if let Some(transition) = transition {
            self.tell(transition, now);
        }
        // What began before the last success says nothing about now.
        let contact = if contact == Contact::Failed && !current { Contact::Unknown } else { contact };
        self.upstream.settle(passage, self.name, (sample, contact), now);
    }

    fn tell(&self, transition: Transition, now: Instant) {
        self.log(transition, Cause::of(transition), now);
        if transition.to != State::HalfOpen {
            self.upstream.heed(self.name, transition, now);
        }
    }

    fn log(&self, transition: Transition, cause: Cause, now: Instant) {
        self.series.tell(transition, cause, now);
        let (upstream, method, tool) = (&**self.upstream.name(), self.method, &*self.label);
        let (from, cause) = (transition.from.as_str(), cause.as_str());
        match transition.to {
            State::Open => tracing::warn!(upstream, method, tool, from, cause, "the circuit breaker opens"),
            State::HalfOpen => tracing::info!(upstream, method, tool, from, cause, "the circuit breaker probes"),
            State::Closed => tracing::info!(upstream, method, tool, from, cause, "the circuit breaker closes"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Machine, Rng)> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that the breaker let through. Dropped without an outcome, it counts nowhere.
#[derive(Debug)]
pub(super) struct Guard {
    cell: Arc<Cell>,
    probe: bool,
    admitted: Option<(Ticket, Passage)>,
}

impl Guard {
    /// Whether all others wait for how this call ends.
    pub(super) const fn is_probe(&self) -> bool {
        self.probe
    }

    /// Takes in how the call ended; `answered` if by an answer and not by an error.
    #[inline]
    pub(super) fn settle(&mut self, verdict: Verdict, answered: bool, now: Instant) {
        self.end((Sample::of(verdict), Contact::of(verdict, answered)), now);
    }

    /// The upstream has begun to answer: it is alive, however the call ends.
    pub(super) fn commit(&mut self) {
        self.end((Sample::Success, Contact::Made), Instant::now());
    }

    fn end(&mut self, end: (Sample, Contact), now: Instant) {
        if let Some((ticket, passage)) = self.admitted.take() {
            self.cell.settle(ticket, &passage, end, now);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.admitted.is_some() {
            self.end((Sample::Ignored, Contact::Unknown), Instant::now());
        }
    }
}
