use std::sync::Arc;

use tower::Layer;

use super::Attempt;
use crate::{call::Slot, metrics::Durations};

/// Classifies and records each attempt. See the [module](super).
#[derive(Debug, Clone, Default)]
pub struct AttemptLayer {
    slot: Slot<Arc<Durations>>,
}

impl AttemptLayer {
    /// A record of its own.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for AttemptLayer {
    type Service = Attempt<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Attempt::new(inner, self.slot)
    }
}
