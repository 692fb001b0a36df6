//! A call under a key, on its way: from the question what is known of the key to the inner service.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};
use tower::Service;

use super::{
    Claim, End, Kept, Lease, Reply, Wait,
    layer::{Hit, Shared},
};
use crate::{
    call::{Admission, CallParams, CallResult, Request, Response},
    classify::unsent,
    error::{BoxError, Reason, Rejected, Transport},
    logs::Sparingly,
};

pub(super) struct Asking<S, P> {
    shared: Arc<Shared>,
    key: Arc<str>,
    /// `None`: it is with the inner service.
    request: Option<Request<P>>,
    service: S,
    step: Step,
    deadline: Option<Pin<Box<Sleep>>>,
}

enum Step {
    /// Nobody has been asked yet: a call that is dropped now was never there.
    Beginning,
    Claiming(Reply<Claim>),
    Waiting(Wait),
    /// With the key, or without one where the store failed and the call needs no protection.
    Readying(Option<Box<dyn Lease>>),
}

/// How it goes on.
#[expect(clippy::large_enum_variant, reason = "passed on at once")]
pub(super) enum Next<F, R> {
    Run(F, Option<Box<dyn Lease>>),
    Answered(Response<R>),
}

/// The source of the error of a call that is not made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an earlier call under this idempotency key was lost")]
struct Lost;

impl<S, P> Asking<S, P> {
    pub(super) fn new(shared: Arc<Shared>, key: Arc<str>, request: Request<P>, service: S) -> Self {
        Self { shared, key, request: Some(request), service, step: Step::Beginning, deadline: None }
    }

    /// When the call has to end.
    pub(super) fn by(&self) -> Option<Instant> {
        self.request.as_ref()?.head.deadline.end(None).map(|(end, _)| end)
    }
}

fn refused(reason: Reason) -> Rejected {
    Rejected::new("idempotency", reason)
}

impl<S, P: CallParams> Asking<S, P> {
    pub(super) fn poll<R>(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next<S::Future, R>, BoxError>>
    where
        S: Service<Request<P>, Response = Response<R>>,
        S::Error: Into<BoxError>,
        R: CallResult + Send + 'static,
    {
        let Some(request) = &self.request else { return Poll::Pending };
        loop {
            match &mut self.step {
                Step::Beginning => self.step = Step::Claiming(self.shared.claim(request, &self.key)),
                Step::Claiming(reply) => match Pin::new(reply).poll(cx) {
                    Poll::Ready(claim) => match self.claimed(claim)? {
                        Known::Step(step) => self.step = step,
                        Known::Answer(kept) => return Poll::Ready(self.answer(&kept).map(Next::Answered)),
                    },
                    Poll::Pending => return self.late(cx, Reason::Deadline),
                },
                Step::Waiting(wait) => match Pin::new(wait).poll(cx) {
                    Poll::Ready(()) => self.step = Step::Beginning,
                    // That nobody may be sure of what the first call does meanwhile is what the reason says.
                    Poll::Pending => return self.late(cx, Reason::InProgress),
                },
                Step::Readying(lease) => match self.service.poll_ready(cx) {
                    Poll::Ready(Ok(())) => {
                        let lease = lease.take();
                        let Some(mut request) = self.request.take() else { return Poll::Pending };
                        request.head.attempt_at = Instant::now();
                        return Poll::Ready(Ok(Next::Run(self.service.call(request), lease)));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(unsent(error))),
                    Poll::Pending => return self.late(cx, Reason::Deadline),
                },
            }
        }
    }

    /// What follows from what the store says.
    fn claimed(&self, claim: Result<Claim, BoxError>) -> Result<Known, BoxError> {
        let Some(Request { head, .. }) = &self.request else { return Err(refused(Reason::Shed).into()) };
        let hit = |hit| self.shared.count(&head.target, hit);
        match claim {
            Ok(Claim::Run(lease)) => Ok(Known::Step(Step::Readying(Some(lease)))),
            Ok(Claim::Running(wait)) => {
                hit(Hit::Running);
                match wait.filter(|_| head.admission == Admission::Wait) {
                    Some(wait) => Ok(Known::Step(Step::Waiting(wait))),
                    None => Err(refused(Reason::InProgress).into()),
                }
            }
            Ok(Claim::Done(kept)) => {
                hit(Hit::Done);
                Ok(Known::Answer(kept))
            }
            Ok(Claim::Unknown) => {
                hit(Hit::Unknown);
                Err(Transport::unknown(Lost).into())
            }
            Ok(Claim::Conflict) => {
                hit(Hit::Conflict);
                Err(refused(Reason::KeyReused).never().into())
            }
            Err(error) => {
                static TOLD: Sparingly = Sparingly::new();
                hit(Hit::Failed);
                if let Some(unsaid) = TOLD.happens(Instant::now()) {
                    tracing::warn!(
                        error = &*error,
                        safe = head.is_idempotent(),
                        unsaid,
                        "no answer from the store of idempotency keys"
                    );
                }
                if head.is_idempotent() { Ok(Known::Step(Step::Readying(None))) } else { Err(refused(Reason::Shed).into()) }
            }
        }
    }

    /// The first call's answer. One of another type was given to somebody who calls the same target in another way.
    fn answer<R: CallResult + Send + 'static>(&self, kept: &Kept) -> Result<Response<R>, BoxError> {
        kept.replay().ok_or_else(|| Transport::unknown(Lost).into())
    }

    /// Whoever waits does so until the deadline.
    fn late<T>(&mut self, cx: &mut Context<'_>, reason: Reason) -> Poll<Result<T, BoxError>> {
        if self.deadline.is_none() {
            self.deadline = self.by().map(|by| Box::pin(sleep_until(by)));
        }
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(refused(reason).into()))
    }
}

/// What is known of a key, as far as this call is concerned.
enum Known {
    Step(Step),
    Answer(Kept),
}

/// A call that never got as far as the inner service has not happened.
impl<S, P> Drop for Asking<S, P> {
    fn drop(&mut self) {
        if let Step::Readying(lease) = &mut self.step
            && let Some(lease) = lease.take()
        {
            // A store that answers later may not hear of it, and then has to take it for lost.
            drop(lease.end(End::Nothing, Instant::now()));
        }
    }
}
