//! A shared call under way, and those who wait for it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, TryLockError},
    task::{Context, Poll, Waker},
};

use super::bell::Bell;
use crate::{
    call::{CallResult, Joint, Response},
    error::{BoxError, SharedFailure},
};

/// What several share.
type Answer<R> = Result<Response<R>, SharedFailure>;

/// A call that is polled by whoever waits for it.
pub(super) struct Flight<W, R> {
    /// `None`: it has ended.
    work: Mutex<Option<Pin<Box<W>>>>,
    bell: Arc<Bell>,
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

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;
    use crate::call::Deadline;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    type Boxed = Pin<Box<dyn Future<Output = Result<Response<()>, BoxError>> + Send>>;

    /// The call is rung while one polls it; another comes after that ring, finds it in hand, and goes to sleep; and the first
    /// leaves without looking again. What rang has been heard by nobody who is still there.
    #[test]
    fn a_ring_while_the_call_is_in_hand_is_heard_by_who_came_after_it() {
        let other: Arc<Mutex<Option<Waiter<Boxed, ()>>>> = Arc::default();
        let (wakes, came) = (Arc::<Wakes>::default(), other.clone());
        let waker = Waker::from(wakes.clone());
        let mut polls = 0;
        let work: Boxed = Box::pin(poll_fn(move |cx| {
            polls += 1;
            if polls == 2 {
                return Poll::Ready(Ok(Response::new(())));
            }
            cx.waker().wake_by_ref();
            let mut other = came.lock().unwrap();
            assert!(other.as_mut().unwrap().poll(&mut Context::from_waker(&waker)).is_pending());
            Poll::Pending
        }));
        let flight = Arc::new(Flight::new(work, Joint::new(Deadline::default())));
        let mut first = Waiter::new(flight.clone(), true);
        *other.lock().unwrap() = Some(Waiter::new(flight, false));
        assert!(first.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(first);
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1, "it sleeps for ever");
        let mut other = other.lock().unwrap().take().unwrap();
        assert!(other.poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    /// The task of one who has left may have better things to do.
    #[test]
    fn who_has_left_is_not_woken_any_more() {
        let flight = Arc::new(Flight::new(Box::pin(std::future::pending()) as Boxed, Joint::new(Deadline::default())));
        let (stays, leaves) = (Arc::<Wakes>::default(), Arc::<Wakes>::default());
        let mut waiters = [&stays, &leaves].map(|wakes| {
            let mut waiter = Waiter::new(flight.clone(), false);
            assert!(waiter.poll(&mut Context::from_waker(&Waker::from(wakes.clone()))).is_pending());
            Some(waiter)
        });
        drop(waiters[1].take());
        Waker::from(flight.bell.clone()).wake();
        assert_eq!([stays, leaves].map(|wakes| wakes.0.load(Ordering::SeqCst)), [1, 0]);
    }
}
