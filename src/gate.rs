//! The future of a layer that either lets a call through or refuses it on the spot.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use crate::error::{BoxError, Rejected};

pin_project! {
    /// The future of a layer that either let a call through to the service whose future is `F`, or refused it on the spot.
    #[derive(Debug)]
    pub struct Gate<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F> {
        Passed { #[pin] future: F },
        Refused { rejected: Option<Rejected> },
    }
}

impl<F> Gate<F> {
    pub(crate) const fn passed(future: F) -> Self {
        Self { state: State::Passed { future } }
    }

    pub(crate) const fn refused(rejected: Rejected) -> Self {
        Self { state: State::Refused { rejected: Some(rejected) } }
    }
}

impl<F, T, E> Future for Gate<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Passed { future } => Poll::Ready(ready!(future.poll(cx)).map_err(Into::into)),
            StateProj::Refused { rejected } => match rejected.take() {
                Some(rejected) => Poll::Ready(Err(rejected.into())),
                // Polled after it was done, as a future must not be; it has nothing more to say.
                None => Poll::Pending,
            },
        }
    }
}
