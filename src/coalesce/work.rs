//! What is shared: the inner service's future.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower::Service;

use super::flights::Seat;
use crate::{
    call::{Request, Response},
    error::{BoxError, Panicked},
};

pin_project! {
    /// A call that is made when it is first polled, and whose panics are errors: who polls it may not be who made it.
    pub(super) struct Work<S, P>
    where
        S: Service<Request<P>>,
    {
        #[pin]
        state: State<S::Future, S, P>,
        _seat: Seat,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, S, P> {
        // Not boxed: all of it is in a box already.
        Unsent { call: Option<(S, Request<P>)> },
        Sent { #[pin] future: F },
        Done,
    }
}

impl<S, P> Work<S, P>
where
    S: Service<Request<P>>,
{
    pub(super) const fn new(call: Option<(S, Request<P>)>, seat: Seat) -> Self {
        Self { state: State::Unsent { call }, _seat: seat }
    }
}

impl<S, P, R> Future for Work<S, P>
where
    S: Service<Request<P>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<R>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            if let StateProj::Unsent { call } = state.as_mut().project()
                && let Some((mut service, request)) = call.take()
            {
                let future = service.call(request);
                state.set(State::Sent { future });
            }
            let StateProj::Sent { future } = state.as_mut().project() else { return Poll::Pending };
            let polled = future.poll(cx);
            if polled.is_ready() {
                // Here, where a panic is caught.
                state.set(State::Done);
            }
            polled.map_err(Into::into)
        }));
        polled.unwrap_or_else(|_panic| {
            let _dropped = catch_unwind(AssertUnwindSafe(|| state.set(State::Done)));
            Poll::Ready(Err(Panicked.into()))
        })
    }
}
