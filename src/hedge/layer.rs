use std::{sync::Arc, time::Duration};

use tower::Layer;

use super::{Hedge, tool::Tool};
use crate::call::{Slot, Target};

/// Makes a second attempt at calls that take unusually long. See the [module](super).
#[derive(Debug, Clone, Copy)]
pub struct HedgeLayer {
    shared: Shared,
}

/// What all services of one layer share: the cells on the targets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared {
    pub(super) share: f64,
    pub(super) slot: Slot<Arc<Tool>>,
}

/// A share of calls that cannot be hedged.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a share of {share} of the calls cannot be hedged: it must be above 0 and at most {MOST}")]
pub struct HedgeError {
    /// What was asked for.
    pub share: f64,
}

const DEFAULT: f64 = 0.05;
/// Hedging every other call is no hedge.
const MOST: f64 = 0.5;

impl Default for HedgeLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl HedgeLayer {
    /// Hedges the slowest twentieth of each tool's calls.
    pub fn new() -> Self {
        Self { shared: Shared { share: DEFAULT, slot: Slot::new() } }
    }

    /// Hedges this share of each tool's calls, the slowest: 0.05 stands for the calls that take longer than the tool's 95th
    /// percentile, and for at most 5 % more attempts.
    ///
    /// # Errors
    ///
    /// A share that is no number, not above 0, or above a half.
    pub fn try_new(share: f64) -> Result<Self, HedgeError> {
        let fits = share > 0.0 && share <= MOST;
        fits.then(|| Self { shared: Shared { share, slot: Slot::new() } }).ok_or(HedgeError { share })
    }

    /// After how long a call of `target` is hedged, as things stand. `None`: not enough is known of it.
    pub fn delay(&self, target: &Target) -> Option<Duration> {
        target.get_cell(&self.shared.slot)?.delay()
    }
}

impl<S: Clone> Layer<S> for HedgeLayer {
    type Service = Hedge<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Hedge::new(inner, self.shared)
    }
}
