use std::{
    num::NonZeroU32,
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{ConcurrencyFuture, permit::Slots};
use crate::{
    call::{Admission, Request, Response, Slot},
    error::{BoxError, Reason},
};

/// Limits how many attempts at the inner service run at once, per target. See the [module](super).
#[derive(Debug, Clone)]
pub struct Concurrency<S> {
    inner: S,
    limit: Option<NonZeroU32>,
    queue: u32,
    slot: Slot<Arc<Slots>>,
}

impl<S> Concurrency<S> {
    pub(super) const fn new(inner: S, limit: Option<NonZeroU32>, queue: u32, slot: Slot<Arc<Slots>>) -> Self {
        Self { inner, limit, queue, slot }
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

    fn call(&mut self, request: Request<P>) -> Self::Future {
        let target = &request.head.target;
        let Some(limit) = self.limit.filter(|_| !target.is_exempt()) else {
            return ConcurrencyFuture::running(self.inner.call(request), None);
        };
        let slots = target.cell(&self.slot, || Arc::new(Slots::new(limit, self.queue, target)));
        if let Some(permit) = slots.try_take() {
            return ConcurrencyFuture::running(self.inner.call(request), Some(permit));
        }
        if request.head.admission == Admission::NoWait {
            return ConcurrencyFuture::refused(Reason::NoSlot);
        }
        match slots.try_queue() {
            Some(place) => {
                // A clone is not ready: neither the call in the queue nor this service, which its owner may keep, must hold what
                // the inner service has reserved. Who is ahead in the queue may need just that to get on.
                self.inner = self.inner.clone();
                ConcurrencyFuture::waiting(place, request, self.inner.clone())
            }
            None => ConcurrencyFuture::refused(Reason::QueueFull),
        }
    }
}
