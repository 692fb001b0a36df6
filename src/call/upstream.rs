//! What all targets of one server share.

use std::{fmt, sync::Arc};

use super::{ledger::Ledger, slots::Slots};

/// The server behind the stack: its name, and the layers' state on it as a whole. Every target of a catalogue holds it.
pub(crate) struct Upstream {
    name: Arc<str>,
    pub(super) slots: Slots,
    ledger: Ledger,
}

impl Upstream {
    pub(crate) fn new(name: impl Into<Arc<str>>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), slots: Slots::default(), ledger: Ledger::new() })
    }

    pub(crate) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upstream").field(&self.name).finish()
    }
}
