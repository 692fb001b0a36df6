//! The cells of a target, the turn to repeat a call, and the caller's ear.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use loom::{
    future::block_on,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

pub use buttress::call::{CallResult, Deadline, Response, Served, Verdict};

use crate::{check, error::BoxError, model};

#[path = "../../src/call/joint.rs"]
mod joint;
#[path = "../../src/call/peer.rs"]
mod peer;
#[path = "../../src/call/slots.rs"]
mod slots;
#[path = "../../src/call/turn.rs"]
mod turn;

pub use joint::Joint;
use peer::{Notify, Peer, Progress};
use slots::{Slot, Slots};
use turn::Turn;

/// What a call asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key;

/// A tenant.
pub type Digest = u8;

/// A caller of a tenant.
#[derive(Debug)]
pub struct Caller(pub Digest);

impl Caller {
    pub fn tenant_digest(&self) -> Digest {
        self.0
    }

    pub fn nobody() -> Digest {
        Digest::MAX
    }
}

#[test]
fn threads_that_meet_at_a_cell_see_one_and_none_hides_another() {
    model(3, || {
        let slots = Arc::new(Slots::default());
        let (one, other) = (Slot::<u8>::new(), Slot::<u8>::new());
        let address = |cell: &u8| std::ptr::from_ref(cell).addr();
        let meets = {
            let slots = slots.clone();
            thread::spawn(move || address(slots.get_or_init(&one, || 1)))
        };
        let is_beside = {
            let slots = slots.clone();
            thread::spawn(move || address(slots.get_or_init(&other, || 3)))
        };
        let own = address(slots.get_or_init(&one, || 2));
        assert_eq!(slots.get(&one).map(address), Some(own));
        assert_eq!(meets.join().unwrap(), own);
        let is_beside = is_beside.join().unwrap();
        assert_eq!(slots.get(&other).map(address), Some(is_beside));
    });
}

#[test]
fn a_call_is_never_both_retried_and_hedged() {
    check(|| {
        let turn = Turn::default();
        let hedges = {
            let turn = turn.clone();
            thread::spawn(move || turn.hedge())
        };
        let refused = {
            let turn = turn.clone();
            thread::spawn(move || {
                if turn.hedge() {
                    turn.give_back();
                }
            })
        };
        let retries = turn.retry();
        refused.join().unwrap();
        // Who was refused has given back the turn of both hedges: so has the layer, whose hedge is one.
        let _hedged = hedges.join().unwrap();
        assert!(turn.retry() != turn.hedge());
        assert!(!retries || !turn.hedge());
    });
}

/// Counts what the caller hears.
struct Hears(Arc<AtomicUsize>);

impl Notify for Hears {
    fn progress(&self, _: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A step of an attempt either comes before the end of the attempt, and the call is committed and not repeated; or it goes
/// nowhere, even if the next attempt has begun.
#[test]
fn a_call_that_is_repeated_has_not_been_heard_of() {
    check(|| {
        let heard = Arc::new(AtomicUsize::new(0));
        let peer = Peer::new(Hears(heard.clone()));
        let handler = {
            let peer = peer.clone();
            thread::spawn(move || block_on(peer.progress(Progress { progress: 1.0, total: None, message: None })).unwrap())
        };
        peer.silence();
        let next = (!peer.is_committed()).then(|| peer.next_attempt());
        handler.join().unwrap();
        assert_eq!(heard.load(Ordering::Relaxed), usize::from(next.is_none()));
        assert_eq!(peer.is_committed(), next.is_none());
    });
}

/// The call's timer sleeps while a person is asked, and is woken by the last answer.
#[test]
fn no_answer_of_a_person_goes_by_unheard() {
    model(3, || {
        let peer = Peer::unheard();
        let answers = [peer.ask(), peer.ask()].map(|asking| thread::spawn(move || drop(asking)));
        block_on(poll_fn(|cx| if peer.is_asking(cx.waker()) { Poll::Pending } else { Poll::Ready(()) }));
        answers.into_iter().for_each(|answer| answer.join().unwrap());
    });
}
