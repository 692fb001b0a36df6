use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::future::{CatchUnwind, FutureExt};
use pin_project_lite::pin_project;

use super::layer::Witness;
use crate::error::{BoxError, Panicked};

pin_project! {
    /// The future of [`PanicGuard`](super::PanicGuard).
    #[derive(Debug)]
    pub struct PanicFuture<F> {
        #[pin]
        inner: Option<CatchUnwind<AssertUnwindSafe<F>>>,
        panicked: Option<Panicked>,
        witness: Witness,
    }
}

impl<F: Future> PanicFuture<F> {
    pub(super) fn running(inner: F, witness: Witness) -> Self {
        // The future is dropped right after a panic and never polled again.
        Self { inner: Some(AssertUnwindSafe(inner).catch_unwind()), panicked: None, witness }
    }

    pub(super) const fn panicked(panicked: Panicked, witness: Witness) -> Self {
        Self { inner: None, panicked: Some(panicked), witness }
    }
}

impl<F, T, E> Future for PanicFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return match this.panicked.take() {
                Some(panicked) => Poll::Ready(Err(panicked.into())),
                None => Poll::Pending,
            };
        };
        Poll::Ready(match ready!(inner.poll(cx)) {
            Ok(outcome) => outcome.map_err(Into::into),
            Err(panic) => {
                this.inner.set(None);
                Err(this.witness.saw(&*panic).into())
            }
        })
    }
}
