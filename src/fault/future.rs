use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use super::{Fault, Lost, plan::Fate};
use crate::{
    call::{CallResult, Response},
    error::BoxError,
};

pin_project! {
    /// The future of [`FaultService`](super::FaultService).
    #[derive(Debug)]
    pub struct FaultFuture<F> {
        // `None`: the request was lost, or the answer is lost already.
        #[pin]
        inner: Option<F>,
        // Boxed: only a call that is slowed down on purpose pays for it.
        delay: Option<Pin<Box<Sleep>>>,
        fault: Option<Fault>,
    }
}

impl<F> FaultFuture<F> {
    pub(super) fn new(inner: Option<F>, fate: Fate) -> Self {
        Self { inner, delay: fate.delay.map(|delay| Box::pin(sleep(delay))), fault: fate.fault }
    }
}

impl<F, R, E> Future for FaultFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
    R: CallResult,
{
    type Output = Result<Response<R>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(delay) = this.delay {
            ready!(delay.as_mut().poll(cx));
            *this.delay = None;
        }
        if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            let outcome = ready!(inner.poll(cx)).map_err(Into::into);
            if this.fault.is_none() {
                return Poll::Ready(outcome);
            }
            this.inner.set(None);
        }
        // What was struck once has nothing more to say, as what hangs.
        match this.fault.replace(Fault::Hang(Lost::Answer)).and_then(Fault::strike) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}
