use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{RecordFuture, layer::Handles};
use crate::{
    call::{Request, Response, Slot},
    error::BoxError,
};

/// Records each call to the inner service. See the [module](super).
#[derive(Debug, Clone)]
pub struct Record<S> {
    inner: S,
    slot: Slot<Arc<Handles>>,
}

impl<S> Record<S> {
    pub(super) const fn new(inner: S, slot: Slot<Arc<Handles>>) -> Self {
        Self { inner, slot }
    }
}

impl<S, P, R> Service<Request<P>> for Record<S>
where
    S: Service<Request<P>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = RecordFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Request<P>) -> Self::Future {
        let target = &request.head.target;
        let handles = target.cell(&self.slot, || Arc::new(Handles::new(target))).clone();
        let arrived = request.head.arrived;
        RecordFuture::new(self.inner.call(request), handles, arrived)
    }
}
