//! What a layer, its services and its handles share.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

use super::{limit::Limit, slots::Slots};
use crate::{
    Mode,
    call::{Follower, Slot, Target},
};

/// The settings that a target begins with, and the slots of all targets met so far.
#[derive(Debug)]
pub(super) struct Shared {
    limit: Limit,
    places: u32,
    observes: Arc<AtomicBool>,
    cell: Slot<Arc<Slots>>,
    met: Mutex<Vec<Weak<Slots>>>,
}

impl Shared {
    pub(super) fn new(limit: Limit, places: u32, mode: Mode) -> Self {
        Self {
            limit,
            places,
            observes: Arc::new(AtomicBool::new(mode == Mode::Observe)),
            cell: Slot::new(),
            met: Mutex::default(),
        }
    }

    pub(super) const fn limit(&self) -> &Limit {
        &self.limit
    }

    pub(super) const fn places(&self) -> u32 {
        self.places
    }

    /// The slots of a target. `None`: it has no limit.
    #[inline]
    pub(super) fn slots<'a>(self: &Arc<Self>, target: &'a Target) -> Option<&'a Arc<Slots>> {
        if matches!(self.limit, Limit::Off) || target.is_exempt() {
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
            let slots = Arc::new(Slots::new(&self.limit, self.places, self.observes.clone(), target));
            let mut met = self.met();
            // Targets go with their catalogues; so this list is no longer than twice what lives.
            if met.len() == met.capacity() {
                met.retain(|slots| slots.strong_count() > 0);
            }
            met.push(Arc::downgrade(&slots));
            slots
        });
        // The operator may have said something else since: what is said from here on is heard, and what was said until here is read.
        let shared: Weak<Self> = Arc::downgrade(self);
        target.server().followers().join(shared);
        slots.follow(&self.limit, target);
        slots
    }

    /// The slots of every target met that is still there.
    pub(super) fn all(&self) -> Vec<Arc<Slots>> {
        self.met().iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn mode(&self) -> Mode {
        if self.observes.load(Ordering::Relaxed) { Mode::Observe } else { Mode::Enforce }
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        self.observes.store(mode == Mode::Observe, Ordering::Relaxed);
        // Who waits waits in vain where nobody else does.
        self.all().iter().for_each(Slots::look_again);
    }

    fn met(&self) -> MutexGuard<'_, Vec<Weak<Slots>>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower for Shared {
    fn follow(&self, target: &Arc<Target>) {
        if let Some(slots) = target.get_cell(&self.cell) {
            slots.follow(&self.limit, target);
        }
    }
}
