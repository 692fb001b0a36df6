use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::{
    sync::futures::OwnedNotified,
    time::{Instant, Sleep, sleep_until},
};
use tower::Service;

use super::shared::{Counted, Turn};
use crate::{
    call::{Request, Response},
    classify::unsent,
    error::{BoxError, Reason, Rejected},
};

pin_project! {
    /// The future of [`QuotaService`](super::QuotaService).
    pub struct QuotaFuture<S, P>
    where
        S: Service<Request<P>>,
    {
        #[pin]
        state: State<S::Future, S, P>,
        // Not in the state: a variant of several fields is moved twice on its way up.
        counted: Option<Counted>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, S, P> {
        Running { #[pin] future: F },
        // Boxed: whoever has to wait can spare an allocation.
        Waiting { waiting: Box<Waiting<S, P>> },
        Refused { rejected: Option<Rejected> },
    }
}

/// A request in the line, and then on its way to readiness.
struct Waiting<S, P> {
    /// Whose turn it is to be; `None` afterwards.
    call: Option<(Turn, Request<P>)>,
    /// Until the turn comes; then until the call has to end.
    sleep: Option<Pin<Box<Sleep>>>,
    /// Until the limits change.
    changed: Pin<Box<OwnedNotified>>,
    come: bool,
    service: S,
}

impl<S, P> QuotaFuture<S, P>
where
    S: Service<Request<P>>,
{
    pub(super) const fn running(future: S::Future, counted: Option<Counted>) -> Self {
        Self { state: State::Running { future }, counted }
    }

    pub(super) const fn refused(rejected: Rejected) -> Self {
        Self { state: State::Refused { rejected: Some(rejected) }, counted: None }
    }

    pub(super) fn waiting(turn: Turn, request: Request<P>, service: S) -> Self {
        let (sleep, changed) = (Some(Box::pin(sleep_until(turn.at))), Box::pin(turn.changed()));
        let waiting = Waiting { call: Some((turn, request)), sleep, changed, come: false, service };
        Self { state: State::Waiting { waiting: Box::new(waiting) }, counted: None }
    }
}

/// A call whose turn has come, and what it counted for.
type Begun<F> = (F, Option<Counted>);

impl<S, P> Waiting<S, P>
where
    S: Service<Request<P>>,
    S::Error: Into<BoxError>,
{
    /// Until the turn comes, or there is nothing to wait for any more.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((turn, _)) = &self.call else { return Poll::Ready(()) };
        while self.changed.as_mut().poll(cx).is_ready() {
            self.changed.set(turn.changed());
        }
        if !turn.is_waited_for() {
            return Poll::Ready(());
        }
        self.sleep.as_mut().map_or(Poll::Ready(()), |sleep| sleep.as_mut().poll(cx))
    }

    /// The call under way, or why it is not. The turn is always given up or used.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<Begun<S::Future>, BoxError>> {
        if !self.come {
            ready!(self.poll_wait(cx));
            self.come = true;
            let end = self.call.as_ref().and_then(|(_, request)| request.head.deadline.end(None));
            self.sleep = end.map(|(end, _)| Box::pin(sleep_until(end)));
        }
        let Poll::Ready(ready) = self.service.poll_ready(cx).map_err(unsent) else {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                return Poll::Ready(Err(Rejected::new("quota", Reason::Deadline).into()));
            }
            return Poll::Pending;
        };
        ready?;
        let Some((turn, mut request)) = self.call.take() else { return Poll::Pending };
        let now = Instant::now();
        let counted = turn.take(&request.head, now)?;
        request.head.attempt_at = now;
        Poll::Ready(Ok((self.service.call(request), counted)))
    }
}

impl<S, P, R> Future for QuotaFuture<S, P>
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
                    let mut outcome = ready!(future.poll(cx)).map_err(Into::into);
                    if let Some(counted) = this.counted {
                        counted.settle(&mut outcome);
                    }
                    return Poll::Ready(outcome);
                }
                StateProj::Refused { rejected } => {
                    return match rejected.take() {
                        Some(rejected) => Poll::Ready(Err(rejected.into())),
                        None => Poll::Pending,
                    };
                }
                StateProj::Waiting { waiting } => match ready!(waiting.poll_turn(cx)) {
                    Ok((future, counted)) => {
                        *this.counted = counted;
                        this.state.set(State::Running { future });
                    }
                    Err(error) => {
                        this.state.set(State::Refused { rejected: None });
                        return Poll::Ready(Err(error));
                    }
                },
            }
        }
    }
}

impl<S, P> fmt::Debug for QuotaFuture<S, P>
where
    S: Service<Request<P>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Running { .. } => "running",
            State::Waiting { .. } => "waiting",
            State::Refused { .. } => "refused",
        };
        f.debug_struct("QuotaFuture").field("state", &state).finish_non_exhaustive()
    }
}
