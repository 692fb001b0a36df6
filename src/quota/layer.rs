use std::{fmt, num::NonZeroU32, sync::Arc};

use governor::Quota;
use tokio::time::Instant;
use tower::Layer;

use super::{
    QuotaService,
    gcra::Gcra,
    store::{Check, Store},
};
use crate::{
    call::{Digest, Head},
    error::{Allowance, Reason, Rejected, Scope},
};

/// How many keys a layer tells apart unless told otherwise.
const DEFAULT_CAPACITY: usize = 1 << 17;

/// Limits how many calls are let in. See the [module](super).
#[derive(Debug, Clone)]
pub struct QuotaLayer {
    limits: Limits,
    store: Arc<Store>,
}

impl Default for QuotaLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl QuotaLayer {
    /// No limits yet: every call passes.
    pub fn new() -> Self {
        Self { limits: Limits::default(), store: Arc::new(Store::new(DEFAULT_CAPACITY)) }
    }

    /// Limits what each tenant may ask of each target.
    #[must_use]
    pub fn per_tenant_and_target(self, quota: Quota) -> Self {
        self.with(Scope::TenantAndTarget, quota)
    }

    /// Limits what each tenant may ask in all.
    #[must_use]
    pub fn per_tenant(self, quota: Quota) -> Self {
        self.with(Scope::Tenant, quota)
    }

    /// Limits what all tenants together may ask of each target.
    #[must_use]
    pub fn per_target(self, quota: Quota) -> Self {
        self.with(Scope::Target, quota)
    }

    /// Limits what all tenants together may ask in all.
    #[must_use]
    pub fn overall(self, quota: Quota) -> Self {
        self.with(Scope::All, quota)
    }

    /// Tells at most `keys` keys apart, in 24 bytes each; further ones are limited together.
    #[must_use]
    pub fn capacity(mut self, keys: usize) -> Self {
        self.store = Arc::new(Store::new(keys));
        self
    }

    /// How many keys are being remembered.
    pub fn tracked_keys(&self) -> usize {
        self.store.len()
    }

    /// How many decisions were made on a shared cell because there was no room for one more key.
    pub fn overflows(&self) -> u64 {
        self.store.overflows()
    }

    /// Other limits, other cells: what was counted under the old ones means nothing under these.
    fn with(mut self, scope: Scope, quota: Quota) -> Self {
        self.store = Arc::new(Store::new(self.store.capacity()));
        self.limits.0[scope as usize] = Some(Limit {
            gcra: Gcra::new(quota),
            allowance: Allowance { calls: quota.burst_size().get(), per: quota.burst_size_replenished_in(), scope },
        });
        self
    }
}

impl<S> Layer<S> for QuotaLayer {
    type Service = QuotaService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        QuotaService::new(inner, self.limits, self.store.clone())
    }
}

/// In the order of decision: a tenant's own limits come before those that all share.
const SCOPES: [Scope; 4] = [Scope::TenantAndTarget, Scope::Tenant, Scope::Target, Scope::All];

impl Scope {
    /// The name of the cell that `head` is counted in. Made from the tenant's keyed digest, so nobody can aim at a
    /// collision; the target's number and the scope only have to tell this process's own cells apart.
    fn key(self, head: &Head, shared: Digest) -> u128 {
        /// Odd, and with bits all over: the golden ratio's.
        const SPREAD: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
        let tenant = head.caller.tenant_digest();
        let (who, what) = match self {
            Self::TenantAndTarget => (tenant, head.target.id() + 1),
            Self::Tenant => (tenant, 0),
            Self::Target => (shared, head.target.id() + 1),
            Self::All => (shared, 0),
        };
        who.bits() ^ u128::from(what).wrapping_mul(SPREAD)
    }
}

#[derive(Debug, Clone, Copy)]
struct Limit {
    gcra: Gcra,
    allowance: Allowance,
}

/// The limits of a layer, one place per scope.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits([Option<Limit>; SCOPES.len()]);

impl Limits {
    /// Counts a call under all limits, or refuses it.
    pub(super) fn admit(&self, store: &Store, head: &Head, shared: Digest, now: Instant) -> Result<(), Rejected> {
        if self.0.iter().all(Option::is_none) {
            return Ok(());
        }
        let checks = SCOPES.map(|scope| {
            let Limit { gcra, .. } = self.0[scope as usize]?;
            Some(Check { key: scope.key(head, shared), gcra, cost: NonZeroU32::MIN })
        });
        store.admit(now, &checks).map_err(|refused| {
            let rejected = match refused.retry_after {
                Some(delay) => Rejected::new("quota", Reason::Quota).retry_after(Some(delay)),
                None => Rejected::new("quota", Reason::Quota).never(),
            };
            match self.0[refused.index] {
                Some(limit) => rejected.allowing(limit.allowance),
                None => rejected,
            }
        })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("len", &self.len()).finish_non_exhaustive()
    }
}
