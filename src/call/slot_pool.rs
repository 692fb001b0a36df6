//! The slot that an attempt holds, as a transport sees it.

use std::{fmt, sync::Arc};

use super::{Digest, Head};

/// What hands out slots: the concurrency limit of one target.
pub trait SlotPool: Send + Sync {
    /// Takes one slot more than are free, if need be: for an attempt whose own slot is about to come back although its work
    /// goes on. Whatever shares the slots out counts it as this tenant's (a digest of its name, alike in all its calls).
    fn keep(self: Arc<Self>, tenant: Digest) -> KeptSlot;
}

/// The slot that an attempt holds, and whose it is: what a transport needs in order to [keep](Self::keep) it.
/// [`Head::held_slot`] has it.
#[derive(Clone)]
pub struct HeldSlot {
    pool: Arc<dyn SlotPool>,
    tenant: Digest,
}

impl HeldSlot {
    /// Keeps it: to be called where the attempt is given up, before its future has been dropped.
    pub fn keep(self) -> KeptSlot {
        self.pool.keep(self.tenant)
    }
}

impl Head {
    /// The slot that this attempt holds. `None`: it holds none.
    pub fn held_slot(&self) -> Option<HeldSlot> {
        self.slots.clone().map(|pool| HeldSlot { pool, tenant: self.caller.tenant_digest() })
    }
}

impl fmt::Debug for HeldSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldSlot").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// A slot that outlives its attempt. Dropping it gives it back.
///
/// A server that ignores a cancellation works on after the attempt is gone. A transport that can tell (it sent the
/// cancellation, and no answer has come) keeps a slot from the moment at which it is dropped until the answer comes or a lease
/// ends, so that the limit goes on to bound what the server really does. Until then the attempt's tenant is charged with it, as
/// with a call that runs.
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
