use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::words::Scene;
use crate::{
    call::{CallResult, Response},
    error::BoxError,
};

pin_project! {
    /// The future of [`Rescue`](super::Rescue).
    #[derive(Debug)]
    pub struct RescueFuture<F> {
        #[pin]
        inner: F,
        scene: Scene,
    }
}

impl<F> RescueFuture<F> {
    pub(super) const fn new(inner: F, scene: Scene) -> Self {
        Self { inner, scene }
    }
}

impl<F, R, E> Future for RescueFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
    R: CallResult,
{
    type Output = Result<Response<R>, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut outcome = ready!(this.inner.poll(cx)).map_err(Into::into);
        this.scene.answer(&mut outcome);
        Poll::Ready(outcome)
    }
}
