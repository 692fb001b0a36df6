use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::layer::Witness;
use crate::error::{BoxError, Panicked};

pin_project! {
    /// The future of [`PanicGuard`](super::PanicGuard).
    #[derive(Debug)]
    pub struct PanicFuture<F> {
        #[pin]
        inner: Option<F>,
        panicked: Option<Panicked>,
        witness: Witness,
    }
}

impl<F> PanicFuture<F> {
    pub(super) const fn running(inner: F, witness: Witness) -> Self {
        Self { inner: Some(inner), panicked: None, witness }
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return match this.panicked.take() {
                Some(panicked) => Poll::Ready(Err(panicked.into())),
                None => Poll::Pending,
            };
        };
        // The future is dropped right after a panic and never polled again.
        match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(poll) => poll.map_err(Into::into),
            Err(panic) => {
                this.inner.set(None);
                Poll::Ready(Err(this.witness.saw(&*panic).into()))
            }
        }
    }
}
