use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tower::Service;

use super::{RetryFuture, call::Kept, layer::Shared};
use crate::{
    call::{Repeats, Request, Response},
    error::BoxError,
};

/// Repeats calls to the inner service that failed. See the [module](super).
#[derive(Debug)]
pub struct Retry<S> {
    inner: S,
    /// Whether `inner` was found ready, and has not been called since.
    ready: bool,
    origin: Arc<Origin<S>>,
}

/// What the futures of one service take along, behind one pointer.
#[derive(Debug)]
pub(super) struct Origin<S> {
    /// A service for a further attempt: cloned only when there is one.
    pub(super) pristine: S,
    pub(super) shared: Arc<Shared>,
}

impl<S: Clone> Retry<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { origin: Arc::new(Origin { pristine: inner.clone(), shared }), inner, ready: false }
    }
}

/// A clone has made nothing ready yet.
impl<S: Clone> Clone for Retry<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), ready: false, origin: self.origin.clone() }
    }
}

impl<S, P, R> Service<Request<P>> for Retry<S>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    P: Clone,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = RetryFuture<S, P, R>;

    /// Always ready, unless the inner service has failed for good: a caller that waited here could not be bounded by its
    /// deadline, since readiness knows no request.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if !self.ready {
            match self.inner.poll_ready(cx) {
                Poll::Ready(Ok(())) => self.ready = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {}
            }
        }
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, mut request: Request<P>) -> Self::Future {
        let (head, shared) = (&mut request.head, &self.origin.shared);
        let could = shared.attempts() > 1 && !head.target.is_exempt();
        let left = match head.meta.as_ref().and_then(|meta| meta.repeated()) {
            None => true,
            // What may have happened is left to whoever knows that it may happen again.
            Some(Repeats::Unexecuted) => head.is_idempotent(),
            Some(_) => false,
        };
        head.repeats = could && left;
        head.repeatable = head.repeats && head.is_idempotent();
        if could {
            // Made on the first call, so that a scrape shows the zeros before the first failure.
            shared.handles(&head.target);
        }
        let kept = match could {
            true if left => Kept::Copy(request.clone()),
            true => Kept::Marked(head.target.clone()),
            false => Kept::Nothing,
        };
        let origin = self.origin.clone();
        // Nobody has to have asked: who is always ready looks for himself.
        let ready = std::mem::take(&mut self.ready)
            || matches!(self.inner.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())));
        if ready {
            RetryFuture::calling(self.inner.call(request), kept, origin)
        } else {
            // The service that was polled goes along: it may hold a place in somebody's queue.
            let fresh = self.inner.clone();
            let polled = std::mem::replace(&mut self.inner, fresh);
            RetryFuture::readying(polled, request, kept, origin)
        }
    }
}
