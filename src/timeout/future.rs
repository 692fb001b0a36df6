use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::layer::Counters;
use crate::{
    call::{Deadline, Joint, Peer, Slot, Target},
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
    pub(super) lifted_by_commit: bool,
    pub(super) deadline: Deadline,
    /// Where there is one, the deadline is in here.
    pub(super) joint: Option<Joint>,
    pub(super) peer: Option<Peer>,
    pub(super) target: Arc<Target>,
    pub(super) slot: Slot<Counters>,
}

impl Timer {
    /// When the attempt ends as things stand, and by which clock.
    fn end(&self) -> Option<(Instant, Clock)> {
        let committed = self.lifted_by_commit && self.peer.as_ref().is_some_and(Peer::is_committed);
        let attempt = self.attempt.filter(|_| !committed).map(|end| (end, Clock::Attempt));
        let deadline = self.joint.as_ref().map_or(self.deadline, Joint::deadline);
        let call = deadline.end(self.peer.as_ref().and_then(Peer::last_progress));
        match (attempt, call) {
            (Some(attempt), Some(call)) => Some(if attempt.0 < call.0 { attempt } else { call }),
            (attempt, call) => attempt.or(call),
        }
    }

    /// What the limit was is told, and not what the clock says: a timer is always a little late.
    fn fire(&self, end: Instant, clock: Clock) -> TimedOut {
        self.target.cell(&self.slot, || Counters::new(&self.target)).count(clock);
        TimedOut { clock, after: end.saturating_duration_since(self.began) }
    }
}

impl<F, T, E> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(outcome) = this.inner.poll(cx) {
            return Poll::Ready(outcome.map_err(Into::into));
        }
        loop {
            let Some(sleep) = this.sleep.as_mut().as_pin_mut() else {
                let Some((end, _)) = this.timer.end() else {
                    return Poll::Pending;
                };
                this.sleep.set(Some(sleep_until(end)));
                continue;
            };
            let fired_at = sleep.deadline();
            ready!(sleep.poll(cx));
            match this.timer.end() {
                Some((end, clock)) if end <= fired_at => return Poll::Ready(Err(this.timer.fire(end, clock).into())),
                // Progress has moved the end, or a commit has lifted the attempt's limit.
                Some((end, _)) => this.sleep.set(Some(sleep_until(end))),
                None => return Poll::Pending,
            }
        }
    }
}
