use std::{sync::Arc, time::Duration};

use super::{HedgeError, layer::Shared};
use crate::call::Target;

/// Reads and steers a [`HedgeLayer`](super::HedgeLayer) while its services run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HedgeHandle {
    shared: Arc<Shared>,
}

impl HedgeHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The share of each tool's calls that is hedged. 0: none is.
    pub fn share(&self) -> f64 {
        self.shared.share()
    }

    /// Hedges another share of each tool's calls, of those that begin from now on; 0 hedges none of them. What the calls of a
    /// tool have earned so far stays, and so does what is known of how long they take.
    ///
    /// # Errors
    ///
    /// As [`HedgeLayer::try_new`](super::HedgeLayer::try_new), but for 0; then nothing is changed.
    pub fn set_share(&self, share: f64) -> Result<(), HedgeError> {
        self.shared.set_share(share)
    }

    /// After how long a call of `target` is hedged, as things stand. `None`: not enough is known of it.
    pub fn delay(&self, target: &Target) -> Option<Duration> {
        target.get_cell(&self.shared.slot)?.delay()
    }

    /// How many hedges the calls of `target` have earned and not used up. `None`: none has come yet that could be hedged.
    pub fn earned(&self, target: &Target) -> Option<f64> {
        Some(target.get_cell(&self.shared.slot)?.earned())
    }
}
