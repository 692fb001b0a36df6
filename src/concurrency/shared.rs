//! What a layer, its services and its handles share.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{limit::Limit, slots::Slots};
use crate::{
    Mode,
    call::{Follower, Slot, Target},
};

/// What targets have in common, and the slots of all that were met so far.
#[derive(Debug)]
pub(super) struct Shared {
    is_off: bool,
    own: Mutex<Own>,
    observes: Arc<AtomicBool>,
    cell: Slot<Arc<Slots>>,
}

/// The layer's own settings: those of targets of which the operator says nothing. No waker is woken under the lock.
#[derive(Debug)]
struct Own {
    limit: Limit,
    places: u32,
    met: Vec<Weak<Slots>>,
}

impl Own {
    fn all(&self) -> Vec<Arc<Slots>> {
        self.met.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Shared {
    pub(super) fn new(limit: Limit, places: u32, mode: Mode) -> Self {
        Self {
            is_off: matches!(limit, Limit::Off),
            own: Mutex::new(Own { limit, places, met: Vec::new() }),
            observes: Arc::new(AtomicBool::new(mode == Mode::Observe)),
            cell: Slot::new(),
        }
    }

    pub(super) fn limit(&self) -> Limit {
        self.own().limit.clone()
    }

    pub(super) fn places(&self) -> u32 {
        self.own().places
    }

    /// The slots of a target. `None`: it has no limit.
    #[inline]
    pub(super) fn slots<'a>(self: &Arc<Self>, target: &'a Target) -> Option<&'a Arc<Slots>> {
        if self.is_off || target.is_exempt() {
            return None;
        }
        match target.get_cell(&self.cell) {
            Some(slots) => Some(slots),
            None => Some(self.meet(target)),
        }
    }

    #[cold]
    fn meet<'a>(self: &Arc<Self>, target: &'a Target) -> &'a Arc<Slots> {
        let slots = target.cell(&self.cell, || {
            let mut own = self.own();
            let slots = Arc::new(Slots::new(&own.limit, own.places, self.observes.clone(), target));
            // Targets go with their catalogues; so this list is no longer than twice what lives.
            if own.met.len() == own.met.capacity() {
                own.met.retain(|slots| slots.strong_count() > 0);
            }
            own.met.push(Arc::downgrade(&slots));
            slots
        });
        // The operator may have said something else since: what is said from here on is heard, and what was said until here is
        // read.
        let shared: Weak<Self> = Arc::downgrade(self);
        target.server().followers().join(shared);
        self.take_up(target, slots);
        slots
    }

    /// What the operator says of the target.
    fn take_up(&self, target: &Target, slots: &Arc<Slots>) {
        let own = self.own();
        let calls = slots.follow(&own.limit, target);
        drop(own);
        calls.make(slots);
    }

    /// The slots of every target met that is still there.
    pub(super) fn all(&self) -> Vec<Arc<Slots>> {
        self.own().all()
    }

    /// Changes the layer's own limit.
    pub(super) fn set_limits(&self, limit: NonZeroU32) {
        if self.is_off {
            return;
        }
        let mut own = self.own();
        own.limit = Limit::Static(limit);
        let changed: Vec<_> = own.all().into_iter().map(|slots| (slots.set_own_limit(limit), slots)).collect();
        drop(own);
        changed.into_iter().for_each(|(calls, slots)| calls.make(&slots));
    }

    /// Changes how many may wait.
    pub(super) fn set_queues(&self, places: u32) {
        let mut own = self.own();
        own.places = places;
        own.all().iter().for_each(|slots| slots.set_own_places(places));
    }

    pub(super) fn mode(&self) -> Mode {
        if self.observes.load(Ordering::Relaxed) { Mode::Observe } else { Mode::Enforce }
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        self.observes.store(mode == Mode::Observe, Ordering::Relaxed);
        // Who waits waits in vain where nobody else does.
        self.all().iter().for_each(Slots::look_again);
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower for Shared {
    fn follow(&self, target: &Arc<Target>) {
        if let Some(slots) = target.get_cell(&self.cell) {
            self.take_up(target, slots);
        }
    }
}
