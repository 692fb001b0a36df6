//! The slots of one target, the queue behind them, and the guards that give both back.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use metrics::Gauge;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::{
    call::Target,
    metrics::{CONCURRENCY_IN_FLIGHT, CONCURRENCY_LIMIT, QUEUE_LENGTH, labels_of},
};

/// The slots of one target.
#[derive(Debug)]
pub(super) struct Slots {
    // Hands slots out in the order in which calls began to wait; nobody overtakes who waits.
    semaphore: Arc<Semaphore>,
    waiting: AtomicU32,
    places: u32,
    in_flight: Gauge,
    queued: Gauge,
}

impl Slots {
    pub(super) fn new(limit: NonZeroU32, places: u32, target: &Target) -> Self {
        CONCURRENCY_LIMIT.gauge(labels_of(target)).set(f64::from(limit.get()));
        let permits = usize::try_from(limit.get()).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            semaphore: Arc::new(Semaphore::new(permits)),
            waiting: AtomicU32::new(0),
            places,
            in_flight: CONCURRENCY_IN_FLIGHT.gauge(labels_of(target)),
            queued: QUEUE_LENGTH.gauge(labels_of(target)),
        }
    }

    /// A slot, if one is free now and nobody waits for it.
    pub(super) fn try_take(self: &Arc<Self>) -> Option<Permit> {
        let permit = self.semaphore.clone().try_acquire_owned().ok()?;
        Some(Permit::new(permit, self.clone()))
    }

    /// A place in the queue, if one is free.
    pub(super) fn try_queue(self: &Arc<Self>) -> Option<Place> {
        let joined = |waiting| (waiting < self.places).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, joined).ok()?;
        self.queued.increment(1.0);
        Some(Place { slots: self.clone() })
    }
}

/// A slot, held. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Permit {
    _permit: OwnedSemaphorePermit,
    slots: Arc<Slots>,
}

impl Permit {
    fn new(permit: OwnedSemaphorePermit, slots: Arc<Slots>) -> Self {
        slots.in_flight.increment(1.0);
        Self { _permit: permit, slots }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.slots.in_flight.decrement(1.0);
    }
}

/// A place in the queue, held. Dropping it leaves the queue.
#[derive(Debug)]
pub(super) struct Place {
    slots: Arc<Slots>,
}

impl Place {
    /// Waits for a slot; the place is given up with the future.
    pub(super) async fn wait(self) -> Result<Permit, AcquireError> {
        let permit = self.slots.semaphore.clone().acquire_owned().await?;
        Ok(Permit::new(permit, self.slots.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.slots.waiting.fetch_sub(1, Ordering::Relaxed);
        self.slots.queued.decrement(1.0);
    }
}
