//! To look at the slots and queues from outside, and to steer them while they work.

use std::{future::Future, num::NonZeroU32, sync::Arc, time::Duration};

use super::shared::Shared;
use crate::{Mode, call::Target};

/// To look at the slots and queues of one [`ConcurrencyLayer`](super::ConcurrencyLayer), and to steer them while it runs.
///
/// Cheap to clone; all clones mean the same slots. What it changes holds from then on, for those who wait too: no service is
/// built anew. What is said of a target holds for as long as the target's catalogue does. Nothing has an effect on a target that
/// limits do not hold for ([`is_exempt`](Target::is_exempt)), nor where the layer is [off](super::ConcurrencyLayer::off).
#[derive(Debug, Clone)]
pub struct ConcurrencyHandle {
    shared: Arc<Shared>,
}

/// The slots and the queue of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The upstream, by the operator's name for it.
    pub upstream: Arc<str>,
    /// The method.
    pub method: &'static str,
    /// The tool, prompt or resource template, as in metrics. Empty where the method has no names.
    pub name: Arc<str>,
    /// How many attempts may run at once.
    pub limit: u32,
    /// How many slots are held. More than the limit where it has been lowered, where slots are kept, or where calls are only
    /// observed.
    pub in_flight: u32,
    /// How many of those are kept for work that goes on after its attempt (see [`KeptSlot`](crate::call::KeptSlot)).
    pub kept: u32,
    /// How many calls wait for a slot.
    pub waiting: usize,
    /// How many may.
    pub places: usize,
    /// How many tenants they are of.
    pub tenants_waiting: usize,
    /// Whether new calls are refused.
    pub draining: bool,
    /// Whether the limit follows what becomes of attempts.
    pub adapts: bool,
    /// The median time that the target's answers have taken of late. `None`: it has not answered yet.
    pub p50: Option<Duration>,
    /// The time that nine tenths of them have not exceeded.
    pub p90: Option<Duration>,
}

impl ConcurrencyHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The slots and the queue of a target. `None`: limits do not hold for it, or the layer is off.
    pub fn target(&self, target: &Target) -> Option<Status> {
        Some(self.shared.slots(target)?.status())
    }

    /// The same of all targets that calls have come for, or that this handle was asked about.
    pub fn iter(&self) -> impl Iterator<Item = Status> {
        self.shared.all().into_iter().map(|slots| slots.status())
    }

    /// Sets how many attempts may run at once. Where more do, none is begun until enough have ended; where calls wait, those are
    /// served at once that there is room for. A limit that [adapts](super::ConcurrencyLayer::adaptive) is fixed by it.
    ///
    /// The operator may change a tool's limit also [in the catalogue](crate::catalogue::Catalogue::set_tool), in all layers. Of
    /// the two the later change holds; a word that says nothing else of the limit than the word before it is no such change, and
    /// one that no longer says anything of it gives the tool the layer's own limit again, or one that adapts and begins anew.
    pub fn set_limit(&self, target: &Target, limit: NonZeroU32) {
        if let Some(slots) = self.shared.slots(target) {
            slots.set_limit(limit);
        }
    }

    /// Sets the layer's own limit: that of all targets but those that [the operator names
    /// one](crate::call::TargetPolicy::concurrency) for, those to come too. Also of those whose limit was set by hand, or adapts.
    /// `tasks/result` keeps its 1,024 slots, or has as many as this where that is more.
    pub fn set_limits(&self, limit: NonZeroU32) {
        self.shared.set_limits(limit);
    }

    /// Sets how many calls may wait, for all targets and those to come but `tasks/result`, which has no queue. Whoever waits
    /// already keeps its place.
    pub fn set_queues(&self, places: u32) {
        self.shared.set_queues(places);
    }

    /// Sets how many calls may wait. Whoever waits already keeps its place.
    pub fn set_queue(&self, target: &Target, places: u32) {
        if let Some(slots) = self.shared.slots(target) {
            slots.set_places(places);
        }
    }

    /// Refuses new calls from now on, with [`Draining`](crate::error::Reason::Draining), and lets those end that run or wait;
    /// also where limits are only [observed](Mode::Observe), since a drain is no limit. The future ends once all have, kept slots
    /// included, or once the target takes calls [again](Self::resume); it does no work, so it may as well be dropped.
    pub fn drain(&self, target: &Target) -> impl Future<Output = ()> + Send + 'static + use<> {
        let slots = self.shared.slots(target).cloned();
        if let Some(slots) = &slots {
            slots.close(true);
        }
        async move {
            if let Some(slots) = slots {
                slots.drained().await;
            }
        }
    }

    /// Takes new calls again.
    pub fn resume(&self, target: &Target) {
        if let Some(slots) = self.shared.slots(target) {
            slots.close(false);
        }
    }

    /// Whether calls over the limit wait or are refused, or are only observed.
    pub fn mode(&self) -> Mode {
        self.shared.mode()
    }

    /// Switches between the two. Those who wait when nobody has to any more are let in.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.set_mode(mode);
    }
}
