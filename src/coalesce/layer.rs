use std::sync::Arc;

use metrics::Counter;
use tower::Layer;

use super::{Coalesce, CoalesceHandle, flights::Flights};
use crate::call::Slot;

/// Makes one call of calls that ask the same at the same time. See the [module](super).
#[derive(Debug, Clone)]
pub struct CoalesceLayer {
    shared: Arc<Shared>,
}

/// What all services of one layer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) single_caller: bool,
    pub(super) flights: Arc<Flights>,
    pub(super) slot: Slot<Counter>,
}

/// How many shared calls may be under way at once, unless told otherwise.
const CAPACITY: usize = 4096;

impl Default for CoalesceLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl CoalesceLayer {
    /// Shares calls among callers of one authorisation.
    pub fn new() -> Self {
        Self::with(false, CAPACITY)
    }

    /// Takes all callers for one, also those without authorisation: right where the transport has one caller only (stdio, in
    /// process), and nowhere else. The layer then shares nothing with the one it was made of.
    #[must_use]
    pub fn single_caller(self) -> Self {
        Self::with(true, self.shared.flights.capacity())
    }

    /// At most so many shared calls are under way at once; further ones pass unshared. Default: 4,096. The layer then shares
    /// nothing with the one it was made of.
    #[must_use]
    pub fn capacity(self, calls: usize) -> Self {
        Self::with(self.shared.single_caller, calls)
    }

    fn with(single_caller: bool, capacity: usize) -> Self {
        let flights = Arc::new(Flights::new(capacity));
        Self { shared: Arc::new(Shared { single_caller, flights, slot: Slot::new() }) }
    }

    /// To read how many shared calls there are, and to change how many there may be.
    pub fn handle(&self) -> CoalesceHandle {
        CoalesceHandle::new(self.shared.flights.clone())
    }
}

impl<S> Layer<S> for CoalesceLayer {
    type Service = Coalesce<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Coalesce::new(inner, self.shared.clone())
    }
}
