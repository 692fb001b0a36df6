//! What a call holds: a slot, or a place in the queue. Dropping it gives it back.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    lookout::Lookout,
    queue::{Charge, Key},
    slots::Slots,
};
use crate::{
    call::{Digest, Response, SlotPool, Verdict},
    error::{BoxError, Reason},
};

/// A slot, held.
#[derive(Debug)]
pub(super) struct Permit {
    slots: Arc<Slots>,
    account: Account,
    /// When the attempt began.
    began: Instant,
    waited: Duration,
    /// How many slots were held with this one.
    in_flight: u32,
    ended: bool,
}

/// Who is charged with a slot.
#[derive(Debug, Clone, Copy)]
pub(super) enum Account {
    /// A tenant that found a slot free.
    Passed(Digest, Instant),
    /// A tenant whose account has heard of it since it began: it was let in from the queue, or the slot is kept for work that
    /// goes on after its attempt.
    Begun(Charge),
}

impl Permit {
    pub(super) const fn passed(slots: Arc<Slots>, tenant: Digest, began: Instant, in_flight: u32) -> Self {
        Self { slots, account: Account::Passed(tenant, began), began, waited: Duration::ZERO, in_flight, ended: false }
    }

    pub(super) const fn queued(slots: Arc<Slots>, charge: Charge, now: Instant, waited: Duration, in_flight: u32) -> Self {
        Self { slots, account: Account::Begun(charge), began: now, waited, in_flight, ended: false }
    }

    /// For the transport of the attempt.
    pub(super) fn pool(&self) -> Arc<dyn SlotPool> {
        self.slots.clone()
    }

    /// The attempt begins later than its slot came: the inner service was not ready.
    pub(super) const fn begin(&mut self, now: Instant) {
        self.began = now;
    }

    /// The attempt has ended.
    pub(super) fn end<R>(&mut self, outcome: &Result<Response<R>, BoxError>) {
        self.ended = true;
        let completed = outcome.as_ref().ok().and_then(|response| response.completed);
        self.tell(Verdict::of(outcome), completed);
    }

    #[inline]
    fn tell(&self, verdict: Verdict, completed: Option<Instant>) {
        self.slots.learn(verdict, self.began, completed, self.waited, self.in_flight);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Verdict::Cancelled, None);
        }
        self.slots.leave(self.account);
    }
}

/// A slot that is kept for work that goes on after its attempt.
#[derive(Debug)]
pub(super) struct Kept {
    slots: Arc<Slots>,
    charge: Charge,
}

impl Kept {
    pub(super) const fn new(slots: Arc<Slots>, charge: Charge) -> Self {
        Self { slots, charge }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.slots.end_keeping(self.charge);
    }
}

/// A place in the queue, held.
#[derive(Debug)]
pub(super) struct Place {
    slots: Arc<Slots>,
    key: Key,
    // A permit on its way to a place that is given up goes back like any other: by its drop.
    outcome: oneshot::Receiver<Result<Permit, Reason>>,
    called: bool,
    lookout: Option<Lookout>,
}

impl Place {
    pub(super) const fn new(
        slots: Arc<Slots>,
        key: Key,
        outcome: oneshot::Receiver<Result<Permit, Reason>>,
        lookout: Option<Lookout>,
    ) -> Self {
        Self { slots, key, outcome, called: false, lookout }
    }

    /// A slot, or why there is none.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit, Reason>> {
        let Poll::Ready(outcome) = Pin::new(&mut self.outcome).poll(cx) else {
            if let Some(lookout) = &mut self.lookout {
                lookout.poll(cx);
            }
            return Poll::Pending;
        };
        self.called = true;
        // The call may have to wait on for the inner service. Who still waits for a slot looks out for itself.
        self.lookout = None;
        Poll::Ready(outcome.unwrap_or(Err(Reason::Shed)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.called {
            self.slots.leave_queue(self.key);
        }
    }
}
