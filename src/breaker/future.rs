use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::cell::Guard;
use crate::{
    call::{Peer, Response, Verdict},
    classify::ended,
    error::BoxError,
    gate::Gate,
};

pin_project! {
    /// The future of [`Breaker`](super::Breaker).
    #[derive(Debug)]
    pub struct BreakerFuture<F> {
        #[pin]
        inner: Gate<F>,
        guard: Option<Guard>,
        // Of a probe only: its first progress decides it.
        peer: Option<Peer>,
    }
}

impl<F> BreakerFuture<F> {
    pub(super) const fn new(inner: Gate<F>, guard: Option<Guard>, peer: Option<Peer>) -> Self {
        Self { inner, guard, peer }
    }
}

impl<F, R, E> Future for BreakerFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<R>, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = this.inner.poll(cx);
        if let Some(guard) = this.guard {
            match &polled {
                Poll::Ready(outcome) => {
                    guard.settle(Verdict::of(outcome), outcome.is_ok(), ended(outcome));
                }
                Poll::Pending if this.peer.as_ref().is_some_and(Peer::is_committed) => {
                    *this.peer = None;
                    guard.commit();
                }
                Poll::Pending => {}
            }
        }
        polled
    }
}
