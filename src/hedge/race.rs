//! One call and its two attempts: when the second is sent, and whose outcome is the call's.

use std::{pin::Pin, sync::Arc, task::Context};

use tokio::time::Instant;
use tower::Service;

use super::tool::{Hedged, Tool};
use crate::{
    call::{Admission, Request, Response, Turn, Verdict},
    classify::{held_back, in_doubt},
    error::BoxError,
};

pub(super) type Outcome<R> = Result<Response<R>, BoxError>;

pub(super) struct Race<S, P, R>
where
    S: Service<Request<P>>,
{
    tool: Arc<Tool>,
    began: Instant,
    /// Whether the first attempt has ended, and has been counted.
    first_ended: bool,
    /// What a second attempt is made from. `None`: there will be none.
    spare: Option<Spare<S, P>>,
    second: Option<Second<S::Future>>,
    /// How the first attempt ended, if it failed while the second is under way.
    failed: Option<Outcome<R>>,
    /// Whether the target only reads: then nothing that an attempt may have done is left behind.
    reads: bool,
    /// Whether it is not known what one of the attempts has done: then the call may have happened, whatever the other says.
    doubt: bool,
}

pub(super) struct Spare<S, P> {
    pub(super) at: Instant,
    pub(super) request: Request<P>,
    pub(super) turn: Turn,
    pub(super) pristine: Arc<S>,
}

struct Second<F> {
    future: Pin<Box<F>>,
    began: Instant,
    turn: Turn,
}

impl<S, P, R> Race<S, P, R>
where
    S: Service<Request<P>, Response = Response<R>>,
{
    pub(super) const fn new(tool: Arc<Tool>, reads: bool, began: Instant, spare: Option<Spare<S, P>>) -> Self {
        Self { tool, began, first_ended: false, spare, second: None, failed: None, reads, doubt: false }
    }

    /// When the second attempt is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.spare.as_ref().map(|spare| spare.at)
    }

    pub(super) fn second(&mut self) -> Option<Pin<&mut S::Future>> {
        self.second.as_mut().map(|second| second.future.as_mut())
    }

    /// The first attempt has ended. `None`: the second may do better.
    pub(super) fn first_ended(&mut self, outcome: Outcome<R>) -> Option<Outcome<R>> {
        self.first_ended = true;
        self.spare = None;
        let succeeded = self.count(&outcome, self.began);
        if is_final(&outcome) {
            self.drop_second();
        }
        if !succeeded && self.second.is_some() {
            self.failed = Some(held_back(outcome));
            return None;
        }
        Some(self.doubted(outcome))
    }

    /// The second attempt has ended. `None`: the first may do better.
    pub(super) fn second_ended(&mut self, outcome: Outcome<R>) -> Option<Outcome<R>> {
        let second = self.second.take()?;
        if self.count(&outcome, second.began) {
            self.tool.count(Hedged::Won);
            self.first_given_up();
            return Some(outcome.map(of_two));
        }
        if is_final(&outcome) && !self.first_ended {
            self.tool.count(Hedged::Lost);
            self.doubt |= !self.reads;
            self.first_given_up();
            return Some(self.doubted(outcome.map(of_two)));
        }
        let verdict = Verdict::of(&outcome);
        self.doubt |= verdict.is_in_doubt() && !self.reads;
        if matches!(verdict, Verdict::LocalReject | Verdict::RemoteReject { .. }) {
            self.tool.count(Hedged::Refused);
            self.tool.refund();
            second.turn.give_back();
        } else {
            self.tool.count(Hedged::Lost);
        }
        self.failed.take().map(|outcome| self.doubted(outcome))
    }

    /// The outcome of the call, by that of the attempt that decides.
    fn doubted(&self, outcome: Outcome<R>) -> Outcome<R> {
        if self.doubt { in_doubt(outcome) } else { outcome }
    }

    /// The caller has heard of the first attempt: the second has nothing to win any more.
    pub(super) fn committed(&mut self) {
        self.spare = None;
        self.drop_second();
    }

    /// Takes note of how long an attempt took; says whether it succeeded. An answer that says no is one.
    fn count(&self, outcome: &Outcome<R>, began: Instant) -> bool {
        let now = Instant::now();
        let took = now.saturating_duration_since(began);
        let succeeded = matches!(Verdict::of(outcome), Verdict::Ok | Verdict::ToolError | Verdict::InputRequired | Verdict::Task);
        match outcome {
            // What was repeated by the retry further in took more than the tool does.
            Ok(response) if succeeded && response.attempts == 1 => self.tool.answered(took, now),
            _ => self.tool.given_up(took, now),
        }
        succeeded
    }
}

const fn of_two<R>(mut response: Response<R>) -> Response<R> {
    response.attempts = 2;
    response
}

/// Whether no other attempt would do better: the call itself is refused, and who made it is to hear of that at once.
fn is_final<R>(outcome: &Outcome<R>) -> bool {
    matches!(Verdict::of(outcome), Verdict::ClientFault | Verdict::Denied | Verdict::SessionLost)
}

impl<S, P, R> Race<S, P, R>
where
    S: Service<Request<P>>,
{
    fn drop_second(&mut self) {
        if let Some(second) = self.second.take() {
            self.doubt |= !self.reads;
            let now = Instant::now();
            self.tool.given_up(now.saturating_duration_since(second.began), now);
            self.tool.count(Hedged::Lost);
        }
    }

    fn first_given_up(&mut self) {
        if !std::mem::replace(&mut self.first_ended, true) {
            let now = Instant::now();
            self.tool.given_up(now.saturating_duration_since(self.began), now);
        }
    }
}

impl<S, P, R> Race<S, P, R>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
{
    /// Sends the second attempt, now that it is due: if nobody has repeated the call yet, the budget pays for it, and the
    /// inner service is ready on the spot. Of a call that the caller has heard of there is nothing to send.
    pub(super) fn send(&mut self, cx: &mut Context<'_>) {
        let Some(Spare { request: mut copy, turn, pristine, .. }) = self.spare.take() else { return };
        if !self.tool.spend() {
            return;
        }
        let mut service = S::clone(&pristine);
        if !turn.hedge() || !matches!(service.poll_ready(cx), std::task::Poll::Ready(Ok(()))) {
            turn.give_back();
            self.tool.refund();
            return;
        }
        let (head, now) = (&mut copy.head, Instant::now());
        head.attempt = 1;
        head.attempt_at = now;
        (head.admission, head.spare) = (Admission::NoWait, true);
        // Two at once cannot speak to one caller.
        head.peer = None;
        let future = Box::pin(service.call(copy));
        self.second = Some(Second { future, began: now, turn });
    }
}

impl<S, P, R> Drop for Race<S, P, R>
where
    S: Service<Request<P>>,
{
    fn drop(&mut self) {
        self.drop_second();
        self.first_given_up();
    }
}
