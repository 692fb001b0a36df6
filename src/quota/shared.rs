//! What all services of one layer share, and how it decides.

use std::{
    cmp::Reverse,
    convert::Infallible,
    fmt,
    num::NonZeroU32,
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::Instant,
};

use super::{
    QuotaError,
    gcra::nanos,
    limits::{Limit, Limits},
    places::Places,
    store::{self, Refused, Store},
    ticket::{MAX_LIMITS, Ticket},
};
use crate::{
    call::{Admission, Digest, Follower, Head, Response, Slot, Standing, Target, TargetPolicy, Verdict},
    catalogue::Catalogue,
    error::{BoxError, Reason, Rejected},
    gate::{Mode, Observed},
    metrics::{Level, QUOTA_WAITING, Subject},
};

pub(super) struct Shared {
    pub(super) limits: ArcSwap<Limits>,
    pub(super) store: Store,
    places: Places,
    /// Tells those who wait that the limits have changed.
    changed: Arc<Notify>,
    handles: Slot<Handles>,
}

/// The handles of one target.
struct Handles {
    observed: Observed,
    waiting: Arc<Level>,
}

impl Handles {
    fn new(target: &Target) -> Self {
        let waiting = Arc::new(Level::new(QUOTA_WAITING, &Subject::of(target), []));
        Self { observed: Observed::new("quota"), waiting }
    }
}

/// What becomes of a call.
#[expect(clippy::large_enum_variant, reason = "handed on at once, and boxed with the call that waits")]
pub(super) enum Answer {
    /// It passes, and no limit counts it.
    Free,
    /// It passes, and is counted; its caller stands there.
    Counted(Option<Standing>),
    /// It has to wait.
    Later(Turn),
    /// It is refused.
    Refused(Rejected),
}

/// A call that was counted. Dropped, it stays so.
pub(super) struct Counted {
    pub(super) shared: Arc<Shared>,
    pub(super) ticket: Ticket,
    pub(super) standing: Option<Standing>,
}

impl Counted {
    /// Takes in how the call ended: one that was not sent is not counted any more, where nobody has come since. What the next hop
    /// has refused was sent.
    #[inline]
    pub(super) fn settle<R>(&self, outcome: &mut Result<Response<R>, BoxError>) {
        match outcome {
            Ok(response) => response.standing = self.standing,
            Err(error) if Verdict::of_error(&**error) == Verdict::LocalReject => self.shared.store.refund(&self.ticket),
            Err(_) => {}
        }
    }
}

impl Shared {
    pub(super) fn new(limits: Limits, capacity: usize) -> Self {
        Self {
            limits: ArcSwap::from_pointee(limits),
            store: Store::new(capacity),
            places: Places::default(),
            changed: Arc::default(),
            handles: Slot::new(),
        }
    }

    /// How many calls wait for their turn.
    pub(super) fn waiting(&self) -> u32 {
        self.places.taken()
    }

    /// Counts a call under all limits, has it wait for one, or refuses it. Where it is counted is noted in `ticket`.
    pub(super) fn admit(self: &Arc<Self>, head: &Head, ticket: &mut Ticket) -> Answer {
        let limits = self.limits.load();
        if limits.is_empty() {
            return Answer::Free;
        }
        if limits.line.places > 0 {
            // So that the line is shown before anybody stands in it.
            self.handles(&head.target);
        }
        let now = self.store.since_epoch(head.arrived);
        let mut room = [None; MAX_LIMITS];
        let checks = limits.checks(head, now, None, &mut room);
        match self.store.admit(now, checks, self.patience(&limits, head), ticket) {
            Ok(None) => Answer::Counted(limits.standing(checks, ticket, now)),
            Ok(Some(turn)) => self.queue(&limits, head, ticket, turn),
            Err(refused) => self.refuse(&limits, head, refused).map_or_else(Answer::Refused, |()| Answer::Free),
        }
    }

    /// Counts a call whose turn has come under the other limits too.
    fn admit_waited(self: &Arc<Self>, head: &Head, turn: &mut Turn, now: Instant) -> Result<Option<Counted>, Rejected> {
        let limits = self.limits.load();
        let now = self.store.since_epoch(now);
        let (mut room, mut others) = ([None; MAX_LIMITS], Ticket::default());
        let checks = limits.checks(head, now, Some(turn.limit.per), &mut room);
        match self.store.admit(now, checks, None, &mut others) {
            Ok(_) => {
                let mut ticket = std::mem::take(&mut turn.ticket);
                let standing = ticket.cells().first().map(|counted| turn.limit.standing(counted.after, now));
                ticket.join(&others);
                Ok(Some(Counted { shared: self.clone(), ticket, standing }))
            }
            Err(refused) => self.refuse(&limits, head, refused).map(|()| None),
        }
    }

    /// How long a call may wait for its turn, in nanoseconds: half of its time it keeps for itself. A call that is made with
    /// nothing left of it ends in doubt for nothing, and the breaker takes that for the target's doing. `None`: it may not wait.
    fn patience(&self, limits: &Limits, head: &Head) -> Option<u64> {
        let line = limits.line;
        let may_wait = head.admission == Admission::Wait && limits.mode == Mode::Enforce;
        if !may_wait || !self.places.is_there_one(line.places, head.caller.tenant_digest()) {
            return None;
        }
        let end = head.deadline.end(None).map_or(Duration::MAX, |(end, _)| end.saturating_duration_since(head.arrived));
        Some(nanos(line.at_most.min(end / 2)))
    }

    fn queue(self: &Arc<Self>, limits: &Limits, head: &Head, ticket: &Ticket, turn: store::Turn) -> Answer {
        let tenant = head.caller.tenant_digest();
        let limit = limits.iter().nth(turn.index);
        let at = self.store.instant(turn.at);
        if let (Some(limit), Some(at)) = (limit, at)
            && self.places.take(limits.line.places, tenant)
        {
            let gauge = self.handles(&head.target).waiting.clone();
            gauge.increment();
            return Answer::Later(Turn { shared: self.clone(), tenant, ticket: *ticket, limit: limit.clone(), at, gauge });
        }
        // Somebody else was quicker.
        self.store.refund(ticket);
        let delay = at.map(|at| at.saturating_duration_since(head.arrived));
        Answer::Refused(refusal(limit, delay))
    }

    /// Refuses a call, or only counts that it would have been.
    fn refuse(&self, limits: &Limits, head: &Head, refused: Refused) -> Result<(), Rejected> {
        match limits.mode {
            Mode::Enforce => Err(refusal(limits.iter().nth(refused.index), refused.retry_after)),
            Mode::Observe => {
                self.handles(&head.target).observed.count(&head.target, Reason::Quota);
                Ok(())
            }
        }
    }

    /// Puts changed limits in the place of the present ones, whoever else is changing them.
    pub(super) fn change<E>(&self, change: impl Fn(&mut Limits, u64) -> Result<(), E>) -> Result<(), E> {
        let now = self.store.since_epoch(Instant::now());
        let mut outcome = Ok(());
        self.limits.rcu(|present| {
            let mut limits = Limits::clone(present);
            outcome = change(&mut limits, now);
            match outcome {
                Ok(()) => Arc::new(limits),
                Err(_) => present.clone(),
            }
        });
        self.changed.notify_waiters();
        outcome
    }

    /// Checks that each call of the catalogue's targets can pass, and has a say in what they cost from then on.
    pub(super) fn check_for(self: &Arc<Self>, catalogue: &Catalogue) -> Result<(), QuotaError> {
        // No cost changes between what is seen here and what is told from then on.
        let _turn = catalogue.turn();
        let mut targets = catalogue.targets();
        targets.sort_by_key(|target| Reverse(target.cost()));
        self.change(|limits, _| targets.iter().try_for_each(|target| limits.expect(target, target.cost())))?;
        let shared: Weak<Self> = Arc::downgrade(self);
        catalogue.followers().join(shared);
        Ok(())
    }

    fn handles<'a>(&self, target: &'a Target) -> &'a Handles {
        target.cell(&self.handles, || Handles::new(target))
    }
}

/// A burst that is below what a call costs would let none pass; so both are held to each other, whichever changes.
impl Follower for Shared {
    fn agree(&self, target: &Arc<Target>, policy: &TargetPolicy) -> Result<(), BoxError> {
        let cost = policy.cost.unwrap_or(NonZeroU32::MIN);
        Ok(self.change(|limits, _| limits.expect(target, cost))?)
    }

    fn follow(&self, target: &Arc<Target>) {
        let Ok(()) = self.change(|limits, _| {
            limits.note(target);
            Ok::<_, Infallible>(())
        });
    }
}

fn refusal(limit: Option<&Limit>, retry_after: Option<Duration>) -> Rejected {
    let rejected = Rejected::new("quota", Reason::Quota).retry_after(retry_after);
    let rejected = if retry_after.is_none() { rejected.never() } else { rejected };
    match limit {
        Some(limit) => rejected.allowing(limit.allowance),
        None => rejected,
    }
}

/// A place in the line, held. Dropping it leaves the line, and takes the place back if nobody is behind.
pub(super) struct Turn {
    shared: Arc<Shared>,
    tenant: Digest,
    ticket: Ticket,
    limit: Limit,
    pub(super) at: Instant,
    gauge: Arc<Level>,
}

impl Turn {
    /// Whether there still is something to wait for: the limit may be gone meanwhile, or only observed.
    pub(super) fn is_waited_for(&self) -> bool {
        let limits = self.shared.limits.load();
        limits.mode == Mode::Enforce && limits.get(self.limit.per).is_some()
    }

    /// Until the limits change.
    pub(super) fn changed(&self) -> OwnedNotified {
        self.shared.changed.clone().notified_owned()
    }

    /// The turn has come: counts the call under the other limits too. `None`: it passes, and no limit counts it.
    ///
    /// # Errors
    ///
    /// One of the others refuses.
    pub(super) fn take(mut self, head: &Head, now: Instant) -> Result<Option<Counted>, Rejected> {
        let shared = self.shared.clone();
        shared.admit_waited(head, &mut self, now)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared.store.refund(&self.ticket);
        self.shared.places.give_back(self.tenant);
        self.gauge.decrement();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("limits", &self.limits.load())
            .field("tracked_keys", &self.store.len())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use governor::Quota;
    use metrics_util::debugging::DebuggingRecorder;

    use super::{super::Per, *};
    use crate::{call::Request, quota::limits::Line, testing::tool};

    const SECOND: Duration = Duration::from_secs(1);

    /// One call a second, and so many places in the line.
    fn limits(places: u32) -> Limits {
        let mut limits = Limits::default();
        limits.line = Line { at_most: SECOND, places };
        limits.set(Per::ALL, Quota::per_second(NonZeroU32::MIN), 0);
        limits
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_is_shown_where_there_is_one_before_anybody_stands_in_it() {
        for places in [0, 1] {
            let recorder = DebuggingRecorder::new();
            let _installed = metrics::set_default_local_recorder(&recorder);
            let (shared, head) = (Arc::new(Shared::new(limits(places), 10)), Request::new(tool("t"), ()).head);
            assert!(matches!(shared.admit(&head, &mut Ticket::default()), Answer::Counted(Some(_))));
            let shown =
                recorder.snapshotter().snapshot().into_vec().iter().any(|(key, ..)| key.key().name() == QUOTA_WAITING.name);
            assert_eq!(shown, places > 0);
        }
    }

    #[test]
    fn what_a_call_costs_and_what_a_burst_holds_are_held_to_each_other() {
        let costing = |cost| TargetPolicy::default().cost(NonZeroU32::new(cost).unwrap());
        let (catalogue, shared) = (Catalogue::new("up").tool("t", costing(3)), Arc::new(Shared::new(limits(0), 10)));
        let burst = |calls| {
            let quota = Quota::per_second(NonZeroU32::new(calls).unwrap());
            shared.change(|limits, now| limits.try_set(Per::ALL, quota, now)).is_ok()
        };
        assert!(shared.check_for(&catalogue).is_err(), "a burst of 1");
        assert!(burst(4));
        shared.check_for(&catalogue).unwrap();
        assert_eq!([burst(2), burst(3), burst(4)], [false, true, true]);
        assert!(catalogue.set_tool("t", costing(5)).is_err());
        catalogue.set_tool("t", costing(4)).unwrap();
        assert!(!burst(3));
        catalogue.set_tool("t", costing(2)).unwrap();
        assert_eq!([burst(1), burst(2)], [false, true]);
    }

    /// Those who come at once have all seen a place that is free.
    #[tokio::test(start_paused = true)]
    async fn of_two_who_go_for_the_last_place_one_gets_it() {
        let (limits, head) = (limits(1), Request::new(tool("t"), ()).head);
        let shared = Arc::new(Shared::new(limits.clone(), 10));
        let ask = || shared.queue(&limits, &head, &Ticket::default(), store::Turn { index: 0, at: nanos(SECOND) });
        let first = ask();
        assert!(matches!(&first, Answer::Later(turn) if turn.at == Instant::now() + SECOND));
        assert!(matches!(ask(), Answer::Refused(rejected) if rejected.delay() == Some(SECOND)));
        drop(first);
        assert!(matches!(ask(), Answer::Later(_)));
    }
}
