use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::Service;

use super::{
    call::{Call, Kept, Next, Outcome},
    service::Origin,
};
use crate::{
    call::{Admission, Request, Response},
    classify::unsent,
    error::{BoxError, Reason, Rejected},
};

pin_project! {
    /// The future of [`Retry`](super::Retry).
    pub struct RetryFuture<S, P, R>
    where
        S: Service<Request<P>>,
    {
        #[pin]
        state: State<S::Future, S, P>,
        call: Call<S, P, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, S, P> {
        // Boxed: an inner service that makes a call wait can spare an allocation.
        Readying { readying: Box<Readying<S, P>> },
        Calling { #[pin] future: F },
        Backoff { #[pin] sleep: Sleep },
        Done,
    }
}

/// A request that waits until its service is ready.
struct Readying<S, P> {
    service: S,
    request: Option<Request<P>>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S, P, R> RetryFuture<S, P, R>
where
    S: Service<Request<P>>,
{
    pub(super) fn calling(future: S::Future, kept: Kept<P>, origin: Arc<Origin<S>>) -> Self {
        Self { state: State::Calling { future }, call: Call::new(kept, origin) }
    }

    pub(super) fn readying(service: S, request: Request<P>, kept: Kept<P>, origin: Arc<Origin<S>>) -> Self {
        Self { state: State::Readying { readying: Box::new(Readying::new(service, request)) }, call: Call::new(kept, origin) }
    }
}

impl<S, P> Readying<S, P> {
    fn new(service: S, request: Request<P>) -> Self {
        let end = match request.head.admission {
            Admission::Wait => request.head.deadline.end(None),
            Admission::NoWait => None,
        };
        Self { service, request: Some(request), deadline: end.map(|(end, _)| Box::pin(sleep_until(end))) }
    }

    /// The call's future once the service is ready, or why there is none.
    fn poll<R>(&mut self, cx: &mut Context<'_>) -> Poll<Result<S::Future, BoxError>>
    where
        S: Service<Request<P>, Response = Response<R>>,
        S::Error: Into<BoxError>,
    {
        // First: a service that becomes ready at the deadline does so too late.
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(Rejected::new("retry", Reason::Deadline).into()));
        }
        let Some(request) = &mut self.request else { return Poll::Pending };
        match self.service.poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(unsent(error))),
            Poll::Pending if request.head.admission == Admission::NoWait => {
                return Poll::Ready(Err(Rejected::new("retry", Reason::NoSlot).into()));
            }
            Poll::Pending => return Poll::Pending,
        }
        request.head.attempt_at = Instant::now();
        match self.request.take() {
            Some(request) => Poll::Ready(Ok(self.service.call(request))),
            None => Poll::Pending,
        }
    }
}

impl<S, P, R> Future for RetryFuture<S, P, R>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    P: Clone,
{
    type Output = Outcome<R>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let outcome = match this.state.as_mut().project() {
                StateProj::Calling { future } => ready!(future.poll(cx)).map_err(Into::into),
                StateProj::Readying { readying } => match ready!(readying.poll(cx)) {
                    Ok(future) => {
                        this.state.set(State::Calling { future });
                        continue;
                    }
                    Err(error) => Err(error),
                },
                StateProj::Backoff { sleep } => {
                    ready!(sleep.poll(cx));
                    let Some((service, request)) = this.call.next_attempt() else { return Poll::Pending };
                    this.state.set(State::Readying { readying: Box::new(Readying::new(service, request)) });
                    continue;
                }
                // Polled after it was done, as a future must not be.
                StateProj::Done => return Poll::Pending,
            };
            if this.call.ends_with(&outcome) {
                this.state.set(State::Done);
                return Poll::Ready(outcome);
            }
            match this.call.settle(outcome) {
                // The failed attempt's future is dropped here, before the wait.
                Next::RepeatAt(at) => this.state.set(State::Backoff { sleep: sleep_until(at) }),
                Next::End(outcome) => {
                    this.state.set(State::Done);
                    return Poll::Ready(outcome);
                }
            }
        }
    }
}

impl<S, P, R> fmt::Debug for RetryFuture<S, P, R>
where
    S: Service<Request<P>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryFuture").field("attempts", &self.call.attempts()).finish_non_exhaustive()
    }
}
