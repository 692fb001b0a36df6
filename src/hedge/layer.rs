use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tower::Layer;

use super::{Hedge, HedgeHandle, tool::Tool};
use crate::call::Slot;

/// Makes a second attempt at calls that take unusually long. See the [module](super).
#[derive(Debug, Clone)]
pub struct HedgeLayer {
    shared: Arc<Shared>,
}

/// What all services of one layer share.
#[derive(Debug)]
pub(super) struct Shared {
    /// As the bits of an `f64`.
    share: AtomicU64,
    pub(super) slot: Slot<Arc<Tool>>,
}

impl Shared {
    fn new(share: f64) -> Self {
        Self { share: AtomicU64::new(share.to_bits()), slot: Slot::new() }
    }

    pub(super) fn share(&self) -> f64 {
        f64::from_bits(self.share.load(Ordering::Relaxed))
    }

    pub(super) fn set_share(&self, share: f64) -> Result<(), HedgeError> {
        let share = if share == 0.0 { share } else { checked(share)? };
        self.share.store(share.to_bits(), Ordering::Relaxed);
        Ok(())
    }
}

fn checked(share: f64) -> Result<f64, HedgeError> {
    let fits = share > 0.0 && share <= MOST;
    fits.then_some(share).ok_or(HedgeError { share })
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
        Self { shared: Arc::new(Shared::new(DEFAULT)) }
    }

    /// Hedges this share of each tool's calls, the slowest: 0.05 stands for the calls that take longer than the tool's 95th
    /// percentile, and for at most 5 % more attempts.
    ///
    /// # Errors
    ///
    /// A share that is no number, not above 0, or above a half.
    pub fn try_new(share: f64) -> Result<Self, HedgeError> {
        Ok(Self { shared: Arc::new(Shared::new(checked(share)?)) })
    }

    /// To read what is known of the targets, and to change the share while calls are made.
    pub fn handle(&self) -> HedgeHandle {
        HedgeHandle::new(self.shared.clone())
    }
}

impl<S: Clone> Layer<S> for HedgeLayer {
    type Service = Hedge<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Hedge::new(inner, self.shared.clone())
    }
}
