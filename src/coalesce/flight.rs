//! A shared call under way, and those who wait for it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::bell::Bell;
use crate::{
    call::{CallResult, Joint, Response},
    error::{BoxError, SharedFailure},
    sync::{Mutex, OnceLock, TryLockError},
};

/// What several share.
type Answer<R> = Result<Response<R>, SharedFailure>;

/// A call that is polled by whoever waits for it.
pub(super) struct Flight<W, R> {
    /// `None`: it has ended.
    work: Mutex<Option<Pin<Box<W>>>>,
    pub(super) bell: Arc<Bell>,
    answer: OnceLock<Answer<R>>,
    joint: Joint,
}

impl<W, R> Flight<W, R> {
    pub(super) fn new(work: W, joint: Joint) -> Self {
        Self { work: Mutex::new(Some(Box::pin(work))), bell: Arc::new(Bell::new()), answer: OnceLock::new(), joint }
    }

    pub(super) const fn joint(&self) -> &Joint {
        &self.joint
    }
}

/// One who waits. Dropped, it leaves; and the call is dropped with the last.
pub(super) struct Waiter<W, R> {
    flight: Arc<Flight<W, R>>,
    place: Option<usize>,
    /// Whether it is this one's request that was sent.
    led: bool,
}

impl<W, R> Waiter<W, R> {
    pub(super) const fn new(flight: Arc<Flight<W, R>>, led: bool) -> Self {
        Self { flight, place: None, led }
    }

    pub(super) const fn has_led(&self) -> bool {
        self.led
    }
}

impl<W, R> Waiter<W, R>
where
    W: Future<Output = Result<Response<R>, BoxError>>,
    R: CallResult,
{
    /// Polls the call if it can get on and nobody else does.
    ///
    /// Nobody is left asleep: each is written down before it tries; and who has had the call in hand looks again, after letting
    /// go of it, whether it was rung meanwhile, and then wakes all who are written down.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<R>, BoxError>> {
        let flight = &*self.flight;
        flight.bell.listen(&mut self.place, cx.waker());
        if let Some(answer) = flight.answer.get() {
            return Poll::Ready(copy(answer));
        }
        let mut work = match flight.work.try_lock() {
            Ok(work) => work,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Poll::Pending,
        };
        let mut ended = None;
        if let Some(polled) = &mut *work {
            if flight.bell.answer()
                && let Poll::Ready(outcome) = polled.as_mut().poll(&mut Context::from_waker(&Waker::from(flight.bell.clone())))
            {
                // Nobody joins any more, once it is gone.
                *work = None;
                ended = Some(outcome);
            }
        } else if let Some(answer) = flight.answer.get() {
            return Poll::Ready(copy(answer));
        }
        let answer = match ended {
            Some(outcome) if Arc::strong_count(&self.flight) == 1 => Some(outcome),
            Some(outcome) => {
                let answer = flight.answer.get_or_init(|| outcome.map_err(SharedFailure::new));
                Some(copy(answer))
            }
            None => None,
        };
        drop(work);
        if answer.is_some() || flight.bell.is_rung() {
            flight.bell.wake_all();
        }
        answer.map_or(Poll::Pending, Poll::Ready)
    }
}

fn copy<R: CallResult>(answer: &Answer<R>) -> Result<Response<R>, BoxError> {
    answer.clone().map_err(Into::into)
}

impl<W, R> Drop for Waiter<W, R> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.flight.bell.leave(place);
        }
    }
}

impl<W, R> fmt::Debug for Waiter<W, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("led", &self.led).finish_non_exhaustive()
    }
}
