//! To look at the layers of a stack, and to steer them, all from one place.

use super::Stack;
#[cfg(feature = "audit")]
use crate::audit::AuditHandle;
#[cfg(feature = "cache")]
use crate::cache::CacheLayer;
use crate::{
    breaker::BreakerHandle, coalesce::CoalesceHandle, concurrency::ConcurrencyHandle, deadline::DeadlineHandle,
    fault::FaultHandle, hedge::HedgeHandle, idempotency::InMemory, loop_guard::LoopGuardHandle, quota::QuotaHandle,
    rate_limit::RateLimitHandle, retry::RetryHandle, timeout::TimeoutHandle,
};

/// The handles of a [`Stack`]'s layers. Cheap to clone. They mean the layers that the stack has when they are taken, so take them
/// when it is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Handles {
    /// Of the audit trail. `None`: it is off.
    #[cfg(feature = "audit")]
    pub audit: Option<AuditHandle>,
    /// Of the deadlines.
    pub deadline: DeadlineHandle,
    /// Of the loop guard. `None`: it is off.
    pub loop_guard: Option<LoopGuardHandle>,
    /// Of the quotas.
    pub quota: QuotaHandle,
    /// The store of idempotency keys, which is its own handle. `None`: they are not looked at, or kept in a store of your own.
    pub idempotency: Option<InMemory>,
    /// The cache, which is its own handle. `None`: it is off.
    #[cfg(feature = "cache")]
    pub cache: Option<CacheLayer>,
    /// Of the calls that are shared. `None`: none is.
    pub coalesce: Option<CoalesceHandle>,
    /// Of the hedges. `None`: they are off.
    pub hedge: Option<HedgeHandle>,
    /// Of the retries and their budget.
    pub retry: RetryHandle,
    /// Of the breakers.
    pub breaker: BreakerHandle,
    /// Of the slots and queues.
    pub concurrency: ConcurrencyHandle,
    /// Of the limit on the rate of attempts.
    pub rate_limit: RateLimitHandle,
    /// Of the attempt limit.
    pub timeout: TimeoutHandle,
    /// Of the faults. `None`: nothing is broken on purpose.
    pub fault: Option<FaultHandle>,
}

impl Stack {
    /// The handles of all layers that have one.
    pub fn handles(&self) -> Handles {
        Handles {
            #[cfg(feature = "audit")]
            audit: self.audit.as_ref().map(crate::audit::AuditLayer::handle),
            deadline: self.deadline.handle(),
            loop_guard: self.loop_guard.as_ref().map(crate::loop_guard::LoopGuardLayer::handle),
            quota: self.quota.handle(),
            idempotency: self.idempotency.as_ref().and_then(|idempotency| idempotency.in_memory().cloned()),
            #[cfg(feature = "cache")]
            cache: self.cache.clone(),
            coalesce: self.coalesce.as_ref().map(crate::coalesce::CoalesceLayer::handle),
            hedge: self.hedge.as_ref().map(crate::hedge::HedgeLayer::handle),
            retry: self.retry.handle(),
            breaker: self.breaker.handle(),
            concurrency: self.concurrency.handle(),
            rate_limit: self.rate_limit.handle(),
            timeout: self.timeout.handle(),
            fault: self.fault.as_ref().map(crate::fault::FaultLayer::handle),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, sync::Arc};

    use governor::{Quota, RateLimiter};
    use tower::service_fn;

    use super::*;
    use crate::{
        BoxError,
        call::{Request, Response},
        deadline::Limits,
        testing::tool,
    };

    #[tokio::test(start_paused = true)]
    async fn what_a_stack_was_given_is_steered_from_here() {
        let stack = Stack::new().rate_limit(Arc::new(RateLimiter::direct(Quota::per_hour(NonZeroU32::MIN))));
        let handles = stack.handles();
        let service =
            stack.service(service_fn(async |_: Request<&'static str>| Ok::<_, BoxError>(Response::new("done".to_owned()))));
        let call = async || service.answer(Request::new(tool("t"), "")).await.unwrap().result.unwrap();
        assert_eq!(call().await, "done");
        assert!(handles.rate_limit.is_limited() && call().await.starts_with("Rate limited: "));
        handles.rate_limit.remove();
        assert!(!handles.rate_limit.is_limited() && call().await == "done");
        assert_eq!(handles.deadline.limits(), Limits::default());
        assert_eq!(handles.timeout.limit(), Some(crate::stack::ATTEMPT_LIMIT));
        assert!(handles.hedge.is_none() && handles.coalesce.is_none() && handles.idempotency.is_none());
    }
}
