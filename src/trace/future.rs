use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::span::Open;
use crate::{
    call::{CallResult, Response},
    error::BoxError,
};

pin_project! {
    /// The future of [`Trace`](super::Trace).
    #[derive(Debug)]
    pub struct TraceFuture<F> {
        // `None`: it is over. It goes within the span, and before the span does.
        #[pin]
        inner: Option<F>,
        // `None`: nobody listens, or it is over.
        open: Option<Open>,
    }

    impl<F> PinnedDrop for TraceFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(open) = this.open.take() {
                open.inside(|| this.inner.set(None));
                open.cancelled();
            }
        }
    }
}

impl<F> TraceFuture<F> {
    pub(super) const fn new(inner: F, open: Option<Open>) -> Self {
        Self { inner: Some(inner), open }
    }
}

impl<F, R, E> Future for TraceFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
    R: CallResult,
{
    type Output = Result<Response<R>, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Polled after it was over, as a future must not be, it has nothing more to say.
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Pending };
        let Some(open) = this.open else { return inner.poll(cx).map_err(Into::into) };
        let outcome = ready!(open.inside(|| inner.poll(cx))).map_err(Into::into);
        open.inside(|| this.inner.set(None));
        if let Some(open) = this.open.take() {
            open.close(&outcome);
        }
        Poll::Ready(outcome)
    }
}
