//! The slots of one target: a turnstile for whoever finds one free, and a desk for all others.

mod adapting;

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use metrics::{Gauge, Histogram, SharedString};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{
    handle::Status,
    latency::Latency,
    limit::{AdaptiveLimit, Limit},
    permit::{Account, Kept, Permit, Place},
    queue::{Arrival, Key, Queue},
    turnstile::{Barred, MOST, Turnstile},
};
use crate::{
    call::{Admission, Head, KeptSlot, SlotPool, Target, Verdict},
    error::Reason,
    gate::Observed,
    metrics::{CONCURRENCY_IN_FLIGHT, CONCURRENCY_KEPT, CONCURRENCY_LIMIT, QUEUE_DURATION, QUEUE_LENGTH, labels_of},
};

/// How the one who waits hears of its slot.
type Caller = oneshot::Sender<Result<Permit, Reason>>;

/// The slots of one target.
#[derive(Debug)]
pub(super) struct Slots {
    turnstile: Turnstile,
    desk: Mutex<Desk>,
    latency: Latency,
    /// Whether the desk has to hear of every attempt.
    adapts: AtomicBool,
    observes: Arc<AtomicBool>,
    observed: Observed,
    kept: AtomicU32,
    idle: Notify,
    gauges: Gauges,
    upstream: Arc<str>,
    method: &'static str,
    name: Arc<str>,
}

/// What is decided under the lock.
#[derive(Debug)]
struct Desk {
    queue: Queue<Caller>,
    adaptive: Option<Box<dyn AdaptiveLimit>>,
}

struct Gauges {
    limit: Gauge,
    in_flight: Gauge,
    kept: Gauge,
    queued: Gauge,
    /// Made when somebody first has to wait: most targets have no queue, and a histogram is as long as all else together.
    waited: OnceLock<Histogram>,
    labels: [SharedString; 4],
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
struct Calls(Vec<(Caller, Result<Permit, Reason>)>);

impl Calls {
    /// A permit that nobody takes any more goes back by its drop.
    fn make(self) {
        for (caller, outcome) in self.0 {
            let _unheard = caller.send(outcome);
        }
    }
}

impl Slots {
    pub(super) fn new(limit: &Limit, places: u32, observes: Arc<AtomicBool>, target: &Target) -> Self {
        let (limit, adaptive) = match (target.policy().concurrency, limit) {
            (Some(limit), _) => (limit.get(), None),
            (None, Limit::Static(limit)) => (limit.get(), None),
            (None, Limit::Adaptive(make)) => {
                let adaptive = make(target);
                (adaptive.limit().get(), Some(adaptive))
            }
            (None, Limit::Off) => (MOST, None),
        };
        let gauges = Gauges::new(target);
        gauges.limit.set(f64::from(limit));
        let queue = Queue::new(usize::try_from(places).unwrap_or(usize::MAX), Instant::now());
        let turnstile = Turnstile::new(limit);
        if adaptive.is_some() {
            turnstile.nobody_passes_by();
        }
        Self {
            turnstile,
            adapts: AtomicBool::new(adaptive.is_some()),
            desk: Mutex::new(Desk { queue, adaptive }),
            latency: Latency::default(),
            observes,
            observed: Observed::new("concurrency"),
            kept: AtomicU32::new(0),
            idle: Notify::new(),
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
        if barred == Barred::Busy
            && self.adapts()
            && let Some(entry) = self.enter_adapting(head)
        {
            return entry;
        }
        if self.observes() {
            let places = self.desk().queue.places();
            if let Some(reason) = self.would_refuse(head, barred, places) {
                self.observed.count(&head.target, reason);
            }
            return Entry::Slot(self.permit(head, self.turnstile.enter_anyway()));
        }
        match (barred, head.admission) {
            (Barred::Closed, _) => Entry::Refused(Reason::Draining),
            (Barred::Busy, Admission::NoWait) => Entry::Refused(Reason::NoSlot),
            (Barred::Busy, Admission::Wait) => self.enter_queue(head),
        }
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
        let arrival =
            Arrival { tenant: head.caller.tenant_digest(), class: head.criticality(), deadline: head.end().map(|(end, _)| end) };
        let mut receiver = None;
        let sender = || {
            let (sender, outcome) = oneshot::channel();
            receiver = Some(outcome);
            sender
        };
        let joined = desk.queue.join(arrival, sender, self.latency.typical(), now);
        // Where the limit adapts there may be room already, and somebody due.
        let calls = if desk.adaptive.is_some() { self.serve(&mut desk, now) } else { Calls::default() };
        self.settle_down(&desk);
        drop(desk);
        calls.make();
        match (joined, receiver) {
            (Ok((key, displaced)), Some(outcome)) => {
                if let Some(displaced) = displaced {
                    let _gone = displaced.send(Err(Reason::QueueFull));
                }
                Entry::Place(Place::new(self.clone(), key, outcome))
            }
            (Err(reason), _) => Entry::Refused(reason),
            (Ok(_), None) => Entry::Refused(Reason::Shed),
        }
    }

    fn permit(self: &Arc<Self>, head: &Head, in_flight: u32) -> Permit {
        self.gauges.in_flight.increment(1.0);
        Permit::passed(self.clone(), head.caller.tenant_digest(), head.attempt_at, in_flight)
    }

    /// Why a call that only passes because nothing is refused would have been.
    fn would_refuse(&self, head: &Head, barred: Barred, places: usize) -> Option<Reason> {
        let view = self.turnstile.view();
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        match (barred, head.admission) {
            (Barred::Closed, _) => Some(Reason::Draining),
            (Barred::Busy, Admission::NoWait) => Some(Reason::NoSlot),
            // Beyond the limit are those that would wait.
            (Barred::Busy, Admission::Wait) => (view.in_flight >= view.limit.saturating_add(places)).then_some(Reason::QueueFull),
        }
    }

    /// A slot comes back.
    pub(super) fn leave(self: &Arc<Self>, account: Account) {
        self.gauges.in_flight.decrement(1.0);
        let heard = self.turnstile.leave();
        if heard || matches!(account, Account::Queued(_)) {
            self.settle(account);
        }
    }

    #[cold]
    fn settle(self: &Arc<Self>, account: Account) {
        let now = Instant::now();
        let mut desk = self.desk();
        match account {
            Account::Passed(tenant, started) => desk.queue.charge(tenant, started, self.latency.typical(), now),
            Account::Queued(charge) => desk.queue.settle(charge, now),
            Account::Kept => {}
        }
        let calls = self.serve(&mut desk, now);
        drop(desk);
        calls.make();
    }

    /// Somebody who waited has left.
    pub(super) fn leave_queue(&self, key: Key) {
        let mut desk = self.desk();
        let left = desk.queue.leave(key);
        self.settle_down(&desk);
        drop(desk);
        drop(left);
    }

    /// Gives the slots that are free to those whose turn it is.
    fn serve(self: &Arc<Self>, desk: &mut Desk, now: Instant) -> Calls {
        let typical = self.latency.typical();
        let (mut calls, mut shed) = (Calls::default(), Vec::new());
        while desk.queue.len() > 0 && (self.turnstile.has_room() || self.observes()) && self.is_due(desk, now) {
            let Some(granted) = desk.queue.next(typical, now, &mut shed) else { break };
            let in_flight = self.turnstile.enter_anyway();
            self.tell_of_start(desk, in_flight, now);
            self.gauges.in_flight.increment(1.0);
            self.gauges.waited(granted.waited);
            let permit = Permit::queued(self.clone(), granted.charge, now, granted.waited, in_flight);
            calls.0.push((granted.value, Ok(permit)));
        }
        calls.0.extend(shed.into_iter().map(|(caller, reason)| (caller, Err(reason))));
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
        desk.adaptive = None;
        self.adapts.store(false, Ordering::Relaxed);
        let calls = self.change_limit(&mut desk, limit);
        self.settle_down(&desk);
        drop(desk);
        calls.make();
    }

    pub(super) fn set_places(&self, places: u32) {
        self.desk().queue.set_places(usize::try_from(places).unwrap_or(usize::MAX));
    }

    /// Serves those who may have become free to pass.
    pub(super) fn look_again(self: &Arc<Self>) {
        let mut desk = self.desk();
        let calls = self.serve(&mut desk, Instant::now());
        drop(desk);
        calls.make();
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

    pub(super) fn end_keeping(self: &Arc<Self>) {
        self.kept.fetch_sub(1, Ordering::Relaxed);
        self.gauges.kept.decrement(1.0);
        self.leave(Account::Kept);
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

impl SlotPool for Slots {
    fn keep(self: Arc<Self>) -> KeptSlot {
        self.turnstile.enter_anyway();
        self.kept.fetch_add(1, Ordering::Relaxed);
        self.gauges.in_flight.increment(1.0);
        self.gauges.kept.increment(1.0);
        KeptSlot::new(Kept(self))
    }
}

impl Gauges {
    fn new(target: &Target) -> Self {
        Self {
            limit: CONCURRENCY_LIMIT.gauge(labels_of(target)),
            in_flight: CONCURRENCY_IN_FLIGHT.gauge(labels_of(target)),
            kept: CONCURRENCY_KEPT.gauge(labels_of(target)),
            queued: QUEUE_LENGTH.gauge(labels_of(target)),
            waited: OnceLock::new(),
            labels: labels_of(target),
        }
    }

    fn waited(&self, waited: Duration) {
        self.waited.get_or_init(|| QUEUE_DURATION.histogram(self.labels.iter().cloned())).record(waited.as_secs_f64());
    }
}

impl std::fmt::Debug for Gauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gauges").finish_non_exhaustive()
    }
}
