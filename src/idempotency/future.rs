use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::Service;

use super::{
    End, Kept, Lease, Reply,
    asking::{Asking, Next},
};
use crate::{
    call::{CallParams, CallResult, Request, Response, Verdict},
    classify::held_back,
    error::BoxError,
    logs::Sparingly,
};

type Outcome<R> = Result<Response<R>, BoxError>;

pin_project! {
    /// The future of [`Idempotency`](super::Idempotency).
    pub struct IdempotencyFuture<S, P, R>
    where
        S: Service<Request<P>>,
    {
        #[pin]
        state: State<S::Future, S, P, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, S, P, R> {
        Passed { #[pin] future: F },
        // Boxed, as a call under a key may be.
        Asking { asking: Box<Asking<S, P>> },
        // Fields drop in this order: the work ends before its key is given up.
        Running { #[pin] future: F, lease: Option<Box<dyn Lease>>, by: Option<Instant> },
        Ending { ending: Box<Ending<R>> },
        Done,
    }
}

/// An answer that a store takes its time to keep.
struct Ending<R> {
    reply: Reply<()>,
    outcome: Option<Outcome<R>>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<R> Ending<R> {
    fn new(reply: Reply<()>, outcome: Outcome<R>, by: Option<Instant>) -> Self {
        Self { reply, outcome: Some(outcome), deadline: by.map(|by| Box::pin(sleep_until(by))) }
    }

    /// The answer, once the store has it, or has had its time.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome<R>> {
        match (Pin::new(&mut self.reply).poll(cx), &mut self.deadline) {
            (Poll::Ready(kept), _) => told(kept),
            (Poll::Pending, Some(deadline)) => {
                ready!(deadline.as_mut().poll(cx));
                told(Err("it takes too long".into()));
            }
            (Poll::Pending, None) => return Poll::Pending,
        }
        self.outcome.take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The caller has its answer, whether or not it could be kept.
fn told(kept: Result<(), BoxError>) {
    static TOLD: Sparingly = Sparingly::new();
    if let Err(error) = kept
        && let Some(unsaid) = TOLD.happens(Instant::now())
    {
        tracing::warn!(error = &*error, unsaid, "the store of idempotency keys could not keep an answer");
    }
}

impl<S, P, R> IdempotencyFuture<S, P, R>
where
    S: Service<Request<P>>,
{
    pub(super) const fn passed(future: S::Future) -> Self {
        Self { state: State::Passed { future } }
    }

    pub(super) fn asking(asking: Asking<S, P>) -> Self {
        Self { state: State::Asking { asking: Box::new(asking) } }
    }
}

/// The layer's column of the verdict table.
fn end<R: CallResult + Send + 'static>(outcome: &Outcome<R>) -> End {
    match (Verdict::of(outcome), outcome) {
        (Verdict::Ok | Verdict::ToolError | Verdict::Task, Ok(response)) => End::Done(Kept::of(response)),
        (Verdict::InputRequired, _) => End::Paused,
        (
            Verdict::ClientFault
            | Verdict::Denied
            | Verdict::SessionLost
            | Verdict::Throttled { .. }
            | Verdict::NotSent
            | Verdict::LocalReject
            | Verdict::RemoteReject { .. },
            _,
        ) => End::Nothing,
        (
            Verdict::Ok | Verdict::ToolError | Verdict::Task | Verdict::Ambiguous { .. } | Verdict::Hurried | Verdict::Cancelled,
            _,
        ) => End::Unknown,
    }
}

impl<S, P, R> Future for IdempotencyFuture<S, P, R>
where
    S: Service<Request<P>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    P: CallParams,
    R: CallResult + Send + 'static,
{
    type Output = Outcome<R>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Passed { future } => return future.poll(cx).map_err(Into::into),
                StateProj::Asking { asking } => {
                    let by = asking.by();
                    match ready!(asking.poll(cx)) {
                        Ok(Next::Run(future, lease)) => state.set(State::Running { future, lease, by }),
                        Ok(Next::Answered(response)) => {
                            state.set(State::Done);
                            return Poll::Ready(Ok(response));
                        }
                        Err(error) => {
                            state.set(State::Done);
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                StateProj::Running { future, lease, by } => {
                    let outcome = ready!(future.poll(cx)).map_err(Into::into);
                    let (lease, by) = (lease.take(), *by);
                    // The work is over, and so is whatever it holds.
                    state.set(State::Done);
                    let Some(lease) = lease else { return Poll::Ready(outcome) };
                    let mut reply = lease.end(end(&outcome), Instant::now());
                    match Pin::new(&mut reply).poll(cx) {
                        Poll::Ready(kept) => {
                            told(kept);
                            return Poll::Ready(outcome);
                        }
                        Poll::Pending => {
                            state.set(State::Ending { ending: Box::new(Ending::new(reply, held_back(outcome), by)) });
                        }
                    }
                }
                StateProj::Ending { ending } => {
                    let outcome = ready!(ending.poll(cx));
                    state.set(State::Done);
                    return Poll::Ready(outcome);
                }
                // Polled after it was done, as a future must not be.
                StateProj::Done => return Poll::Pending,
            }
        }
    }
}

impl<S, P, R> fmt::Debug for IdempotencyFuture<S, P, R>
where
    S: Service<Request<P>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Passed { .. } => "passed",
            State::Asking { .. } => "asking",
            State::Running { .. } => "running",
            State::Ending { .. } => "ending",
            State::Done => "done",
        };
        f.debug_struct("IdempotencyFuture").field("state", &state).finish_non_exhaustive()
    }
}
