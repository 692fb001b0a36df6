//! The slots of one target: a turnstile for whoever finds one free, and a desk for all others.

mod adapting;
mod telling;

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use metrics::Histogram;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use self::telling::Told;
use super::{
    handle::Status,
    latency::Latency,
    limit::{self, AdaptiveLimit, Limit},
    lookout::Lookout,
    permit::{Account, Kept, Permit, Place},
    queue::{Arrival, Charge, Due, Key, Queue},
    turnstile::{Barred, Turnstile},
};
use crate::{
    call::{Admission, Digest, Head, KeptSlot, SlotPool, Target, Verdict},
    error::Reason,
    gate::Observed,
    logs::Spell,
    metrics::{CONCURRENCY_IN_FLIGHT, CONCURRENCY_KEPT, CONCURRENCY_LIMIT, Level, QUEUE_DURATION, QUEUE_LENGTH, Subject},
};

/// How the one who waits hears of its slot.
type Caller = oneshot::Sender<Result<Permit, Reason>>;

/// The slots of one target.
#[derive(Debug)]
pub(super) struct Slots {
    turnstile: Turnstile,
    desk: Mutex<Desk>,
    latency: Latency,
    /// Whether the calls wait for work done elsewhere.
    waits: bool,
    /// Whether the desk has to hear of every attempt.
    adapts: AtomicBool,
    /// Where the limit may adapt: calls one of those who wait to look again later.
    lookouts: Option<Arc<Notify>>,
    observes: Arc<AtomicBool>,
    observed: Observed,
    kept: AtomicU32,
    idle: Notify,
    /// Whether it has been told that calls are shed.
    shedding: Spell,
    gauges: Gauges,
    upstream: Arc<str>,
    method: &'static str,
    name: Arc<str>,
}

/// What is decided under the lock.
#[derive(Debug)]
struct Desk {
    queue: Queue<Caller>,
    /// The operator's word on the limit that was last taken up.
    said: Option<NonZeroU32>,
    adaptive: Option<Box<dyn AdaptiveLimit>>,
    told: Told,
    /// When one of those who wait looks again. It holds a [`Lookout`], or is on its way to.
    look: Option<Instant>,
}

struct Gauges {
    limit: Level,
    in_flight: Level,
    kept: Level,
    queued: Level,
    /// Made when somebody first has to wait: most targets have no queue, and a histogram is as long as all else together.
    waited: OnceLock<Histogram>,
    subject: Arc<Subject>,
}

/// What a call finds.
#[derive(Debug)]
pub(super) enum Entry {
    Slot(Permit),
    Place(Place),
    Refused(Reason),
}

/// Who is told what, once the lock is given back: a waker may do anything.
#[derive(Debug, Default)]
#[must_use = "who waits is to be told"]
pub(super) struct Calls {
    told: Vec<(Caller, Result<Permit, Reason>)>,
    /// Whether one of those who still wait is to look again.
    lookout: bool,
}

impl Calls {
    /// A permit that nobody takes any more goes back by its drop.
    pub(super) fn make(self, slots: &Slots) {
        for (caller, outcome) in self.told {
            if let Err(reason) = outcome {
                slots.sheds(reason, Instant::now());
            }
            let _unheard = caller.send(outcome);
        }
        if let Some(lookouts) = slots.lookouts.as_ref().filter(|_| self.lookout) {
            lookouts.notify_one();
        }
    }
}

impl Slots {
    pub(super) fn new(limit: &Limit, places: u32, observes: Arc<AtomicBool>, target: &Target) -> Self {
        let said = target.policy().concurrency;
        let may_adapt = matches!(limit, Limit::Adaptive(_));
        let (limit, adaptive) = limit.of(said, target);
        let limit = limit.get();
        let gauges = Gauges::new(target);
        gauges.limit.set(f64::from(limit));
        let waits = target.method().waits();
        let places = usize::try_from(own_places(places, waits)).unwrap_or(usize::MAX);
        let queue = Queue::new(places, Instant::now());
        let turnstile = Turnstile::new(limit);
        if adaptive.is_some() {
            turnstile.nobody_passes_by();
        }
        Self {
            turnstile,
            waits,
            adapts: AtomicBool::new(adaptive.is_some()),
            lookouts: may_adapt.then(Arc::default),
            desk: Mutex::new(Desk { queue, said, adaptive, told: Told::new(limit), look: None }),
            latency: Latency::default(),
            observes,
            observed: Observed::new("concurrency"),
            kept: AtomicU32::new(0),
            idle: Notify::new(),
            shedding: Spell::default(),
            gauges,
            upstream: target.upstream().into(),
            method: target.method().label(),
            name: target.label().into(),
        }
    }

    /// A slot, a place in the queue, or a refusal.
    pub(super) fn enter(self: &Arc<Self>, head: &Head) -> Entry {
        let barred = match self.turnstile.enter() {
            Ok(in_flight) => return Entry::Slot(self.permit(head, in_flight)),
            Err(barred) => barred,
        };
        // Also where limits are only observed: what an operator does by hand is no limit.
        if barred == Barred::Closed {
            return Entry::Refused(Reason::Draining);
        }
        if self.adapts()
            && let Some(entry) = self.enter_adapting(head)
        {
            return entry;
        }
        if self.observes() {
            return self.enter_observed(head);
        }
        match head.admission {
            Admission::NoWait => Entry::Refused(Reason::NoSlot),
            Admission::Wait => self.enter_queue(head),
        }
    }

    fn enter_observed(self: &Arc<Self>, head: &Head) -> Entry {
        // The turnstile is closed under this lock: nobody enters a target that has been found empty since.
        let desk = self.desk();
        if self.turnstile.view().closed {
            return Entry::Refused(Reason::Draining);
        }
        let (would_be, in_flight) = (self.would_refuse(head, desk.queue.places()), self.turnstile.enter_anyway());
        drop(desk);
        if let Some(reason) = would_be {
            self.observed.count(&head.target, reason);
        }
        Entry::Slot(self.permit(head, in_flight))
    }

    fn enter_queue(self: &Arc<Self>, head: &Head) -> Entry {
        let now = Instant::now();
        let desk = self.desk();
        match self.turnstile.enter_or_wait() {
            Some(in_flight) => Entry::Slot(self.permit(head, in_flight)),
            None => self.join_queue(desk, head, now),
        }
    }

    fn join_queue(self: &Arc<Self>, mut desk: MutexGuard<'_, Desk>, head: &Head, now: Instant) -> Entry {
        if self.turnstile.view().closed {
            self.settle_down(&desk);
            return Entry::Refused(Reason::Draining);
        }
        let due = match &head.joint {
            Some(joint) => Some(Due::Latest(joint.clone())),
            None => head.end().map(|(end, _)| Due::At(end)),
        };
        let arrival = Arrival { tenant: head.caller.tenant_digest(), class: head.criticality(), due };
        let mut receiver = None;
        let sender = || {
            let (sender, outcome) = oneshot::channel();
            receiver = Some(outcome);
            sender
        };
        let joined = desk.queue.join(arrival, sender, self.latency.typical(), self.turnstile.view().limit, now);
        // Where the limit adapts there may be room already, and somebody due.
        let calls = if desk.adaptive.is_some() { self.serve(&mut desk, now) } else { Calls::default() };
        self.settle_down(&desk);
        drop(desk);
        calls.make(self);
        match (joined, receiver) {
            (Ok((key, displaced)), Some(outcome)) => {
                if let Some(displaced) = displaced {
                    self.sheds(Reason::QueueFull, now);
                    let _gone = displaced.send(Err(Reason::QueueFull));
                }
                let lookout = self.lookouts.clone().map(|called| Lookout::new(self.clone(), called));
                Entry::Place(Place::new(self.clone(), key, outcome, lookout))
            }
            (Err(reason), _) => {
                self.sheds(reason, now);
                Entry::Refused(reason)
            }
            (Ok(_), None) => Entry::Refused(Reason::Shed),
        }
    }

    fn permit(self: &Arc<Self>, head: &Head, in_flight: u32) -> Permit {
        self.gauges.in_flight.increment();
        Permit::passed(self.clone(), head.caller.tenant_digest(), head.attempt_at, in_flight)
    }

    /// Why a call that only passes because nothing is refused would have been.
    fn would_refuse(&self, head: &Head, places: usize) -> Option<Reason> {
        let view = self.turnstile.view();
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        match head.admission {
            Admission::NoWait => Some(Reason::NoSlot),
            // Beyond the limit are those that would wait.
            Admission::Wait => (view.in_flight >= view.limit.saturating_add(places)).then_some(Reason::QueueFull),
        }
    }

    /// A slot comes back.
    pub(super) fn leave(self: &Arc<Self>, account: Account) {
        self.gauges.in_flight.decrement();
        let heard = self.turnstile.leave();
        if heard || matches!(account, Account::Begun(_)) {
            self.settle(account);
        }
    }

    #[cold]
    fn settle(self: &Arc<Self>, account: Account) {
        let now = Instant::now();
        let mut desk = self.desk();
        match account {
            Account::Passed(tenant, started) => desk.queue.charge(tenant, started, self.latency.typical(), now),
            Account::Begun(charge) => desk.queue.settle(charge, now),
        }
        let calls = self.serve(&mut desk, now);
        let nobody = desk.queue.len() == 0;
        drop(desk);
        calls.make(self);
        if nobody {
            self.calms(now);
        }
    }

    /// Somebody who waited has left.
    pub(super) fn leave_queue(&self, key: Key) {
        let mut desk = self.desk();
        let left = desk.queue.leave(key);
        self.settle_down(&desk);
        let nobody = desk.queue.len() == 0;
        drop(desk);
        drop(left);
        if nobody {
            self.calms(Instant::now());
        }
    }

    /// Gives the slots that are free to those whose turn it is.
    fn serve(self: &Arc<Self>, desk: &mut Desk, now: Instant) -> Calls {
        let typical = self.latency.typical();
        let (mut calls, mut shed) = (Calls::default(), Vec::new());
        while desk.queue.len() > 0 && (self.turnstile.has_room() || self.observes()) {
            let due = self.due(desk, now);
            if due > now {
                calls.lookout = desk.looks_at(due);
                break;
            }
            let Some(granted) = desk.queue.next(typical, now, &mut shed) else { break };
            let in_flight = self.turnstile.enter_anyway();
            self.tell_of_start(desk, in_flight, now);
            self.gauges.in_flight.increment();
            self.gauges.waited(granted.waited);
            let permit = Permit::queued(self.clone(), granted.charge, now, granted.waited, in_flight);
            calls.told.push((granted.value, Ok(permit)));
        }
        calls.told.extend(shed.into_iter().map(|(caller, reason)| (caller, Err(reason))));
        self.settle_down(desk);
        calls
    }

    /// What follows from the queue's length, after whatever may have changed it.
    fn settle_down(&self, desk: &Desk) {
        #[expect(clippy::cast_precision_loss, reason = "no queue is that long")]
        self.gauges.queued.set(desk.queue.len() as f64);
        if desk.queue.len() == 0 && desk.adaptive.is_none() {
            self.turnstile.nobody_waits();
        }
        if self.is_idle(desk) {
            self.idle.notify_waiters();
        }
    }

    fn is_idle(&self, desk: &Desk) -> bool {
        desk.queue.len() == 0 && self.turnstile.view().in_flight == 0
    }

    /// An attempt has ended.
    pub(super) fn learn(
        self: &Arc<Self>,
        verdict: Verdict,
        began: Instant,
        completed: Option<Instant>,
        waited: Duration,
        in_flight: u32,
    ) {
        let ended = || completed.unwrap_or_else(Instant::now);
        if matches!(verdict, Verdict::Ok | Verdict::ToolError) {
            self.latency.record(ended().saturating_duration_since(began));
        }
        if self.adapts() && verdict != Verdict::LocalReject {
            self.adapt(verdict, began, ended(), waited, in_flight);
        }
    }

    fn change_limit(self: &Arc<Self>, desk: &mut Desk, limit: NonZeroU32) -> Calls {
        self.turnstile.set_limit(limit.get());
        self.gauges.limit.set(f64::from(limit.get()));
        self.serve(desk, Instant::now())
    }

    /// Sets the limit for good: one that adapts does so no more.
    pub(super) fn set_limit(self: &Arc<Self>, limit: NonZeroU32) {
        let mut desk = self.desk();
        let calls = self.go_by(&mut desk, limit, None);
        drop(desk);
        calls.make(self);
    }

    /// Goes by what the operator says of the target now, where that is not what was said last: `limit` is the layer's own.
    pub(super) fn follow(self: &Arc<Self>, limit: &Limit, target: &Target) -> Calls {
        let mut desk = self.desk();
        let said = target.policy().concurrency;
        if said == desk.said {
            return Calls::default();
        }
        desk.said = said;
        let (limit, adaptive) = limit.of(said, target);
        self.go_by(&mut desk, limit, adaptive)
    }

    /// Sets the layer's own limit, where the operator says nothing of the target's.
    pub(super) fn set_own_limit(self: &Arc<Self>, limit: NonZeroU32) -> Calls {
        let mut desk = self.desk();
        match desk.said {
            None => self.go_by(&mut desk, limit::own(limit, self.waits), None),
            Some(_) => Calls::default(),
        }
    }

    fn go_by(self: &Arc<Self>, desk: &mut Desk, limit: NonZeroU32, adaptive: Option<Box<dyn AdaptiveLimit>>) -> Calls {
        self.adapts.store(adaptive.is_some(), Ordering::Relaxed);
        if adaptive.is_some() {
            self.turnstile.nobody_passes_by();
        }
        desk.adaptive = adaptive;
        self.change_limit(desk, limit)
    }

    pub(super) fn set_places(&self, places: u32) {
        self.desk().queue.set_places(usize::try_from(places).unwrap_or(usize::MAX));
    }

    /// Sets how many places the layer has for each target.
    pub(super) fn set_own_places(&self, places: u32) {
        self.set_places(own_places(places, self.waits));
    }

    /// Serves those who may have become free to pass.
    pub(super) fn look_again(self: &Arc<Self>) {
        let mut desk = self.desk();
        let calls = self.serve(&mut desk, Instant::now());
        drop(desk);
        calls.make(self);
    }

    pub(super) fn close(&self, closed: bool) {
        // Whoever could not pass by before may be on its way to the desk: it finds out there.
        let desk = self.desk();
        self.turnstile.close(closed);
        drop(desk);
        if !closed {
            self.idle.notify_waiters();
        }
    }

    /// Once no slot is held and nobody waits, or new calls are let in again.
    pub(super) async fn drained(self: Arc<Self>) {
        loop {
            let mut woken = std::pin::pin!(self.idle.notified());
            woken.as_mut().enable();
            if !self.turnstile.view().closed || self.is_idle(&self.desk()) {
                return;
            }
            woken.await;
        }
    }

    pub(super) fn end_keeping(self: &Arc<Self>, charge: Charge) {
        self.kept.fetch_sub(1, Ordering::Relaxed);
        self.gauges.kept.decrement();
        self.leave(Account::Begun(charge));
    }

    pub(super) fn status(&self) -> Status {
        let view = self.turnstile.view();
        let desk = self.desk();
        let typical = self.latency.typical();
        Status {
            upstream: self.upstream.clone(),
            method: self.method,
            name: self.name.clone(),
            limit: view.limit,
            in_flight: view.in_flight,
            kept: self.kept.load(Ordering::Relaxed),
            waiting: desk.queue.len(),
            places: desk.queue.places(),
            tenants_waiting: desk.queue.tenants(),
            draining: view.closed,
            adapts: desk.adaptive.is_some(),
            p50: typical.map(|typical| typical.p50),
            p90: typical.map(|typical| typical.p90),
        }
    }

    fn adapts(&self) -> bool {
        self.adapts.load(Ordering::Relaxed)
    }

    fn observes(&self) -> bool {
        self.observes.load(Ordering::Relaxed)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places that the layer has for a target. Who waits for calls that wait for work done elsewhere would wait for as long.
const fn own_places(places: u32, waits: bool) -> u32 {
    if waits { 0 } else { places }
}

impl SlotPool for Slots {
    fn keep(self: Arc<Self>, tenant: Digest) -> KeptSlot {
        let charge = self.desk().queue.begin(tenant, self.latency.typical(), Instant::now());
        self.turnstile.enter_anyway();
        self.kept.fetch_add(1, Ordering::Relaxed);
        self.gauges.in_flight.increment();
        self.gauges.kept.increment();
        KeptSlot::new(Kept::new(self, charge))
    }
}

impl Gauges {
    fn new(target: &Target) -> Self {
        let subject = Subject::of(target);
        Self {
            limit: Level::new(CONCURRENCY_LIMIT, &subject, []),
            in_flight: Level::new(CONCURRENCY_IN_FLIGHT, &subject, []),
            kept: Level::new(CONCURRENCY_KEPT, &subject, []),
            queued: Level::new(QUEUE_LENGTH, &subject, []),
            waited: OnceLock::new(),
            subject,
        }
    }

    fn waited(&self, waited: Duration) {
        self.waited.get_or_init(|| self.subject.histogram(QUEUE_DURATION, &[]).0).record(waited.as_secs_f64());
    }
}

impl std::fmt::Debug for Gauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gauges").finish_non_exhaustive()
    }
}
