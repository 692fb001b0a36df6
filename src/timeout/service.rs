use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{
    TimeoutFuture,
    layer::{Cell, HoldsFor},
};
use crate::{
    call::{AtomicDuration, Request, Response, Slot},
    error::BoxError,
    timeout::future::Timer,
};

/// Ends attempts at the inner service that take too long. See the [module](super).
#[derive(Debug, Clone)]
pub struct Timeout<S> {
    inner: S,
    limit: Arc<AtomicDuration>,
    holds_for: HoldsFor,
    slot: Slot<Cell>,
}

impl<S> Timeout<S> {
    pub(super) const fn new(inner: S, limit: Arc<AtomicDuration>, holds_for: HoldsFor, slot: Slot<Cell>) -> Self {
        Self { inner, limit, holds_for, slot }
    }
}

impl<S, P, R> Service<Request<P>> for Timeout<S>
where
    S: Service<Request<P>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = TimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, mut request: Request<P>) -> Self::Future {
        let head = &mut request.head;
        let limit = self.limit.get().filter(|_| !head.method().waits());
        let end = limit.and_then(|limit| head.attempt_at.checked_add(limit));
        let slow = head.target.get_cell(&self.slot).is_some_and(Cell::is_slow);
        let (attempt, quick) = match self.holds_for {
            HoldsFor::All => (end, None),
            HoldsFor::Repeatable if head.repeatable && head.attempt == 0 && !slow => (end, end),
            HoldsFor::Repeatable => (None, end),
        };
        head.attempt_end = attempt;
        let timer = Timer {
            began: head.attempt_at,
            attempt,
            quick,
            slow,
            deadline: head.deadline,
            granted: head.granted,
            joint: head.joint.clone(),
            peer: head.peer.clone(),
            target: head.target.clone(),
            slot: self.slot,
            held: false,
        };
        TimeoutFuture::new(self.inner.call(request), timer)
    }
}
