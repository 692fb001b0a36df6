use std::task::{Context, Poll};

use tower::Service;

use super::{Deliver, RescueFuture, words::Scene};
use crate::{
    call::{CallResult, Request, Response},
    error::BoxError,
};

/// Turns errors of the inner service into answers. See the [module](super).
#[derive(Debug, Clone)]
pub struct Rescue<S> {
    inner: S,
    deliver: Deliver,
}

impl<S> Rescue<S> {
    pub(super) const fn new(inner: S, deliver: Deliver) -> Self {
        Self { inner, deliver }
    }
}

impl<S, P, R> Service<Request<P>> for Rescue<S>
where
    S: Service<Request<P>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: CallResult,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = RescueFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Request<P>) -> Self::Future {
        let head = &request.head;
        let scene =
            Scene { target: head.target.clone(), peer: head.peer.clone(), safe: head.is_idempotent(), deliver: self.deliver };
        RescueFuture::new(self.inner.call(request), scene)
    }
}
