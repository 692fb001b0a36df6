use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{BreakerFuture, Policy, cell::Cell};
use crate::{
    call::{Request, Response, Slot},
    error::{BoxError, Reason, Rejected},
    gate::Gate,
};

/// Breaks the circuit to targets of the inner service that keep failing. See the [module](super).
#[derive(Debug, Clone)]
pub struct Breaker<S> {
    inner: S,
    policy: Option<Policy>,
    seed: Option<u64>,
    slot: Slot<Arc<Cell>>,
}

impl<S> Breaker<S> {
    pub(super) const fn new(inner: S, policy: Option<Policy>, seed: Option<u64>, slot: Slot<Arc<Cell>>) -> Self {
        Self { inner, policy, seed, slot }
    }
}

impl<S, P, R> Service<Request<P>> for Breaker<S>
where
    S: Service<Request<P>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = BreakerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<P>) -> Self::Future {
        let (target, now) = (&request.head.target, request.head.attempt_at);
        let Some(policy) = self.policy.filter(|_| !target.is_exempt()) else {
            return BreakerFuture::new(Gate::passed(self.inner.call(request)), None);
        };
        let cell = target.cell(&self.slot, || Arc::new(Cell::new(policy, self.seed, target, now)));
        match cell.admit(now) {
            // A probe is held to the end of its attempt, and nobody stays with an attempt that nobody needs. Dropped here, the
            // guard leaves the probe to the next call.
            Ok(guard) if request.head.spare && guard.is_probe() => {
                BreakerFuture::new(Gate::refused(Rejected::new("breaker", Reason::BreakerOpen)), None)
            }
            Ok(guard) => BreakerFuture::new(Gate::passed(self.inner.call(request)), Some(guard)),
            Err(rejected) => BreakerFuture::new(Gate::refused(rejected), None),
        }
    }
}
