use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::Service;

use super::permit::{Permit, Place};
use crate::{
    call::{Request, Response},
    classify::unsent,
    error::{BoxError, Reason, Rejected},
};

pin_project! {
    /// The future of [`Concurrency`](super::Concurrency).
    pub struct ConcurrencyFuture<S, P>
    where
        S: Service<Request<P>>,
    {
        // Fields drop in this order: the work ends before its slot is free. Not in the state: a variant of several fields is
        // moved twice on its way up.
        #[pin]
        state: State<S::Future, S, P>,
        permit: Option<Permit>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, S, P> {
        Running { #[pin] future: F },
        // Boxed: whoever has to wait for a slot can spare an allocation.
        Waiting { waiting: Box<Waiting<S, P>> },
        Refused { reason: Option<Reason> },
    }
}

/// A request on its way through the queue and to readiness.
struct Waiting<S, P> {
    // Given back before the place is: whoever is next is served in its turn.
    permit: Option<Permit>,
    place: Place,
    deadline: Option<Pin<Box<Sleep>>>,
    request: Option<Request<P>>,
    service: S,
}

impl<S, P> ConcurrencyFuture<S, P>
where
    S: Service<Request<P>>,
{
    pub(super) const fn running(future: S::Future, permit: Option<Permit>) -> Self {
        Self { state: State::Running { future }, permit }
    }

    pub(super) const fn refused(reason: Reason) -> Self {
        Self { state: State::Refused { reason: Some(reason) }, permit: None }
    }

    pub(super) fn waiting(place: Place, request: Request<P>, service: S) -> Self {
        let end = request.head.end().map(|(end, _)| Box::pin(sleep_until(end)));
        let waiting = Waiting { permit: None, place, deadline: end, request: Some(request), service };
        Self { state: State::Waiting { waiting: Box::new(waiting) }, permit: None }
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
        while let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            let end = self.request.as_ref().and_then(|request| request.head.end());
            match end {
                // Somebody who may wait longer waits for this call too.
                Some((end, _)) if end > deadline.deadline() => deadline.as_mut().reset(end),
                None => self.deadline = None,
                Some(_) => return Poll::Ready(Err(refusal(Reason::Deadline).into())),
            }
        }
        if self.permit.is_none() {
            match ready!(self.place.poll(cx)) {
                Ok(permit) => self.permit = Some(permit),
                Err(reason) => return Poll::Ready(Err(refusal(reason).into())),
            }
        }
        let ready = ready!(self.service.poll_ready(cx)).map_err(unsent);
        match self.permit.take() {
            Some(permit) => Poll::Ready(ready.map(|()| permit)),
            None => Poll::Pending,
        }
    }
}

fn refusal(reason: Reason) -> Rejected {
    Rejected::new("concurrency", reason)
}

impl<S, P, R> Future for ConcurrencyFuture<S, P>
where
    S: Service<Request<P>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<R>, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Running { future } => {
                    let outcome = ready!(future.poll(cx)).map_err(Into::into);
                    if let Some(permit) = this.permit {
                        permit.end(&outcome);
                    }
                    return Poll::Ready(outcome);
                }
                StateProj::Refused { reason } => {
                    return match reason.take() {
                        Some(reason) => Poll::Ready(Err(refusal(reason).into())),
                        None => Poll::Pending,
                    };
                }
                StateProj::Waiting { waiting } => {
                    let permit = ready!(waiting.poll_slot(cx));
                    let (mut permit, mut request) = match (permit, waiting.request.take()) {
                        (Ok(permit), Some(request)) => (permit, request),
                        (Err(error), _) => {
                            this.state.set(State::Refused { reason: None });
                            return Poll::Ready(Err(error));
                        }
                        (Ok(_), None) => return Poll::Pending,
                    };
                    let now = Instant::now();
                    permit.begin(now);
                    request.head.attempt_at = now;
                    request.head.slots = Some(permit.pool());
                    let future = waiting.service.call(request);
                    *this.permit = Some(permit);
                    this.state.set(State::Running { future });
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
