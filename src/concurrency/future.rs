use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::{
    sync::AcquireError,
    time::{Instant, Sleep, sleep_until},
};
use tower::Service;

use super::permit::{Permit, Place};
use crate::{
    call::Request,
    classify::unsent,
    error::{BoxError, Reason, Rejected},
};

pin_project! {
    /// The future of [`Concurrency`](super::Concurrency).
    pub struct ConcurrencyFuture<S, P>
    where
        S: Service<Request<P>>,
    {
        #[pin]
        state: State<S::Future, S, P>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, S, P> {
        // Fields drop in this order: the work ends before its slot is free.
        Running { #[pin] future: F, permit: Option<Permit> },
        // Boxed: whoever has to wait for a slot can spare an allocation.
        Waiting { waiting: Box<Waiting<S, P>> },
        Refused { reason: Option<Reason> },
    }
}

/// A request on its way through the queue and to readiness.
struct Waiting<S, P> {
    slot: Pin<Box<dyn Future<Output = Result<Permit, AcquireError>> + Send>>,
    permit: Option<Permit>,
    deadline: Option<Pin<Box<Sleep>>>,
    request: Option<Request<P>>,
    service: S,
}

impl<S, P> ConcurrencyFuture<S, P>
where
    S: Service<Request<P>>,
{
    pub(super) const fn running(future: S::Future, permit: Option<Permit>) -> Self {
        Self { state: State::Running { future, permit } }
    }

    pub(super) const fn refused(reason: Reason) -> Self {
        Self { state: State::Refused { reason: Some(reason) } }
    }

    pub(super) fn waiting(place: Place, request: Request<P>, service: S) -> Self {
        let end = request.head.deadline.end(None).map(|(end, _)| Box::pin(sleep_until(end)));
        Self {
            state: State::Waiting {
                waiting: Box::new(Waiting {
                    slot: Box::pin(place.wait()),
                    permit: None,
                    deadline: end,
                    request: Some(request),
                    service,
                }),
            },
        }
    }
}

impl<S, P> Waiting<S, P>
where
    S: Service<Request<P>>,
    S::Error: Into<BoxError>,
{
    /// The slot and the readied service, or why there is none.
    fn poll_slot(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit, BoxError>> {
        // First: a slot that comes free at the deadline comes too late.
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(refusal(Reason::Deadline).into()));
        }
        if self.permit.is_none() {
            match self.slot.as_mut().poll(cx) {
                Poll::Ready(Ok(permit)) => self.permit = Some(permit),
                Poll::Ready(Err(closed)) => return Poll::Ready(Err(closed.into())),
                Poll::Pending => {}
            }
        }
        if self.permit.is_some()
            && let Poll::Ready(ready) = self.service.poll_ready(cx).map_err(unsent)
            && let Some(permit) = self.permit.take()
        {
            return Poll::Ready(ready.map(|()| permit));
        }
        Poll::Pending
    }
}

fn refusal(reason: Reason) -> Rejected {
    Rejected::new("concurrency", reason)
}

impl<S, P, T> Future for ConcurrencyFuture<S, P>
where
    S: Service<Request<P>, Response = T>,
    S::Error: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Running { future, .. } => return future.poll(cx).map_err(Into::into),
                StateProj::Refused { reason } => {
                    return match reason.take() {
                        Some(reason) => Poll::Ready(Err(refusal(reason).into())),
                        None => Poll::Pending,
                    };
                }
                StateProj::Waiting { waiting } => {
                    let permit = ready!(waiting.poll_slot(cx));
                    let (permit, request) = match (permit, waiting.request.take()) {
                        (Ok(permit), Some(request)) => (permit, request),
                        (Err(error), _) => {
                            state.set(State::Refused { reason: None });
                            return Poll::Ready(Err(error));
                        }
                        (Ok(_), None) => return Poll::Pending,
                    };
                    let mut request = request;
                    request.head.attempt_at = Instant::now();
                    let future = waiting.service.call(request);
                    state.set(State::Running { future, permit: Some(permit) });
                }
            }
        }
    }
}

impl<S, P> fmt::Debug for ConcurrencyFuture<S, P>
where
    S: Service<Request<P>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Running { .. } => "running",
            State::Waiting { .. } => "waiting",
            State::Refused { .. } => "refused",
        };
        f.debug_struct("ConcurrencyFuture").field("state", &state).finish_non_exhaustive()
    }
}
