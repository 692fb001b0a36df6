use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{ConcurrencyFuture, shared::Shared, slots::Entry};
use crate::{
    call::{Request, Response},
    error::BoxError,
    gate::let_go,
};

/// Limits how many attempts at the inner service run at once, per target. See the [module](super).
#[derive(Debug, Clone)]
pub struct Concurrency<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Concurrency<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, P, R> Service<Request<P>> for Concurrency<S>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = ConcurrencyFuture<S, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, mut request: Request<P>) -> Self::Future {
        let Some(slots) = self.shared.slots(&request.head.target) else {
            return ConcurrencyFuture::running(self.inner.call(request), None);
        };
        match slots.enter(&request.head) {
            Entry::Slot(permit) => {
                request.head.slots = Some(permit.pool());
                ConcurrencyFuture::running(self.inner.call(request), Some(permit))
            }
            Entry::Place(place) => {
                // Neither does the call in the queue hold it: who is ahead there may need just that to get on.
                let_go(&mut self.inner);
                ConcurrencyFuture::waiting(place, request, self.inner.clone())
            }
            Entry::Refused(reason) => {
                let_go(&mut self.inner);
                ConcurrencyFuture::refused(reason)
            }
        }
    }
}
