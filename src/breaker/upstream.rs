//! The breaker of an upstream, as its targets' breakers find it.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use fastrand::Rng;
use tokio::time::Instant;

use super::{
    cell::Cell,
    handle::Status,
    history::{Cause, History},
    parent::{Name, Parent},
    policy::Policy,
    sample::{Contact, Sample},
    series::Series,
    ticket::{Admit, Force, State, Ticket, Transition, Who},
    watched::{Watch, Watched},
};
use crate::{
    Mode,
    error::{Reason, Rejected},
    metrics::Subject,
};

/// The breaker of one upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    name: Arc<str>,
    machine: Watched<Machine>,
    /// The breakers of its targets.
    members: Mutex<Vec<Weak<Cell>>>,
    series: Series,
    history: Arc<History>,
}

/// A call that an upstream's breaker let through.
#[derive(Debug)]
pub(super) struct Passage {
    ticket: Ticket,
    probe: bool,
}

impl Passage {
    pub(super) const fn is_probe(&self) -> bool {
        self.probe
    }
}

#[derive(Debug)]
struct Machine {
    parent: Parent,
    rng: Rng,
}

impl Watch for Machine {
    fn generation(&self) -> u64 {
        self.parent.generation()
    }

    fn is_quiet(&self) -> bool {
        self.parent.is_quiet()
    }
}

impl Upstream {
    pub(super) fn new(name: &str, policy: Policy, seed: Option<u64>, history: Arc<History>, mode: Mode, now: Instant) -> Self {
        let rng = seed.map_or_else(Rng::new, Rng::with_seed);
        let subject = Subject::whole(name);
        let name: Arc<str> = name.into();
        Self {
            machine: Watched::new(Machine { parent: Parent::new(policy, now), rng }),
            members: Mutex::default(),
            series: Series::new(name.clone(), &subject, history.clone(), mode, now),
            name,
            history,
        }
    }

    pub(super) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where the breakers of its targets note what has changed, as it does.
    pub(super) const fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Lets a call of `name` through, or refuses it. `safe` is asked only where it matters.
    #[inline]
    pub(super) fn admit(
        &self,
        name: Name,
        safe: impl FnOnce() -> bool,
        who: impl FnOnce() -> Who,
        now: Instant,
    ) -> Result<Passage, Rejected> {
        if let Some(generation) = self.machine.quiet() {
            return Ok(Passage { ticket: Ticket { generation, run: 0 }, probe: false });
        }
        match self.change(Cause::of, now, |machine| machine.parent.admit(name, safe(), who, now)) {
            Admit::Pass(ticket) => Ok(Passage { ticket, probe: false }),
            Admit::Probe(ticket) => Ok(Passage { ticket, probe: true }),
            Admit::Refuse { retry_after } => Err(Rejected::new("breaker", Reason::UpstreamOpen).retry_after(retry_after)),
        }
    }

    #[inline]
    pub(super) fn settle(&self, passage: &Passage, name: Name, end: (Sample, Contact), now: Instant) {
        if end.1 != Contact::Failed && self.machine.quiet().is_some() {
            return;
        }
        self.change(Cause::of, now, |Machine { parent, rng }| ((), parent.settle(&passage.ticket, name, end, now, rng)));
    }

    /// Takes in that the breaker of one of its targets has changed.
    pub(super) fn heed(&self, name: Name, transition: Transition, now: Instant) {
        // Counted before the lock is taken: whoever holds it waits for no other.
        let active = if transition.to == State::Open { self.active(now) } else { 0 };
        self.change(Cause::of, now, |Machine { parent, rng }| ((), parent.heed(name, transition, active, now, rng)));
    }

    pub(super) fn force(&self, force: Force, now: Instant) {
        self.change(
            |_| Cause::Operator,
            now,
            |machine| {
                let transition = machine.parent.force(force);
                self.series.show(machine.parent.state(), machine.parent.is_held());
                ((), transition)
            },
        );
    }

    /// Goes by another policy from now on, and so do the breakers of its targets.
    pub(super) fn set_policy(&self, policy: Policy) {
        self.machine.change(|machine| machine.parent.set_policy(policy));
        self.members().iter().for_each(|cell| cell.set_policy(policy));
    }

    /// Refuses, or only observes, from now on, and so do the breakers of its targets: what they show has to follow.
    pub(super) fn set_mode(&self, mode: Mode) {
        self.machine.change(|machine| self.series.set_mode(mode, machine.parent.state(), machine.parent.is_held()));
        self.members().iter().for_each(|cell| cell.set_mode(mode));
    }

    /// Keeps an eye on the breaker of one of its targets, for as long as there is one.
    pub(super) fn adopt(&self, cell: &Arc<Cell>) {
        adopt(&mut self.members.lock().unwrap_or_else(PoisonError::into_inner), cell);
    }

    /// The breakers of its targets.
    pub(super) fn members(&self) -> Vec<Arc<Cell>> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn status(&self, now: Instant) -> Status {
        let parent = &self.machine.lock().parent;
        Status {
            upstream: self.name.clone(),
            method: None,
            name: None,
            state: parent.state(),
            since: self.series.since(),
            forced: parent.is_held(),
            until_probe: parent.until_probe(now),
            failures: parent.failures(),
            success_rate: None,
        }
    }

    /// How many of its targets have been asked for lately, by name.
    fn active(&self, now: Instant) -> usize {
        let members = self.members();
        members.iter().filter(|cell| cell.is_active(now)).map(|cell| cell.name()).collect::<HashSet<_>>().len()
    }

    /// Works on the machine, and shows what has changed before anybody can change more, as a target's breaker does.
    #[inline]
    fn change<T>(
        &self,
        cause: impl FnOnce(Transition) -> Cause,
        now: Instant,
        work: impl FnOnce(&mut Machine) -> (T, Option<Transition>),
    ) -> T {
        let (result, change) = self.machine.change(|machine| {
            let (result, transition) = work(machine);
            let change = transition.map(|transition| (transition, cause(transition)));
            if let Some((transition, cause)) = change {
                self.series.tell(transition, machine.parent.is_held(), cause, now);
            }
            (result, change)
        });
        if let Some((transition, cause)) = change {
            self.log(transition, cause);
        }
        result
    }

    fn log(&self, transition: Transition, cause: Cause) {
        let (upstream, from, cause) = (&*self.name, transition.from.as_str(), cause.as_str());
        match transition.to {
            State::Open => tracing::warn!(upstream, from, cause, "the circuit breaker of the whole upstream opens"),
            State::HalfOpen => tracing::info!(upstream, from, cause, "the circuit breaker of the whole upstream probes"),
            State::Closed => tracing::info!(upstream, from, cause, "the circuit breaker of the whole upstream closes"),
        }
    }
}

/// Adds one to those that are known. Before the list would grow, those that are gone make room.
pub(super) fn adopt<T>(known: &mut Vec<Weak<T>>, one: &Arc<T>) {
    if known.len() == known.capacity() {
        known.retain(|one| one.strong_count() > 0);
    }
    known.push(Arc::downgrade(one));
}

#[cfg(test)]
mod tests {
    use super::{super::shared::Shared, *};
    use crate::testing::tool;

    #[test]
    fn the_changes_of_its_targets_are_told_with_its_own() {
        let (shared, target, now) = (Shared::new(true, Policy::default(), None, Mode::Enforce), tool("t"), Instant::now());
        shared.cell(&target, now).force(Force::Open, now);
        shared.upstream(&target, now).force(Force::Open, now);
        let told = shared.history().all().into_iter().map(|change| (change.name.as_deref().map(str::to_owned), change.to));
        assert_eq!(told.collect::<Vec<_>>(), [(Some("t".to_owned()), State::Open), (None, State::Open)]);
    }

    #[test]
    fn those_that_are_gone_make_room_for_those_that_come() {
        let (mut known, mut kept) = (Vec::new(), Vec::new());
        for n in 0..500 {
            adopt(&mut known, &Arc::new(n));
            if n % 50 == 0 {
                kept.push(Arc::new(n));
                adopt(&mut known, &kept[kept.len() - 1]);
            }
        }
        let alive: Vec<i32> = known.iter().filter_map(Weak::upgrade).map(|one| *one).collect();
        assert_eq!(alive, (0..10).map(|n| 50 * n).collect::<Vec<_>>());
        assert!(known.capacity() <= 64, "{}", known.capacity());
    }
}
