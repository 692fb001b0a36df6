use std::sync::Arc;

use tower::Layer;

use super::{Breaker, BreakerHandle, Policy, shared::Shared};
use crate::Mode;

/// Breaks the circuit to targets and upstreams that keep failing. See the [module](super).
#[derive(Debug, Clone)]
pub struct BreakerLayer {
    shared: Arc<Shared>,
}

impl Default for BreakerLayer {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl BreakerLayer {
    /// Breakers by this policy.
    pub fn new(policy: Policy) -> Self {
        Self { shared: Shared::new(true, policy, None, Mode::default()) }
    }

    /// No breakers: every call passes.
    pub fn off() -> Self {
        Self { shared: Shared::new(false, Policy::default(), None, Mode::default()) }
    }

    /// Draws the cool-downs from a fixed seed, for tests that are to be repeated. The layer then has breakers of its own, apart
    /// from the one it was made of.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.shared = Shared::new(self.shared.is_on(), self.shared.policy(), Some(seed), self.shared.mode());
        self
    }

    /// Whether calls are refused, or only [observed](Mode::Observe): then the outcome of a call that would have been refused
    /// changes no breaker, as if it had been. The layer then has breakers of its own, apart from the one it was made of.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.shared = Shared::new(self.shared.is_on(), self.shared.policy(), self.shared.seed(), mode);
        self
    }

    /// To look at the breakers of this layer, and to steer them while it runs.
    pub fn handle(&self) -> BreakerHandle {
        BreakerHandle::new(self.shared.clone())
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Breaker<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Breaker::new(inner, self.shared.is_on().then(|| self.shared.clone()))
    }
}
