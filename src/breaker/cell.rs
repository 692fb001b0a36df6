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
    ticket::{Admit, Force, State, Ticket, Transition, Who},
    upstream::{Passage, Upstream},
};
use crate::{
    Mode,
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
    pub(super) fn new(
        upstream: Arc<Upstream>,
        policy: Policy,
        seed: Option<u64>,
        mode: Mode,
        target: &Target,
        now: Instant,
    ) -> Self {
        let series = Series::new(upstream.name().clone(), &Subject::of(target), upstream.history().clone(), mode, now);
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
    pub(super) fn admit(
        self: &Arc<Self>,
        safe: impl FnOnce() -> bool,
        who: impl Fn() -> Who,
        now: Instant,
    ) -> Result<Guard, Rejected> {
        let passage = self.upstream.admit(self.name, safe, &who, now)?;
        let (admit, transition) = self.change(Cause::of, now, |machine, _| machine.admit(who, now));
        self.pass_on(transition, now);
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
        let (from, _) = self.change(
            |_| Cause::Operator,
            now,
            |machine, _| {
                let (from, transition) = (machine.state(), machine.force(force));
                // What is held holds in any mode, so there may be something to show though nothing has changed.
                self.series.show(machine.state(), machine.is_held());
                (from, transition)
            },
        );
        if force != Force::Auto {
            // An operator's hand is no sign of trouble: the upstream's breaker forgets what there was.
            self.upstream.heed(self.name, Transition { from, to: State::Closed }, now);
        }
    }

    pub(super) fn set_policy(&self, policy: Policy) {
        self.lock().0.set_policy(policy);
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        let locked = self.lock();
        self.series.set_mode(mode, locked.0.state(), locked.0.is_held());
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
        let (current, transition) =
            self.change(Cause::of, now, |machine, rng| (machine.is_current(&ticket), machine.settle(ticket, sample, now, rng)));
        self.pass_on(transition, now);
        // What began before the last success says nothing about now.
        let contact = if contact == Contact::Failed && !current { Contact::Unknown } else { contact };
        self.upstream.settle(passage, self.name, (sample, contact), now);
    }

    /// Works on the machine. What has changed is shown before anybody can change more: told of later, an older change could have
    /// the last word. Only the line in the log waits until the lock is free, as who reads logs may be slow.
    #[inline]
    fn change<T>(
        &self,
        cause: impl FnOnce(Transition) -> Cause,
        now: Instant,
        work: impl FnOnce(&mut Machine, &mut Rng) -> (T, Option<Transition>),
    ) -> (T, Option<Transition>) {
        let mut locked = self.lock();
        let (machine, rng) = &mut *locked;
        let (result, transition) = work(machine, rng);
        let change = transition.map(|transition| (transition, cause(transition)));
        if let Some((transition, cause)) = change {
            self.series.tell(transition, machine.is_held(), cause, now);
        }
        drop(locked);
        if let Some((transition, cause)) = change {
            self.log(transition, cause);
        }
        (result, transition)
    }

    /// Tells the upstream's breaker what has changed.
    fn pass_on(&self, transition: Option<Transition>, now: Instant) {
        if let Some(transition) = transition.filter(|transition| transition.to != State::HalfOpen) {
            self.upstream.heed(self.name, transition, now);
        }
    }

    fn log(&self, transition: Transition, cause: Cause) {
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

#[cfg(test)]
mod tests {
    use std::sync::{OnceLock, Weak};

    use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    use super::*;
    use crate::{breaker::history::History, call::Head, testing::tool};

    /// Counts changes that are told while the breaker is free, so that another may come between the change and its telling.
    #[derive(Debug, Default)]
    struct Told {
        cell: OnceLock<Weak<Cell>>,
        told: Mutex<Vec<bool>>,
    }

    impl CounterFn for Told {
        fn increment(&self, _: u64) {
            let held = self.cell.get().and_then(Weak::upgrade).is_some_and(|cell| cell.machine.try_lock().is_err());
            self.told.lock().unwrap().push(held);
        }

        fn absolute(&self, _: u64) {}
    }

    struct Ear(Arc<Told>);

    impl Recorder for Ear {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.0.clone())
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_before_there_can_be_another() {
        let (told, now, target) = (Arc::<Told>::default(), Instant::now(), tool("t"));
        let _heard = metrics::set_default_local_recorder(Box::leak(Box::new(Ear(told.clone()))));
        let policy = Policy::default();
        let upstream = Arc::new(Upstream::new(target.upstream(), policy, Some(1), Arc::<History>::default(), Mode::Enforce, now));
        let cell = Arc::new(Cell::new(upstream, policy, Some(1), Mode::Enforce, &target, now));
        told.cell.set(Arc::downgrade(&cell)).unwrap();
        for _ in 0..6 {
            let mut guard = cell.admit(|| true, || Who::of(&Head::new(target.clone())), now).unwrap();
            guard.settle(Verdict::NotSent, false, now);
        }
        cell.force(Force::Closed, now);
        assert_eq!(*told.told.lock().unwrap(), [true, true], "it opened, and was closed");
    }
}
