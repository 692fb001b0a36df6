use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use governor::{
    NotUntil, RateLimiter,
    clock::{Clock, Reference},
    middleware::RateLimitingMiddleware,
    state::{DirectStateStore, NotKeyed, keyed::KeyedStateStore},
};
use tower::Layer;

use super::RateLimited;
use crate::call::Head;

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
#[derive(Clone, Default)]
pub struct RateLimitLayer {
    limiter: Option<Arc<dyn RateLimit>>,
}

impl RateLimitLayer {
    /// Attempts pass as `limiter` says.
    pub fn new<L: RateLimit + 'static>(limiter: Arc<L>) -> Self {
        Self { limiter: Some(limiter) }
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
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimited<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimited::new(inner, self.limiter.clone())
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").field("limited", &self.limiter.is_some()).finish()
    }
}
