//! A shared call, polled by whoever waits for it. A waiter that is never woken is a deadlock, and loom says so.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use loom::{
    future::block_on,
    sync::atomic::{AtomicU8, Ordering},
    thread,
};

use crate::{
    call::{CallResult, Deadline, Joint, Key, Response},
    error::BoxError,
    model,
};

#[path = "../../src/coalesce/bell.rs"]
mod bell;
#[path = "../../src/coalesce/flight.rs"]
mod flight;
#[path = "../../src/coalesce/flights.rs"]
mod flights;

/// What makes two calls one.
type Alike = Key;

use flight::{Flight, Waiter};
use flights::{Flights, Seat};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer(u8);

impl CallResult for Answer {}

/// What the backend tells the call.
#[derive(Default)]
struct Event(loom::sync::Mutex<(bool, Option<Waker>)>);

impl Event {
    fn comes(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A call that ends when its event comes.
struct Work(Arc<Event>);

impl Future for Work {
    type Output = Result<Response<Answer>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(Ok(Response::new(Answer(7))));
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn wait<W>(mut waiter: Waiter<W, Answer>) -> Answer
where
    W: Future<Output = Result<Response<Answer>, BoxError>>,
{
    block_on(poll_fn(move |cx| waiter.poll(cx))).unwrap().result.unwrap()
}

fn shared() -> (Arc<Event>, [Waiter<Work, Answer>; 2]) {
    let event = Arc::<Event>::default();
    let flight = Arc::new(Flight::new(Work(event.clone()), Joint::new(Deadline::default())));
    (event, [Waiter::new(flight.clone(), true), Waiter::new(flight, false)])
}

#[test]
fn all_who_wait_are_woken_and_get_the_answer() {
    model(1, || {
        let (event, [one, other]) = shared();
        let comes = thread::spawn(move || event.comes());
        let waits = thread::spawn(move || wait(one));
        assert_eq!(wait(other), Answer(7));
        assert_eq!(waits.join().unwrap(), Answer(7));
        comes.join().unwrap();
    });
}

#[test]
fn who_leaves_takes_no_wake_up_along() {
    model(2, || {
        let (event, [mut one, other]) = shared();
        let comes = thread::spawn(move || event.comes());
        let leaves = thread::spawn(move || {
            let _not_waited_for = one.poll(&mut Context::from_waker(Waker::noop()));
        });
        assert_eq!(wait(other), Answer(7));
        leaves.join().unwrap();
        comes.join().unwrap();
    });
}

/// A call that ends at once.
struct AtOnce(Answer, Seat);

impl Future for AtOnce {
    type Output = Result<Response<Answer>, BoxError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(Response::new(self.0)))
    }
}

/// Whoever joins a call that is about to end, or to be left by all others, gets its answer or makes another; and no call that is
/// over holds its place.
#[test]
fn who_joins_as_the_call_ends_has_an_answer() {
    model(2, || {
        let (flights, calls) = (Arc::new(Flights::new(1)), Arc::new(AtomicU8::new(0)));
        let joins = |waits: bool| {
            let (flights, calls) = (flights.clone(), calls.clone());
            move || {
                let make = |seat, _| AtOnce(Answer(calls.fetch_add(1, Ordering::Relaxed)), seat);
                let waiter = flights.join(Key, Deadline::default(), make);
                if waits && let Some(waiter) = waiter {
                    let led = waiter.has_led();
                    let answer = wait(waiter);
                    assert!(led || answer.0 < calls.load(Ordering::Relaxed));
                }
            }
        };
        let leaves = thread::spawn(joins(false));
        let waits = thread::spawn(joins(true));
        joins(true)();
        leaves.join().unwrap();
        waits.join().unwrap();
        assert_eq!(flights.len(), 0);
        check_is_free(&flights);
    });
}

fn check_is_free(flights: &Arc<Flights>) {
    let waiter = flights.join(Key, Deadline::default(), |seat, _| AtOnce(Answer(9), seat)).unwrap();
    assert!(waiter.has_led());
    assert_eq!(wait(waiter), Answer(9));
}
