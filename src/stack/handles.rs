//! To look at the layers of a stack, and to steer them, all from one place.

use super::Stack;
#[cfg(feature = "audit")]
use crate::audit::AuditHandle;
#[cfg(feature = "cache")]
use crate::cache::CacheLayer;
use crate::{
    breaker::BreakerHandle, concurrency::ConcurrencyHandle, fault::FaultHandle, loop_guard::LoopGuardHandle, quota::QuotaHandle,
    retry::RetryHandle,
};

/// The handles of a [`Stack`]'s layers. Cheap to clone. They mean the layers that the stack has when they are taken, so take them
/// when it is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Handles {
    /// Of the audit trail. `None`: it is off.
    #[cfg(feature = "audit")]
    pub audit: Option<AuditHandle>,
    /// Of the loop guard. `None`: it is off.
    pub loop_guard: Option<LoopGuardHandle>,
    /// Of the quotas.
    pub quota: QuotaHandle,
    /// The cache, which is its own handle. `None`: it is off.
    #[cfg(feature = "cache")]
    pub cache: Option<CacheLayer>,
    /// Of the retries and their budget.
    pub retry: RetryHandle,
    /// Of the breakers.
    pub breaker: BreakerHandle,
    /// Of the slots and queues.
    pub concurrency: ConcurrencyHandle,
    /// Of the faults. `None`: nothing is broken on purpose.
    pub fault: Option<FaultHandle>,
}

impl Stack {
    /// The handles of all layers that have one.
    pub fn handles(&self) -> Handles {
        Handles {
            #[cfg(feature = "audit")]
            audit: self.audit.as_ref().map(crate::audit::AuditLayer::handle),
            loop_guard: self.loop_guard.as_ref().map(crate::loop_guard::LoopGuardLayer::handle),
            quota: self.quota.handle(),
            #[cfg(feature = "cache")]
            cache: self.cache.clone(),
            retry: self.retry.handle(),
            breaker: self.breaker.handle(),
            concurrency: self.concurrency.handle(),
            fault: self.fault.as_ref().map(crate::fault::FaultLayer::handle),
        }
    }
}
