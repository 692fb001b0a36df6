use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{BreakerFuture, shared::Shared, ticket::Who};
use crate::{
    Mode,
    call::{Request, Response},
    error::{BoxError, Reason, Rejected},
    gate::{Gate, let_go},
};

/// Breaks the circuit to targets and upstreams of the inner service that keep failing. See the [module](super).
#[derive(Debug, Clone)]
pub struct Breaker<S> {
    inner: S,
    /// `None`: every call passes.
    shared: Option<Arc<Shared>>,
}

impl<S> Breaker<S> {
    pub(super) const fn new(inner: S, shared: Option<Arc<Shared>>) -> Self {
        Self { inner, shared }
    }
}

impl<S, P, R> Service<Request<P>> for Breaker<S>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = BreakerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Request<P>) -> Self::Future {
        let (head, now) = (&request.head, request.head.attempt_at);
        let Some(shared) = self.shared.as_deref().filter(|_| !head.target.is_exempt()) else {
            return BreakerFuture::new(Gate::passed(self.inner.call(request)), None, None);
        };
        let cell = shared.cell(&head.target, now);
        // One that waits for work elsewhere would have all others wait with it.
        let probes = || head.is_idempotent() && !head.method().waits();
        let guard = match cell.admit(probes, || Who::of(head), now) {
            // A probe is held to the end of its attempt, and nobody stays with an attempt that nobody needs. Dropped here, the
            // guard leaves the probe to the next call.
            Ok(guard) if head.spare && guard.is_probe() && shared.mode() == Mode::Enforce => {
                let_go(&mut self.inner);
                let rejected = Rejected::new("breaker", Reason::BreakerOpen);
                return BreakerFuture::new(Gate::refused(rejected), None, None);
            }
            Ok(guard) => Some(guard),
            // One that an operator holds open says of no time when it will not be: what is done by hand is no limit, and holds in
            // any mode.
            Err(rejected) if shared.mode() == Mode::Observe && rejected.delay().is_some() => {
                cell.observe(&head.target, &rejected);
                None
            }
            Err(rejected) => {
                let_go(&mut self.inner);
                return BreakerFuture::new(Gate::refused(rejected), None, None);
            }
        };
        let peer = guard.as_ref().filter(|guard| guard.is_probe()).and_then(|_| head.peer.clone());
        BreakerFuture::new(Gate::passed(self.inner.call(request)), guard, peer)
    }
}
