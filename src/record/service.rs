use std::task::{Context, Poll};

use tower::Service;

use super::{RecordFuture, layer::Slots};
use crate::{
    call::{CallResult, Request, Response},
    error::BoxError,
};

/// Records each call to the inner service. See the [module](super).
#[derive(Debug, Clone)]
pub struct Record<S> {
    inner: S,
    slots: Slots,
}

impl<S> Record<S> {
    pub(super) const fn new(inner: S, slots: Slots) -> Self {
        Self { inner, slots }
    }
}

impl<S, P, R> Service<Request<P>> for Record<S>
where
    S: Service<Request<P>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: CallResult,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = RecordFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Request<P>) -> Self::Future {
        let handles = self.slots.handles(&request.head.target);
        let arrived = request.head.arrived;
        RecordFuture::new(self.inner.call(request), handles, arrived)
    }
}
