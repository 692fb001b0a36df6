use std::sync::Arc;

use super::flights::Flights;

/// Reads and changes the bound of a [`CoalesceLayer`](super::CoalesceLayer) while its services run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CoalesceHandle {
    flights: Arc<Flights>,
}

impl CoalesceHandle {
    pub(super) const fn new(flights: Arc<Flights>) -> Self {
        Self { flights }
    }

    /// How many shared calls are under way.
    pub fn under_way(&self) -> usize {
        self.flights.len()
    }

    /// How many may be.
    pub fn capacity(&self) -> usize {
        self.flights.capacity()
    }

    /// Sets how many may be. Those under way go on, and may still be joined; with 0, no others are begun: every call passes
    /// unshared.
    pub fn set_capacity(&self, calls: usize) {
        self.flights.set_capacity(calls);
    }
}
