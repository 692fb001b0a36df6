use std::{num::NonZeroU32, sync::Arc};

use super::{Budget, BudgetError, MakeBackoff, layer::Shared};
use crate::call::Target;

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

    /// Has calls wait as `backoff` says between attempts. A call that has been repeated already goes on as it began.
    pub fn set_backoff(&self, backoff: impl MakeBackoff + 'static) {
        self.shared.set_backoff(backoff);
    }

    /// The tokens of a full budget, of each upstream or [of all together](super::RetryLayer::budget).
    pub fn capacity(&self) -> u32 {
        self.shared.capacity()
    }

    /// Makes the budgets larger or smaller, those of all upstreams that calls have come for and of those to come: see
    /// [`Budget::set_capacity`].
    ///
    /// # Errors
    ///
    /// Fewer tokens than would pay for a retry, with both values: then nothing changes.
    pub fn set_capacity(&self, capacity: u32) -> Result<(), BudgetError> {
        self.shared.set_capacity(capacity)
    }

    /// The budget that pays for the retries of this target's upstream.
    pub fn budget(&self, target: &Target) -> Arc<Budget> {
        self.shared.budget(target).clone()
    }
}
