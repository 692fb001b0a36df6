//! The slot that an attempt holds, as a transport sees it.

use std::{fmt, sync::Arc};

/// What hands out slots: the concurrency limit of one target.
pub trait SlotPool: Send + Sync {
    /// Takes one slot more than are free, if need be: for an attempt whose own slot is about to come back although its work
    /// goes on.
    fn keep(self: Arc<Self>) -> KeptSlot;
}

/// A slot that outlives its attempt. Dropping it gives it back.
///
/// A server that ignores a cancellation works on after the attempt is gone. A transport that can tell (it sent the
/// cancellation, and no answer has come) keeps a slot from the moment at which it is dropped until the answer comes or a lease
/// ends, so that the limit goes on to bound what the server really does.
#[must_use = "dropped, the slot is free again"]
pub struct KeptSlot {
    _give_back: Box<dyn Send + Sync>,
}

impl KeptSlot {
    /// A kept slot that comes back when `give_back` is dropped.
    pub fn new(give_back: impl Send + Sync + 'static) -> Self {
        Self { _give_back: Box::new(give_back) }
    }
}

impl fmt::Debug for KeptSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptSlot").finish_non_exhaustive()
    }
}
