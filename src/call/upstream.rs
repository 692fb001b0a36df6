//! What all targets of one server share.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{follower::Followers, ledger::Ledger, slots::Slots};

/// The server behind the stack: its name, what the operator believes of it, and the layers' state on it as a whole. Every target
/// of a catalogue holds it.
pub(crate) struct Upstream {
    name: Arc<str>,
    /// What its tools say about themselves is believed.
    annotations: AtomicBool,
    /// What it says of calls that it refused is believed.
    next_hop: AtomicBool,
    pub(super) slots: Slots,
    ledger: Ledger,
    followers: Followers,
}

impl Upstream {
    pub(crate) fn new(name: impl Into<Arc<str>>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            annotations: AtomicBool::new(false),
            next_hop: AtomicBool::new(false),
            slots: Slots::default(),
            ledger: Ledger::new(),
            followers: Followers::default(),
        })
    }

    pub(crate) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn trust_annotations(&self) {
        self.annotations.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn trusts_annotations(&self) -> bool {
        self.annotations.load(Ordering::Relaxed)
    }

    pub(crate) fn trust_next_hop(&self) {
        self.next_hop.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn trusts_next_hop(&self) -> bool {
        self.next_hop.load(Ordering::Relaxed)
    }

    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Who follows the operator's word on its targets.
    pub(crate) const fn followers(&self) -> &Followers {
        &self.followers
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upstream").field(&self.name).finish()
    }
}
