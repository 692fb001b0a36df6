use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use governor::{
    NotUntil, RateLimiter,
    clock::{Clock, Reference},
    middleware::RateLimitingMiddleware,
    state::{DirectStateStore, NotKeyed, keyed::KeyedStateStore},
};
use tower::Layer;

use super::RateLimited;
use crate::{
    call::{Head, Slot, Target},
    error::Reason,
    gate::{Mode, Observed},
};

/// Something that says whether one more attempt may be made now.
pub trait RateLimit: Send + Sync {
    /// Counts one attempt, or says how long to wait before there is room for one.
    ///
    /// # Errors
    ///
    /// The time until an attempt would be let through.
    fn check(&self, head: &Head) -> Result<(), Duration>;
}

/// Every direct limiter of governor's whose middleware says when to come back: the plain one and `StateInformationMiddleware`.
impl<S, C, M> RateLimit for RateLimiter<NotKeyed, S, C, M>
where
    S: DirectStateStore + Send + Sync,
    C: Clock + Send + Sync,
    M: RateLimitingMiddleware<C::Instant, NegativeOutcome = NotUntil<C::Instant>> + Send + Sync,
    C::Instant: Reference,
{
    fn check(&self, _head: &Head) -> Result<(), Duration> {
        match Self::check(self) {
            Ok(_) => Ok(()),
            Err(not_until) => Err(not_until.wait_time_from(self.clock().now())),
        }
    }
}

/// A keyed limiter of governor's, with the function that finds a call's key.
struct Keyed<L, F> {
    limiter: L,
    key: F,
}

impl<K, S, C, M, F> RateLimit for Keyed<Arc<RateLimiter<K, S, C, M>>, F>
where
    K: Hash + Eq + Clone + Send + Sync,
    S: KeyedStateStore<K> + Send + Sync,
    C: Clock + Send + Sync,
    M: RateLimitingMiddleware<C::Instant, NegativeOutcome = NotUntil<C::Instant>> + Send + Sync,
    C::Instant: Reference,
    F: Fn(&Head) -> K + Send + Sync,
{
    fn check(&self, head: &Head) -> Result<(), Duration> {
        match self.limiter.check_key(&(self.key)(head)) {
            Ok(_) => Ok(()),
            Err(not_until) => Err(not_until.wait_time_from(self.limiter.clock().now())),
        }
    }
}

/// Limits the rate of attempts. See the [module](super).
#[derive(Debug, Clone, Default)]
pub struct RateLimitLayer {
    shared: Arc<Shared>,
}

/// What all services of one layer share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) setting: ArcSwap<Setting>,
    observed: Slot<Observed>,
}

/// What the operator has set. Never changed: a change puts another in its place.
#[derive(Clone, Default)]
pub(super) struct Setting {
    pub(super) limiter: Option<Arc<dyn RateLimit>>,
    pub(super) mode: Mode,
}

impl Shared {
    pub(super) fn observe(&self, target: &Target) {
        target.cell(&self.observed, || Observed::new("rate_limit")).count(target, Reason::RateLimit);
    }

    fn change(&self, change: impl Fn(&mut Setting)) {
        self.setting.rcu(|present| {
            let mut setting = Setting::clone(present);
            change(&mut setting);
            setting
        });
    }
}

/// Changes the limiter of a [`RateLimitLayer`] while it is in use. Cheap to clone; all clones, and all services of the layer,
/// see the same limiter. A change holds for the next attempt; no service is rebuilt.
#[derive(Debug, Clone)]
pub struct RateLimitHandle {
    shared: Arc<Shared>,
}

impl RateLimitHandle {
    /// From now on attempts pass as `limiter` says, which starts with what it has counted itself.
    pub fn set<L: RateLimit + 'static>(&self, limiter: Arc<L>) {
        self.shared.change(|setting| setting.limiter = Some(limiter.clone()));
    }

    /// From now on every attempt passes.
    pub fn remove(&self) {
        self.shared.change(|setting| setting.limiter = None);
    }

    /// Whether there is a limit.
    pub fn is_limited(&self) -> bool {
        self.shared.setting.load().limiter.is_some()
    }

    /// Whether attempts over the limit are refused, or only counted.
    pub fn mode(&self) -> Mode {
        self.shared.setting.load().mode
    }

    /// Refuses from now on, or only counts.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.change(|setting| setting.mode = mode);
    }
}

impl RateLimitLayer {
    /// Attempts pass as `limiter` says.
    pub fn new<L: RateLimit + 'static>(limiter: Arc<L>) -> Self {
        let layer = Self::off();
        layer.handle().set(limiter);
        layer
    }

    /// Attempts pass as a keyed limiter of governor's says, under the key that `key` finds. Such a limiter forgets keys only
    /// when told to (`retain_recent`): call that now and then, or its memory grows with the keys.
    pub fn keyed<K, S, C, M>(limiter: Arc<RateLimiter<K, S, C, M>>, key: impl Fn(&Head) -> K + Send + Sync + 'static) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        S: KeyedStateStore<K> + Send + Sync + 'static,
        C: Clock + Send + Sync + 'static,
        M: RateLimitingMiddleware<C::Instant, NegativeOutcome = NotUntil<C::Instant>> + Send + Sync + 'static,
        C::Instant: Reference,
    {
        Self::new(Arc::new(Keyed { limiter, key }))
    }

    /// No limit: every attempt passes.
    pub fn off() -> Self {
        Self::default()
    }

    /// Refuses, or only counts what it would refuse. Default: refuses. The layer then is one of its own, apart from the one
    /// that it was made of.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        let setting = Setting { mode, ..Setting::clone(&self.shared.setting.load()) };
        Self { shared: Arc::new(Shared { setting: ArcSwap::from_pointee(setting), observed: Slot::new() }) }
    }

    /// A handle on the limiter of this layer and of all services made from it.
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle { shared: self.shared.clone() }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimited<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimited::new(inner, self.shared.clone())
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = self.setting.load();
        f.debug_struct("Shared").field("limited", &setting.limiter.is_some()).field("mode", &setting.mode).finish_non_exhaustive()
    }
}
