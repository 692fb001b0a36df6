use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::layer::Cell;
use crate::{
    call::{Deadline, Joint, Peer, Slot, Target, falls_short},
    error::{BoxError, Clock, TimedOut},
};

pin_project! {
    /// The future of [`Timeout`](super::Timeout).
    #[derive(Debug)]
    pub struct TimeoutFuture<F> {
        #[pin]
        inner: F,
        timer: Timer,
        // Armed when the inner future is first found pending: a handler that answers at once costs no timer.
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl<F> TimeoutFuture<F> {
    pub(super) const fn new(inner: F, timer: Timer) -> Self {
        Self { inner, timer, sleep: None }
    }
}

/// What decides when an attempt ends.
#[derive(Debug)]
pub(super) struct Timer {
    pub(super) began: Instant,
    pub(super) attempt: Option<Instant>,
    /// By when an answer says that the target is quick. There is none where all attempts have a limit: then a commit does not
    /// lift it.
    pub(super) quick: Option<Instant>,
    /// Whether the target was known to be slow when the attempt began.
    pub(super) slow: bool,
    pub(super) deadline: Deadline,
    /// What the operator would have granted the call, where its caller gives it less.
    pub(super) granted: Option<Duration>,
    /// Where there is one, the deadline is in here.
    pub(super) joint: Option<Joint>,
    pub(super) peer: Option<Peer>,
    pub(super) target: Arc<Target>,
    pub(super) slot: Slot<Cell>,
    /// Whether the clocks stood still at the last look.
    pub(super) held: bool,
}

impl Timer {
    /// When the attempt ends as things stand, and by which clock. While a person is asked, `waker` is woken at the answer.
    fn look(&mut self, waker: &Waker) -> Option<(Instant, Clock)> {
        let Some(peer) = &self.peer else {
            return earlier(self.attempt.map(|end| (end, Clock::Attempt)), self.deadline().end(None));
        };
        self.held = peer.is_asking(waker);
        if self.held {
            return self.deadline().hard.map(|hard| (hard, Clock::Hard));
        }
        let (stood_still, last_progress) = peer.stood_still();
        let attempt = self.attempt.filter(|_| self.quick.is_none() || !peer.is_committed());
        let attempt = attempt.and_then(|end| Some((end.checked_add(stood_still)?, Clock::Attempt)));
        let deadline = self.deadline();
        let soft = deadline.soft.and_then(|soft| soft.checked_add(stood_still));
        earlier(attempt, Deadline { soft, ..deadline }.end(last_progress))
    }

    fn deadline(&self) -> Deadline {
        self.joint.as_ref().map_or(self.deadline, Joint::deadline)
    }

    /// Takes note of an answer: one within the limit says that the target is quick.
    #[inline]
    fn answered(&self) {
        if self.slow
            && let Some(cell) = self.target.get_cell(&self.slot)
            && self.quick.is_some_and(|quick| Instant::now() <= quick)
        {
            cell.set_slow(false);
        }
    }

    /// What the limit was is told, and not what the clock says: a timer is always a little late.
    fn fire(&self, end: Instant, clock: Clock) -> TimedOut {
        let after = end.saturating_duration_since(self.began);
        let clock = if clock != Clock::Attempt && self.hurried(after) { Clock::Patience } else { clock };
        let cell = self.target.cell(&self.slot, || Cell::new(&self.target));
        cell.count(clock);
        if clock == Clock::Attempt {
            cell.set_slow(true);
        }
        TimedOut { clock, after }
    }

    /// Whether an attempt that took so long has not had a fair time, and that is not the operator's doing: its caller gives it
    /// less, or a person was asked, and took all that there was.
    fn hurried(&self, took: Duration) -> bool {
        if self.target.method().waits() {
            return true;
        }
        let stood_still = self.peer.as_ref().map_or(Duration::ZERO, |peer| peer.stood_still().0);
        if self.granted.is_none() && stood_still.is_zero() {
            return false;
        }
        let ours = || self.deadline().soft.map_or(Duration::MAX, |soft| soft.saturating_duration_since(self.began));
        let granted = self.granted.unwrap_or_else(ours);
        let limit = self.attempt.or(self.quick).map(|end| end.saturating_duration_since(self.began));
        let fair = limit.map_or(granted, |limit| limit.min(granted));
        falls_short(took.saturating_sub(stood_still), fair)
    }
}

fn earlier(attempt: Option<(Instant, Clock)>, call: Option<(Instant, Clock)>) -> Option<(Instant, Clock)> {
    match (attempt, call) {
        (Some(attempt), Some(call)) => Some(if attempt.0 < call.0 { attempt } else { call }),
        (attempt, call) => attempt.or(call),
    }
}

impl<F, T, E> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(outcome) = this.inner.poll(cx) {
            if outcome.is_ok() {
                this.timer.answered();
            }
            return Poll::Ready(outcome.map_err(Into::into));
        }
        loop {
            let Some(sleep) = this.sleep.as_mut().as_pin_mut() else {
                let Some((end, _)) = this.timer.look(cx.waker()) else { return Poll::Pending };
                this.sleep.set(Some(sleep_until(end)));
                continue;
            };
            let armed_for = sleep.deadline();
            let fired = sleep.poll(cx).is_ready();
            // Clocks that run can only have been put off since: one look when the timer fires is enough.
            if !fired && !this.timer.held {
                return Poll::Pending;
            }
            match this.timer.look(cx.waker()) {
                Some((end, clock)) if fired && end <= armed_for => return Poll::Ready(Err(this.timer.fire(end, clock).into())),
                Some((end, _)) if !fired && end == armed_for => return Poll::Pending,
                // Progress has moved the end, a commit has lifted the attempt's limit, or clocks that stood still run on.
                Some((end, _)) => this.sleep.set(Some(sleep_until(end))),
                None => {
                    this.sleep.set(None);
                    return Poll::Pending;
                }
            }
        }
    }
}
