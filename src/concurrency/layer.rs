use std::{num::NonZeroU32, sync::Arc};

use tower::Layer;

use super::{Concurrency, permit::Slots};
use crate::call::Slot;

/// Limits how many attempts run at once, per target. See the [module](super).
#[derive(Debug, Clone)]
pub struct ConcurrencyLayer {
    limit: Option<NonZeroU32>,
    queue: u32,
    slot: Slot<Arc<Slots>>,
}

impl Default for ConcurrencyLayer {
    /// 64 attempts per target, and a queue of as many.
    fn default() -> Self {
        const DEFAULT: NonZeroU32 = NonZeroU32::new(64).unwrap();
        Self::new(DEFAULT)
    }
}

impl ConcurrencyLayer {
    /// `limit` attempts per target at once, and a queue of as many.
    pub fn new(limit: NonZeroU32) -> Self {
        Self { limit: Some(limit), queue: limit.get(), slot: Slot::new() }
    }

    /// No limit: every attempt passes.
    pub fn off() -> Self {
        Self { limit: None, queue: 0, slot: Slot::new() }
    }

    /// At most `places` attempts wait per target; with 0, who finds no slot free is refused. The layer then has slots of its
    /// own, apart from the one it was made of.
    #[must_use]
    pub fn queue(mut self, places: u32) -> Self {
        self.queue = places;
        self.slot = Slot::new();
        self
    }
}

impl<S> Layer<S> for ConcurrencyLayer {
    type Service = Concurrency<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Concurrency::new(inner, self.limit, self.queue, self.slot)
    }
}
