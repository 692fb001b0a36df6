//! Where the limit adapts: it hears of every call, so that none passes the desk by.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Desk, Entry, Slots};
use crate::{
    call::{Admission, Head, Verdict},
    concurrency::{adaptive::Crowd, limit::Sample},
    error::Reason,
};

impl Slots {
    /// A slot, a place in the queue, or a refusal. `None`: the limit adapts no more.
    pub(super) fn enter_adapting(self: &Arc<Self>, head: &Head) -> Option<Entry> {
        let mut desk = self.desk();
        let (waiting, places) = (desk.queue.len(), desk.queue.places());
        let adaptive = desk.adaptive.as_mut()?;
        let view = self.turnstile.view();
        if view.closed {
            return Some(Entry::Refused(Reason::Draining));
        }
        let (passes, in_flight) = (waiting == 0 && self.turnstile.has_room(), view.in_flight);
        adaptive.arrived(crowd(in_flight, waiting + usize::from(!passes)), head.attempt_at);
        if passes || self.observes() {
            if let Some(reason) = self.would_refuse(head, places).filter(|_| !passes) {
                self.observed.count(&head.target, reason);
            }
            let in_flight = self.turnstile.enter_anyway();
            adaptive.started(crowd(in_flight, waiting), head.attempt_at);
            return Some(Entry::Slot(self.permit(head, in_flight)));
        }
        Some(match head.admission {
            Admission::NoWait => Entry::Refused(Reason::NoSlot),
            Admission::Wait => self.join_queue(desk, head, Instant::now()),
        })
    }

    /// When one of those who wait may have a slot that is free. Where none is held, whoever waits is all that there is: at once.
    pub(super) fn due(&self, desk: &Desk, now: Instant) -> Instant {
        let adaptive = desk.adaptive.as_ref().filter(|_| self.turnstile.view().in_flight > 0);
        adaptive.map_or(now, |adaptive| adaptive.may_start(now))
    }

    /// When one of those who wait is to look again.
    pub(in crate::concurrency) fn look(&self) -> Option<Instant> {
        self.desk().look
    }

    /// Whoever was to look again at this time does so, or leaves it to another.
    pub(in crate::concurrency) fn end_look(self: &Arc<Self>, at: Instant) {
        let mut desk = self.desk();
        if desk.look == Some(at) {
            desk.look = None;
            let calls = self.serve(&mut desk, Instant::now());
            drop(desk);
            calls.make(self);
        }
    }

    pub(super) fn tell_of_start(&self, desk: &mut Desk, in_flight: u32, now: Instant) {
        let waiting = desk.queue.len();
        if let Some(adaptive) = &mut desk.adaptive {
            adaptive.started(crowd(in_flight, waiting), now);
        }
    }

    /// An attempt has ended whose slot is still held.
    #[cold]
    pub(super) fn adapt(self: &Arc<Self>, verdict: Verdict, started: Instant, ended: Instant, waited: Duration, in_flight: u32) {
        let mut desk = self.desk();
        let crowd = crowd(self.turnstile.view().in_flight.saturating_sub(1), desk.queue.len());
        let Some(adaptive) = &mut desk.adaptive else { return };
        adaptive.sample(&Sample { started, ended, waited, in_flight, crowd, verdict });
        let limit = adaptive.limit();
        if self.turnstile.view().limit == limit.get() {
            return;
        }
        let calls = self.change_limit(&mut desk, limit);
        let from = desk.told.is_now(limit, ended);
        drop(desk);
        calls.make(self);
        self.steps(from, limit);
    }
}

impl Desk {
    /// Nobody is due before then. `true`: one of those who wait has to be called, or nobody would look that early.
    pub(super) fn looks_at(&mut self, due: Instant) -> bool {
        let calls = self.look.is_none_or(|look| due < look);
        if calls {
            self.look = Some(due);
        }
        calls
    }
}

fn crowd(in_flight: u32, waiting: usize) -> Crowd {
    Crowd { in_flight, waiting: u32::try_from(waiting).unwrap_or(u32::MAX) }
}
