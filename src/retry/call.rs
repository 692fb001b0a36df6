//! What a call remembers from attempt to attempt, and what it does with each outcome.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Backoff,
    budget::Withdrawal,
    layer::{Handles, Repeated},
    policy::{Failure, Repeat, Skip, is_mendable, judge},
    service::Origin,
};
use crate::{
    call::{Admission, Peer, Request, Response, Target, Verdict},
    classify::{held_back, in_doubt},
    error::{BoxError, Exhausted},
};

pub(super) type Outcome<R> = Result<Response<R>, BoxError>;

/// What follows an attempt.
#[expect(clippy::large_enum_variant, reason = "moved once and never stored")]
pub(super) enum Next<R> {
    RepeatAt(Instant),
    End(Outcome<R>),
}

/// What is kept of a call while it is attempted.
#[expect(clippy::large_enum_variant, reason = "nearly all calls keep a copy, and a box would be an allocation for each")]
pub(super) enum Kept<P> {
    /// What a further attempt is made from.
    Copy(Request<P>),
    /// There will be none: the sender repeats whatever might be.
    Marked(Arc<Target>),
    /// There will be none.
    Nothing,
}

/// One call, over all its attempts.
pub(super) struct Call<S, P, R> {
    kept: Kept<P>,
    attempts: u32,
    /// Boxed: a call that goes well at once, as most do, carries a pointer.
    trouble: Option<Box<Trouble<R>>>,
    origin: Arc<Origin<S>>,
}

/// What is remembered once an attempt has failed.
struct Trouble<R> {
    backoff: Option<Box<dyn Backoff>>,
    /// The answer that the caller gets if the next attempt is refused.
    last: Option<Outcome<R>>,
    payment: Option<Payment>,
    /// Whether the outcome of an attempt was in doubt: then it may have happened, whatever a later attempt says.
    doubt: bool,
}

/// What the next attempt is paid with, until it begins; then, what it was paid with.
#[derive(Clone, Copy)]
enum Payment {
    Reserved(Withdrawal),
    Spent(Withdrawal),
}

impl<R> Default for Trouble<R> {
    fn default() -> Self {
        Self { backoff: None, last: None, payment: None, doubt: false }
    }
}

impl<S, P, R> Call<S, P, R> {
    pub(super) const fn new(kept: Kept<P>, origin: Arc<Origin<S>>) -> Self {
        Self { kept, attempts: 1, trouble: None, origin }
    }

    pub(super) const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether the call ends with this outcome of its attempt and there is nothing to settle: so it goes with most calls.
    pub(super) fn ends_with(&self, outcome: &Outcome<R>) -> bool {
        let verdict = Verdict::of(outcome);
        match &self.kept {
            Kept::Copy(copy) if self.trouble.is_none() && verdict == Verdict::Ok => {
                // What a layer further in had to repeat is no sign of a backend that is well: it must not pay for more
                // repetitions.
                if outcome.as_ref().is_ok_and(|response| response.attempts <= 1) {
                    self.earn(copy);
                }
                true
            }
            Kept::Copy(_) => false,
            Kept::Marked(_) => {
                if is_mendable(verdict) {
                    self.skipped(Skip::Marked);
                }
                true
            }
            Kept::Nothing => true,
        }
    }

    /// What follows an attempt's outcome that the call does not simply end with.
    pub(super) fn settle(&mut self, outcome: Outcome<R>) -> Next<R> {
        let verdict = Verdict::of(&outcome);
        if let Some(last) = self.account(verdict) {
            return Next::End(self.counted(last));
        }
        match self.pay_for_another(verdict) {
            Ok(Some((at, paid))) => {
                let trouble = self.trouble.get_or_insert_default();
                trouble.payment = Some(Payment::Reserved(paid));
                trouble.doubt |= verdict.is_in_doubt();
                trouble.last = Some(held_back(outcome));
                Next::RepeatAt(at)
            }
            Ok(None) => Next::End(self.counted(outcome)),
            Err(skip) => {
                self.skipped(skip);
                Next::End(self.counted(outcome))
            }
        }
    }

    /// What a call earns that succeeded at once.
    fn earn(&self, copy: &Request<P>) {
        let target = &copy.head.target;
        let handles = self.origin.shared.handles(target);
        if handles.budget.earn(copy.head.caller.tenant_digest()) {
            handles.tell_if_whole(target);
        }
    }

    /// Accounts for a repeated attempt by its verdict. If it was refused, gives the answer that there was before.
    fn account(&mut self, verdict: Verdict) -> Option<Outcome<R>> {
        let Payment::Spent(paid) = self.trouble.as_mut()?.payment.take()? else { return None };
        let repeated = match verdict {
            Verdict::LocalReject => Repeated::Refused,
            // A tool's own error is an answer: the repetition has done what it can.
            Verdict::Ok | Verdict::ToolError | Verdict::InputRequired | Verdict::Task => Repeated::Success,
            _ => Repeated::Failure,
        };
        let (target, handles) = self.handles()?;
        handles.repeated(repeated);
        if repeated != Repeated::Failure {
            handles.budget.refund(paid);
            handles.tell_if_whole(target);
        }
        if repeated != Repeated::Refused {
            return None;
        }
        self.attempts -= 1;
        self.trouble.as_mut()?.last.take()
    }

    /// When to repeat, and what it was paid with; `None` if there is nothing to repeat.
    fn pay_for_another(&mut self, verdict: Verdict) -> Result<Option<(Instant, Withdrawal)>, Skip> {
        let Kept::Copy(copy) = &self.kept else { return Ok(None) };
        let (head, shared) = (&copy.head, &*self.origin.shared);
        if let Some(peer) = &head.peer {
            // Whether the call is committed is settled here: what this attempt says from now on goes nowhere.
            peer.silence();
        }
        let doubt = self.trouble.as_ref().is_some_and(|trouble| trouble.doubt);
        let failure = Failure {
            verdict,
            safe: head.is_idempotent(),
            committed: head.is_committed(),
            attempts: self.attempts,
            // After a doubt the sender is told of that, and does not repeat the call.
            senders: !doubt && head.meta.as_ref().is_some_and(|meta| meta.repeated().is_some()),
            end: head.end().map(|(end, _)| end),
        };
        let mut series = self.trouble.as_mut().and_then(|trouble| trouble.backoff.take());
        let make = || shared.make_backoff();
        let repeat = judge(failure, shared.attempts(), Instant::now(), make, &mut series)?;
        let Some(Repeat { at, cost }) = repeat else { return Ok(None) };
        if head.turn.as_ref().is_some_and(|turn| !turn.retry()) {
            return Err(Skip::Hedged);
        }
        let handles = shared.handles(&head.target);
        let paid = handles.budget.withdraw(&head.caller, cost).ok_or(Skip::Budget)?;
        self.trouble.get_or_insert_default().backoff = series;
        Ok(Some((at, paid)))
    }

    /// The call's outcome, which says how many attempts it took, and does not forget a doubt.
    fn counted(&self, outcome: Outcome<R>) -> Outcome<R> {
        let doubt = self.trouble.as_ref().is_some_and(|trouble| trouble.doubt);
        match if doubt { in_doubt(outcome) } else { outcome } {
            Ok(mut response) => {
                response.attempts = self.attempts;
                Ok(response)
            }
            Err(error) if self.attempts > 1 => Err(Exhausted::new(self.attempts, error).into()),
            Err(error) => Err(error),
        }
    }

    fn skipped(&self, reason: Skip) {
        if let Some((target, handles)) = self.handles() {
            handles.skipped(reason);
            if reason == Skip::Budget {
                handles.cannot_pay(target);
            }
        }
    }

    fn handles(&self) -> Option<(&Target, &Handles)> {
        let target = match &self.kept {
            Kept::Copy(copy) => &copy.head.target,
            Kept::Marked(target) => target,
            Kept::Nothing => return None,
        };
        Some((target, self.origin.shared.handles(target)))
    }
}

impl<S, P, R> Drop for Call<S, P, R> {
    /// A call that is dropped in its backoff has paid for an attempt that is not made.
    fn drop(&mut self) {
        if let Some(Payment::Reserved(unused)) = self.trouble.as_ref().and_then(|trouble| trouble.payment)
            && let Some((target, handles)) = self.handles()
        {
            handles.budget.refund(unused);
            handles.tell_if_whole(target);
        }
    }
}

impl<S, P, R> Call<S, P, R>
where
    S: Clone,
    P: Clone,
{
    /// The next attempt: it must not wait, and speaks to the caller in its own name.
    pub(super) fn next_attempt(&mut self) -> Option<(S, Request<P>)> {
        let Kept::Copy(copy) = &mut self.kept else { return None };
        let head = &mut copy.head;
        head.attempt = self.attempts;
        head.admission = Admission::NoWait;
        head.repeatable = self.attempts + 1 < self.origin.shared.attempts() && head.is_idempotent();
        head.peer = head.peer.as_ref().map(Peer::next_attempt);
        self.attempts += 1;
        if let Some(payment) = self.trouble.as_mut().and_then(|trouble| trouble.payment.as_mut())
            && let Payment::Reserved(paid) = *payment
        {
            *payment = Payment::Spent(paid);
        }
        Some((S::clone(&self.origin.pristine), copy.clone()))
    }
}
