use std::{num::NonZeroU32, sync::Arc};

use super::{Budget, layer::Shared};

/// Reads and steers a [`RetryLayer`](super::RetryLayer) while its services run: cheap to clone, and to call.
///
/// What it sets holds from the next decision on, for calls under way too. No service is rebuilt.
#[derive(Debug, Clone)]
pub struct RetryHandle {
    shared: Arc<Shared>,
}

impl RetryHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// How many attempts a call has at most, the first included.
    pub fn attempts(&self) -> u32 {
        self.shared.attempts()
    }

    /// Gives calls so many attempts. A call that began when there was only one keeps to it.
    pub fn set_attempts(&self, attempts: NonZeroU32) {
        self.shared.set_attempts(attempts);
    }

    /// The tokens that are left in the budget.
    pub fn tokens(&self) -> u32 {
        self.shared.budget.tokens()
    }

    /// The tokens of a full budget.
    pub fn capacity(&self) -> u32 {
        self.shared.budget.capacity()
    }

    /// Makes the budget larger or smaller: see [`Budget::set_capacity`].
    pub fn set_capacity(&self, capacity: u32) {
        self.shared.budget.set_capacity(capacity);
    }

    /// The budget itself.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.shared.budget
    }
}
