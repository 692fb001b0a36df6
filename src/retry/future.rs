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
    Backoff,
    budget::Withdrawal,
    layer::{Handles, Repeated, Shared},
    policy::{Failure, Repeat, Skip, judge},
};
use crate::{
    call::{Admission, Peer, Request, Response, Verdict},
    classify::unsent,
    error::{BoxError, Exhausted, Reason, Rejected},
};

type Outcome<R> = Result<Response<R>, BoxError>;

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

/// What follows an attempt.
enum Next<R> {
    RepeatAt(Instant),
    End(Outcome<R>),
}

/// What is remembered from attempt to attempt.
struct Call<S, P, R> {
    /// What a further attempt is made from. `None`: there will be none.
    copy: Option<Request<P>>,
    attempts: u32,
    backoff: Option<Box<dyn Backoff>>,
    /// The answer that the caller gets if the next attempt is refused.
    last: Option<Outcome<R>>,
    /// What the next attempt is paid with, while it has not begun.
    reserved: Option<Withdrawal>,
    /// What the attempt under way was paid with.
    paid: Option<Withdrawal>,
    shared: Arc<Shared>,
    pristine: Arc<S>,
}

impl<S, P, R> RetryFuture<S, P, R>
where
    S: Service<Request<P>>,
{
    pub(super) fn calling(future: S::Future, copy: Option<Request<P>>, shared: Arc<Shared>, pristine: Arc<S>) -> Self {
        Self { state: State::Calling { future }, call: Call::new(copy, shared, pristine) }
    }

    pub(super) fn readying(
        service: S,
        request: Request<P>,
        copy: Option<Request<P>>,
        shared: Arc<Shared>,
        pristine: Arc<S>,
    ) -> Self {
        Self {
            state: State::Readying { readying: Box::new(Readying::new(service, request)) },
            call: Call::new(copy, shared, pristine),
        }
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
        let Some(request) = &mut self.request else { return Poll::Pending };
        match self.service.poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(unsent(error))),
            Poll::Pending if request.head.admission == Admission::NoWait => {
                return Poll::Ready(Err(Rejected::new("retry", Reason::NoSlot).into()));
            }
            Poll::Pending => {
                let deadline = match &mut self.deadline {
                    Some(deadline) => deadline.as_mut(),
                    None => return Poll::Pending,
                };
                ready!(deadline.poll(cx));
                return Poll::Ready(Err(Rejected::new("retry", Reason::Deadline).into()));
            }
        }
        request.head.attempt_at = Instant::now();
        match self.request.take() {
            Some(request) => Poll::Ready(Ok(self.service.call(request))),
            None => Poll::Pending,
        }
    }
}

impl<S, P, R> Call<S, P, R> {
    const fn new(copy: Option<Request<P>>, shared: Arc<Shared>, pristine: Arc<S>) -> Self {
        Self { copy, attempts: 1, backoff: None, last: None, reserved: None, paid: None, shared, pristine }
    }

    /// What follows an attempt's outcome.
    fn settle(&mut self, outcome: Outcome<R>) -> Next<R> {
        let Some(copy) = &self.copy else { return Next::End(outcome) };
        let verdict = Verdict::of(&outcome);
        let budget = &self.shared.budget;
        let handles = copy.head.target.cell(&self.shared.slot, || Handles::new(&copy.head.target, budget));
        if self.attempts == 1 && verdict == Verdict::Ok {
            if budget.earn(copy.head.caller.tenant_digest()) {
                handles.tokens(budget);
            }
            return Next::End(outcome);
        }
        if let Some(paid) = self.paid.take() {
            let repeated = match verdict {
                Verdict::LocalReject => Repeated::Refused,
                Verdict::Ok | Verdict::InputRequired | Verdict::Task => Repeated::Success,
                _ => Repeated::Failure,
            };
            handles.repeated(repeated);
            if repeated != Repeated::Failure {
                budget.refund(paid);
                handles.tokens(budget);
            }
            if let (Repeated::Refused, Some(last)) = (repeated, self.last.take()) {
                self.attempts -= 1;
                return Next::End(self.outcome(last));
            }
        }
        let failure = Failure {
            verdict,
            safe: copy.head.is_safe(),
            committed: copy.head.is_committed(),
            attempts: self.attempts,
            end: copy.head.deadline.end(copy.head.peer.as_ref().and_then(Peer::last_progress)).map(|(end, _)| end),
        };
        let make = || self.shared.backoff.make_backoff();
        let judged = judge(failure, self.shared.attempts.get(), Instant::now(), make, &mut self.backoff).and_then(|repeat| {
            let Some(Repeat { at, cost }) = repeat else { return Ok(None) };
            let paid = budget.withdraw(&copy.head.caller, cost).ok_or(Skip::Budget)?;
            Ok(Some((at, paid)))
        });
        match judged {
            Ok(Some((at, paid))) => {
                handles.tokens(budget);
                self.reserved = Some(paid);
                self.last = Some(outcome);
                Next::RepeatAt(at)
            }
            Ok(None) => Next::End(self.outcome(outcome)),
            Err(skip) => {
                handles.skipped(skip);
                Next::End(self.outcome(outcome))
            }
        }
    }

    /// The call's outcome, which says how many attempts it took.
    fn outcome(&self, outcome: Outcome<R>) -> Outcome<R> {
        match outcome {
            Ok(mut response) => {
                response.attempts = self.attempts;
                Ok(response)
            }
            Err(error) if self.attempts > 1 => Err(Exhausted::new(self.attempts, error).into()),
            Err(error) => Err(error),
        }
    }
}

impl<S, P, R> Drop for Call<S, P, R> {
    /// A call that is dropped in its backoff has paid for an attempt that is not made.
    fn drop(&mut self) {
        if let (Some(unused), Some(copy)) = (self.reserved.take(), &self.copy) {
            let budget = &self.shared.budget;
            budget.refund(unused);
            copy.head.target.cell(&self.shared.slot, || Handles::new(&copy.head.target, budget)).tokens(budget);
        }
    }
}

impl<S, P, R> Call<S, P, R>
where
    S: Clone,
    P: Clone,
{
    /// The next attempt: it must not wait, and speaks to the caller in its own name.
    fn next_attempt(&mut self) -> Option<Readying<S, P>> {
        let copy = self.copy.as_mut()?;
        copy.head.attempt = self.attempts;
        copy.head.admission = Admission::NoWait;
        copy.head.repeatable = copy.head.is_safe();
        copy.head.peer = copy.head.peer.as_ref().map(Peer::next_attempt);
        self.attempts += 1;
        self.paid = self.reserved.take();
        Some(Readying::new(S::clone(&self.pristine), copy.clone()))
    }
}

impl<S, P, R> Future for RetryFuture<S, P, R>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    P: Clone,
{
    type Output = Outcome<R>;

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
                    let Some(readying) = this.call.next_attempt() else { return Poll::Pending };
                    this.state.set(State::Readying { readying: Box::new(readying) });
                    continue;
                }
                // Polled after it was done, as a future must not be.
                StateProj::Done => return Poll::Pending,
            };
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
        f.debug_struct("RetryFuture").field("attempts", &self.call.attempts).finish_non_exhaustive()
    }
}
