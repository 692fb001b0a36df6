use std::sync::Arc;

use tower::Layer;

use super::{Breaker, Policy, cell::Cell};
use crate::call::Slot;

/// Breaks the circuit to targets that keep failing. See the [module](super).
#[derive(Debug, Clone)]
pub struct BreakerLayer {
    policy: Option<Policy>,
    seed: Option<u64>,
    slot: Slot<Arc<Cell>>,
}

impl Default for BreakerLayer {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl BreakerLayer {
    /// Breakers by this policy.
    pub fn new(policy: Policy) -> Self {
        Self { policy: Some(policy), seed: None, slot: Slot::new() }
    }

    /// No breakers: every call passes.
    pub fn off() -> Self {
        Self { policy: None, seed: None, slot: Slot::new() }
    }

    /// Draws the cool-downs from a fixed seed, for tests that are to be repeated. The layer then has breakers of its own, apart
    /// from the one it was made of.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self.slot = Slot::new();
        self
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Breaker<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Breaker::new(inner, self.policy, self.seed, self.slot)
    }
}
