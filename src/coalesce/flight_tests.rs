use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use super::flight::{Flight, Waiter};
use crate::{
    call::{Deadline, Joint, Response},
    error::BoxError,
};

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
