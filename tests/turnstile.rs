//! The lock-free part of the concurrency limit under loom: every interleaving of threads that take slots, wait for them and give
//! them back. The desk here is as small as can be; the turnstile is the real one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::VecDeque;

use loom::{
    sync::{Arc, Mutex},
    thread,
};

mod atomic {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
}

#[allow(dead_code, unreachable_pub, reason = "not all of it is needed here")]
#[path = "../src/concurrency/turnstile.rs"]
mod turnstile;

use turnstile::Turnstile;

/// Slots, and who waits for one: each is told by being counted as served.
struct Slots {
    turnstile: Turnstile,
    desk: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    waiting: VecDeque<usize>,
    served: Vec<usize>,
}

impl Slots {
    fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self { turnstile: Turnstile::new(limit), desk: Mutex::default() })
    }

    /// Whether the slot was there at once.
    fn enter(&self, who: usize) -> bool {
        if self.turnstile.enter().is_ok() {
            return true;
        }
        let mut desk = self.desk.lock().unwrap();
        if self.turnstile.enter_or_wait().is_some() {
            return true;
        }
        desk.waiting.push_back(who);
        false
    }

    fn leave(&self) {
        if self.turnstile.leave() {
            self.serve();
        }
    }

    fn serve(&self) {
        let mut desk = self.desk.lock().unwrap();
        while !desk.waiting.is_empty() && self.turnstile.has_room() {
            self.turnstile.enter_anyway();
            let served = desk.waiting.pop_front().unwrap();
            desk.served.push(served);
        }
        if desk.waiting.is_empty() {
            self.turnstile.nobody_waits();
        }
    }

    /// Once all threads are done: whoever was served gives its slot back, until nobody waits. Nobody may be left waiting while
    /// a slot is free.
    fn settle(&self) {
        loop {
            let view = self.turnstile.view();
            let (waiting, served) = {
                let mut desk = self.desk.lock().unwrap();
                (desk.waiting.len(), desk.served.pop())
            };
            assert!(waiting == 0 || view.in_flight >= view.limit, "{waiting} wait for slots that are free: {view:?}");
            match served {
                Some(_) => self.leave(),
                None => break,
            }
        }
        let view = self.turnstile.view();
        assert_eq!((view.in_flight, view.waiting), (0, false));
        assert_eq!(self.turnstile.enter(), Ok(1));
    }
}

#[test]
fn nobody_waits_for_a_slot_that_is_free() {
    // All interleavings of three threads would take minutes; two switches at bad moments find what there is.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let slots = Slots::new(1);
        let threads: Vec<_> = (0..2)
            .map(|who| {
                let slots = slots.clone();
                thread::spawn(move || {
                    if slots.enter(who) {
                        slots.leave();
                    }
                })
            })
            .collect();
        if slots.enter(2) {
            slots.leave();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        slots.settle();
    });
}

#[test]
fn never_more_than_the_limit_pass_by() {
    loom::model(|| {
        let slots = Slots::new(1);
        let inside = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (slots, inside) = (slots.clone(), inside.clone());
                thread::spawn(move || {
                    if slots.turnstile.enter().is_ok() {
                        assert_eq!(inside.fetch_add(1, loom::sync::atomic::Ordering::Relaxed), 0);
                        inside.fetch_sub(1, loom::sync::atomic::Ordering::Relaxed);
                        slots.leave();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(slots.turnstile.view().in_flight, 0);
    });
}

#[test]
fn a_limit_that_grows_and_a_slot_that_comes_back_both_reach_who_waits() {
    loom::model(|| {
        let slots = Slots::new(1);
        assert!(slots.enter(0));
        let grows = {
            let slots = slots.clone();
            thread::spawn(move || {
                slots.turnstile.set_limit(2);
                slots.serve();
            })
        };
        let comes = {
            let slots = slots.clone();
            thread::spawn(move || {
                if slots.enter(1) {
                    slots.leave();
                }
            })
        };
        slots.leave();
        grows.join().unwrap();
        comes.join().unwrap();
        slots.settle();
    });
}
