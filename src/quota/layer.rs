use std::{sync::Arc, time::Duration};

use governor::Quota;
use tower::Layer;

use super::{
    Per, QuotaError, QuotaHandle, QuotaService,
    limits::{Limits, Line},
    shared::Shared,
};
use crate::{catalogue::Catalogue, gate::Mode};

/// How many keys a layer tells apart unless told otherwise.
const DEFAULT_CAPACITY: usize = 1 << 17;

/// Limits how many calls are let in. See the [module](super).
///
/// What builds a layer takes the one before and gives another, with nothing counted yet; what changes a layer that is in use
/// is its [handle](Self::handle).
#[derive(Debug, Clone)]
pub struct QuotaLayer {
    shared: Arc<Shared>,
}

impl Default for QuotaLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl QuotaLayer {
    /// No limits yet: every call passes.
    pub fn new() -> Self {
        Self::of(Limits::default(), DEFAULT_CAPACITY)
    }

    /// Limits what each tenant may ask of each target.
    #[must_use]
    pub fn per_tenant_and_target(self, quota: Quota) -> Self {
        self.named(Per::TENANT.and(Per::TARGET), quota)
    }

    /// Limits what each tenant may ask in all.
    #[must_use]
    pub fn per_tenant(self, quota: Quota) -> Self {
        self.named(Per::TENANT, quota)
    }

    /// Limits what all tenants together may ask of each target.
    #[must_use]
    pub fn per_target(self, quota: Quota) -> Self {
        self.named(Per::TARGET, quota)
    }

    /// Limits what all tenants together may ask in all.
    #[must_use]
    pub fn overall(self, quota: Quota) -> Self {
        self.named(Per::ALL, quota)
    }

    /// Limits what may be asked [per](Per) whatever you say. A second limit of the same kind takes the place of the first.
    ///
    /// # Errors
    ///
    /// [`QuotaError::TooMany`]: one layer holds two limits beside the four above.
    pub fn limit(self, per: Per, quota: Quota) -> Result<Self, QuotaError> {
        let mut limits = self.limits();
        limits.try_set(per, quota, 0)?;
        Ok(self.with(limits))
    }

    /// Has a call that is over a limit wait for its turn, if that comes within `at_most` and half of the call's own time, and as
    /// long as fewer than `places` calls are waiting; otherwise it is refused at once, as without this. The other half is for the
    /// call itself. At most half of the places are for one tenant; seven eighths while no other waits, and one in any case.
    ///
    /// First come, first served: a place in the line is a place in the limit's own schedule, and nobody overtakes. A call waits
    /// for one limit, the first in the order of decision that has no room; the others are asked when its turn has come, and
    /// if one of them has no room then, the call is refused after all. A waiting call holds no slot and keeps nothing ready;
    /// it costs three allocations.
    #[must_use]
    pub fn wait(self, at_most: Duration, places: u32) -> Self {
        let mut limits = self.limits();
        limits.set_line(Line { at_most, places });
        self.with(limits)
    }

    /// Refuses, or only counts what it would refuse. Default: refuses.
    ///
    /// Where it only counts, nobody waits either: a call that would have to is counted as a refusal.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        let mut limits = self.limits();
        limits.mode = mode;
        self.with(limits)
    }

    /// Checks that a call of each tool that `catalogue` declares can pass: that no [cost](crate::call::TargetPolicy::cost) is
    /// above a burst. From then on the [handle](Self::handle) holds to it too, and the catalogue. Call it last: a limit that you
    /// set on the layer that you get is not checked.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Burst`], which names the dearest tool and the burst that is too small for it.
    pub fn checked_for(self, catalogue: &Catalogue) -> Result<Self, QuotaError> {
        let limits = self.limits();
        let layer = self.with(limits);
        layer.shared.check_for(catalogue)?;
        Ok(layer)
    }

    /// Tells at most `keys` keys apart; further ones are limited together. A key takes 24 bytes, in maps that double: 30 to 65
    /// in all. It is forgotten when it owes nothing any more.
    #[must_use]
    pub fn capacity(self, keys: usize) -> Self {
        Self::of(self.limits(), keys)
    }

    /// How many keys are being remembered.
    pub fn tracked_keys(&self) -> usize {
        self.shared.store.len()
    }

    /// How many decisions were made on a shared cell because there was no room for one more key.
    pub fn overflows(&self) -> u64 {
        self.shared.store.overflows()
    }

    /// A handle on the limits of this layer and of all services made from it, to read them and to change them.
    pub fn handle(&self) -> QuotaHandle {
        QuotaHandle::new(self.shared.clone())
    }

    fn named(self, per: Per, quota: Quota) -> Self {
        let mut limits = self.limits();
        limits.set(per, quota, 0);
        self.with(limits)
    }

    fn limits(&self) -> Limits {
        Limits::clone(&self.shared.limits.load())
    }

    /// Other limits, other cells: what was counted under the old ones means nothing under these.
    fn with(self, limits: Limits) -> Self {
        Self::of(limits, self.shared.store.capacity())
    }

    fn of(limits: Limits, capacity: usize) -> Self {
        Self { shared: Arc::new(Shared::new(limits, capacity)) }
    }
}

impl<S> Layer<S> for QuotaLayer {
    type Service = QuotaService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        QuotaService::new(inner, self.shared.clone())
    }
}
