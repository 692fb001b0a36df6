use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{LoopGuardFuture, layer::Shared};
use crate::{
    call::{CallParams, CallResult, Request, Response},
    error::BoxError,
    gate::{Gate, let_go},
};

/// Stops agents that go in circles before they reach the inner service. See the [module](super).
#[derive(Debug, Clone)]
pub struct LoopGuard<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> LoopGuard<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, P, R> Service<Request<P>> for LoopGuard<S>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    P: CallParams,
    R: CallResult,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = LoopGuardFuture<S::Future, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<P>) -> Self::Future {
        let head = &request.head;
        if head.target.is_exempt() {
            return LoopGuardFuture::new(Gate::passed(self.inner.call(request)), None);
        }
        match self.shared.admit(head, &request.params) {
            Ok(watch) => LoopGuardFuture::new(Gate::passed(self.inner.call(request)), Some(watch)),
            Err(rejected) => {
                let_go(&mut self.inner);
                LoopGuardFuture::new(Gate::refused(rejected), None)
            }
        }
    }
}
