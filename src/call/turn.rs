//! Who repeats a call.

use std::sync::Arc;

use crate::sync::atomic::{AtomicU8, Ordering};

/// The turn to repeat a call, where both a retry and a hedge could: whoever takes it first has it, so that one call is never
/// both retried and hedged. Two layers that repeat multiply.
#[derive(Debug, Clone, Default)]
pub struct Turn(Arc<AtomicU8>);

const NOBODY: u8 = 0;
const RETRY: u8 = 1;
const HEDGE: u8 = 2;

impl Turn {
    /// Takes the turn for a retry. It may take it again.
    pub(crate) fn retry(&self) -> bool {
        self.take(RETRY)
    }

    /// Takes the turn for a hedge.
    pub(crate) fn hedge(&self) -> bool {
        self.take(HEDGE)
    }

    /// A hedge that was not let through gives the turn back.
    pub(crate) fn give_back(&self) {
        let _others = self.0.compare_exchange(HEDGE, NOBODY, Ordering::AcqRel, Ordering::Acquire);
    }

    fn take(&self, by: u8) -> bool {
        self.0.compare_exchange(NOBODY, by, Ordering::AcqRel, Ordering::Acquire).map_or_else(|holder| holder == by, |_| true)
    }
}
