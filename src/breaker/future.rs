use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::cell::Guard;
use crate::{
    call::{Response, Verdict},
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
    }
}

impl<F> BreakerFuture<F> {
    pub(super) const fn new(inner: Gate<F>, guard: Option<Guard>) -> Self {
        Self { inner, guard }
    }
}

impl<F, R, E> Future for BreakerFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<R>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = ready!(this.inner.poll(cx));
        if let Some(guard) = this.guard {
            let completed = outcome.as_ref().ok().and_then(|response| response.completed);
            guard.settle(Verdict::of(&outcome), completed.unwrap_or_else(Instant::now));
        }
        Poll::Ready(outcome)
    }
}
