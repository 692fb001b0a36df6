use std::{sync::Arc, time::Duration};

use crate::call::AtomicDuration;

/// Reads and changes the limit of a [`TimeoutLayer`](super::TimeoutLayer) while its services run. Cheap to clone.
///
/// A change holds for attempts that begin from then on. No service is rebuilt. For which attempts the limit holds is not changed.
#[derive(Debug, Clone)]
pub struct TimeoutHandle {
    limit: Arc<AtomicDuration>,
}

impl TimeoutHandle {
    pub(super) const fn new(limit: Arc<AtomicDuration>) -> Self {
        Self { limit }
    }

    /// How long an attempt may take. `None`: as long as its call.
    pub fn limit(&self) -> Option<Duration> {
        self.limit.get()
    }

    /// Sets it. `None`, or zero: as long as its call.
    pub fn set_limit(&self, limit: impl Into<Option<Duration>>) {
        self.limit.set(limit.into());
    }
}
