use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::fill::Fill;
use crate::{
    call::{CallResult, Response},
    error::BoxError,
};

pin_project! {
    /// The future of [`Cache`](super::Cache).
    pub struct CacheFuture<F, R> {
        #[pin]
        state: State<F, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, R> {
        // Boxed: a call that is made can spare an allocation, and calls that are not kept need no room for it.
        Calling { #[pin] future: F, fill: Option<Box<Fill>> },
        Found { answer: Option<Response<R>> },
    }
}

impl<F, R> CacheFuture<F, R> {
    pub(super) const fn passed(future: F) -> Self {
        Self { state: State::Calling { future, fill: None } }
    }

    pub(super) fn filling(future: F, fill: Fill) -> Self {
        Self { state: State::Calling { future, fill: Some(Box::new(fill)) } }
    }

    pub(super) const fn found(answer: Response<R>) -> Self {
        Self { state: State::Found { answer: Some(answer) } }
    }
}

impl<F, R, E> Future for CacheFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
    R: CallResult + Send + Sync + 'static,
{
    type Output = Result<Response<R>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Calling { future, fill } => {
                let outcome = ready!(future.poll(cx)).map_err(Into::into);
                Poll::Ready(match fill.take() {
                    Some(fill) => fill.settle(outcome),
                    None => outcome,
                })
            }
            StateProj::Found { answer } => match answer.take() {
                Some(answer) => Poll::Ready(Ok(answer)),
                // Polled after it was done, as a future must not be.
                None => Poll::Pending,
            },
        }
    }
}

impl<F, R> fmt::Debug for CacheFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Calling { fill: None, .. } => "passed",
            State::Calling { fill: Some(_), .. } => "calling",
            State::Found { .. } => "found",
        };
        f.debug_struct("CacheFuture").field("state", &state).finish_non_exhaustive()
    }
}
