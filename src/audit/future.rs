use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::entry::Open;
use crate::{
    call::{CallResult, Response},
    error::BoxError,
    gate::Gate,
};

pin_project! {
    /// The future of [`Audit`](super::Audit).
    #[derive(Debug)]
    pub struct AuditFuture<F> {
        #[pin]
        inner: Gate<F>,
        // `None`: the call is not recorded. Dropped after `inner`, so that the record is of what is over.
        open: Option<Open>,
    }
}

impl<F> AuditFuture<F> {
    pub(super) const fn new(inner: Gate<F>, open: Option<Open>) -> Self {
        Self { inner, open }
    }
}

impl<F, R, E> Future for AuditFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
    R: CallResult,
{
    type Output = Result<Response<R>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(open) = this.open else { return this.inner.poll(cx) };
        let outcome = ready!(open.inside(|| this.inner.poll(cx)));
        open.close(&outcome);
        Poll::Ready(outcome)
    }
}
