use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Service, util::Oneshot};

use super::{flight::Waiter, work::Work};
use crate::{
    call::{CallResult, Request, Response, Served, Verdict},
    classify::code,
    error::{BoxError, Clock, TimedOut},
};

/// How long a waiter listens on past its deadline: the timer further in is to be heard first, since it gives the attempt its
/// verdict.
const GRACE: Duration = Duration::from_millis(10);

pin_project! {
    /// The future of [`Coalesce`](super::Coalesce).
    pub struct CoalesceFuture<S, P, R>
    where
        S: Service<Request<P>>,
    {
        #[pin]
        state: State<S::Future, S, P, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, S, P, R>
    where
        S: Service<Request<P>>,
    {
        Passed { #[pin] future: F },
        Own { #[pin] future: Oneshot<S, Request<P>> },
        Waiting {
            waiter: Waiter<Work<S, P>, R>,
            // A joiner's own call, should the answer turn out to be the leader's alone.
            own: Option<(S, Request<P>)>,
            began: Instant,
            end: Option<(Instant, Clock)>,
            // Armed when the call is first found pending.
            #[pin]
            sleep: Option<Sleep>,
        },
        Done,
    }
}

impl<S, P, R> CoalesceFuture<S, P, R>
where
    S: Service<Request<P>>,
{
    pub(super) const fn passed(future: S::Future) -> Self {
        Self { state: State::Passed { future } }
    }

    pub(super) const fn waiting(
        waiter: Waiter<Work<S, P>, R>,
        own: Option<(S, Request<P>)>,
        began: Instant,
        end: Option<(Instant, Clock)>,
    ) -> Self {
        Self { state: State::Waiting { waiter, own, began, end, sleep: None } }
    }

    pub(super) const fn done() -> Self {
        Self { state: State::Done }
    }
}

impl<S, P, R> Future for CoalesceFuture<S, P, R>
where
    S: Service<Request<P>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: CallResult,
{
    type Output = Result<Response<R>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        let outcome = match state.as_mut().project() {
            StateProj::Passed { future } => return future.poll(cx).map_err(Into::into),
            StateProj::Own { future } => return future.poll(cx).map_err(Into::into),
            StateProj::Waiting { waiter, own, began, end, mut sleep } => match waiter.poll(cx) {
                Poll::Ready(outcome) if waiter.has_led() => outcome,
                Poll::Ready(outcome) if is_leaders_alone(&outcome) => {
                    let Some((service, request)) = own.take() else { return Poll::Ready(outcome) };
                    state.set(State::Own { future: Oneshot::new(service, request) });
                    let StateProj::Own { future } = state.project() else { return Poll::Pending };
                    return future.poll(cx).map_err(Into::into);
                }
                Poll::Ready(outcome) => outcome.map(joined),
                Poll::Pending => {
                    let Some((end, clock)) = *end else { return Poll::Pending };
                    if sleep.is_none() {
                        sleep.set(Some(sleep_until(end + GRACE)));
                    }
                    if let Some(sleep) = sleep.as_pin_mut() {
                        ready!(sleep.poll(cx));
                    }
                    Err(TimedOut { clock, after: end.saturating_duration_since(*began) }.into())
                }
            },
            // Polled after it was done, as a future must not be.
            StateProj::Done => return Poll::Pending,
        };
        // Left before the answer is given.
        state.set(State::Done);
        Poll::Ready(outcome)
    }
}

/// Whether the answer is to the one client whose request was sent: what is asked back is asked of it, a task is its own, and what
/// it cannot do another may (specification, multi round-trip requests: `requestState` is for the retry of that very request).
fn is_leaders_alone<R: CallResult>(outcome: &Result<Response<R>, BoxError>) -> bool {
    matches!(Verdict::of(outcome), Verdict::InputRequired | Verdict::Task)
        || outcome.as_ref().is_ok_and(|response| response.error_code() == Some(code::MISSING_REQUIRED_CLIENT_CAPABILITY))
}

/// The answer for one whose request was not the one that was sent.
fn joined<R>(mut response: Response<R>) -> Response<R> {
    response.served = Served::Shared;
    response
}

impl<S, P, R> fmt::Debug for CoalesceFuture<S, P, R>
where
    S: Service<Request<P>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Passed { .. } | State::Own { .. } => "passed",
            State::Waiting { .. } => "waiting",
            State::Done => "done",
        };
        f.debug_struct("CoalesceFuture").field("state", &state).finish_non_exhaustive()
    }
}
