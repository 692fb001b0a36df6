//! The slots of a target, and what is known of its latency. The desk here is as small as can be; the turnstile is the real one.

use std::{collections::VecDeque, time::Duration};

use loom::{
    sync::{
        Arc, Mutex, Notify,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::{check, model};

#[path = "../../src/concurrency/latency.rs"]
mod latency;
#[path = "../../src/concurrency/turnstile.rs"]
mod turnstile;

use latency::Latency;
use turnstile::{Barred, Turnstile};

/// What a call finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Slot,
    Place,
    Refused,
}

/// Slots, and who waits for one.
struct Slots {
    turnstile: Turnstile,
    desk: Mutex<Desk>,
    idle: Notify,
    /// Whether somebody has been told that all have left.
    drained: AtomicBool,
}

#[derive(Default)]
struct Desk {
    waiting: VecDeque<usize>,
    served: Vec<usize>,
}

impl Slots {
    fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self {
            turnstile: Turnstile::new(limit),
            desk: Mutex::default(),
            idle: Notify::new(),
            drained: AtomicBool::new(false),
        })
    }

    fn enter(&self, who: usize) -> Found {
        let found = match self.turnstile.enter() {
            Ok(_) => Found::Slot,
            Err(Barred::Closed) => Found::Refused,
            Err(Barred::Busy) => self.enter_at_desk(who),
        };
        assert!(found == Found::Refused || !self.drained.load(Ordering::Relaxed), "{found:?} after all have left");
        found
    }

    fn enter_at_desk(&self, who: usize) -> Found {
        let mut desk = self.desk.lock().unwrap();
        if self.turnstile.enter_or_wait().is_some() {
            return Found::Slot;
        }
        if self.turnstile.view().closed {
            self.settle_down(&desk);
            return Found::Refused;
        }
        desk.waiting.push_back(who);
        Found::Place
    }

    /// A call that has no time to wait.
    fn comes_and_goes(&self, who: usize) {
        match self.enter(who) {
            Found::Slot => self.leave(),
            Found::Place => self.gives_up(who),
            Found::Refused => {}
        }
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
        self.settle_down(&desk);
    }

    fn settle_down(&self, desk: &Desk) {
        if desk.waiting.is_empty() {
            self.turnstile.nobody_waits();
        }
        if self.is_idle(desk) {
            self.idle.notify();
        }
    }

    fn is_idle(&self, desk: &Desk) -> bool {
        desk.waiting.is_empty() && self.turnstile.view().in_flight == 0
    }

    /// Whoever waits has had enough. Its slot may be on its way.
    fn gives_up(&self, who: usize) {
        let mut desk = self.desk.lock().unwrap();
        let places = desk.waiting.len() + desk.served.len();
        desk.waiting.retain(|waiting| *waiting != who);
        let served = desk.served.iter().position(|served| *served == who).map(|served| desk.served.remove(served));
        assert_eq!(places, desk.waiting.len() + desk.served.len() + 1, "it is nowhere");
        self.settle_down(&desk);
        drop(desk);
        if served.is_some() {
            self.leave();
        }
    }

    fn close(&self) {
        let _settled = self.desk.lock().unwrap();
        self.turnstile.close(true);
    }

    /// Once no slot is held and nobody waits.
    fn drain(&self) {
        self.close();
        while !self.is_idle(&self.desk.lock().unwrap()) {
            self.idle.wait();
        }
        self.drained.store(true, Ordering::Relaxed);
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
    }
}

#[test]
fn nobody_waits_for_a_slot_that_is_free() {
    model(2, || {
        let slots = Slots::new(1);
        let threads: Vec<_> = (0..2)
            .map(|who| {
                let slots = slots.clone();
                thread::spawn(move || {
                    if slots.enter(who) == Found::Slot {
                        slots.leave();
                    }
                })
            })
            .collect();
        if slots.enter(2) == Found::Slot {
            slots.leave();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        slots.settle();
    });
}

#[test]
fn never_more_than_the_limit_pass_by() {
    check(|| {
        let slots = Slots::new(1);
        let inside = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (slots, inside) = (slots.clone(), inside.clone());
                thread::spawn(move || {
                    if slots.turnstile.enter().is_ok() {
                        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                        inside.fetch_sub(1, Ordering::Relaxed);
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
    model(3, || {
        let slots = Slots::new(1);
        assert_eq!(slots.enter(0), Found::Slot);
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
                if slots.enter(1) == Found::Slot {
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

#[test]
fn a_slot_comes_back_once_whenever_who_waits_for_it_gives_up() {
    model(3, || {
        let slots = Slots::new(1);
        assert_eq!(slots.enter(0), Found::Slot);
        let threads: Vec<_> = (1..3)
            .map(|who| {
                let slots = slots.clone();
                thread::spawn(move || slots.comes_and_goes(who))
            })
            .collect();
        slots.leave();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        slots.settle();
        assert_eq!(slots.turnstile.enter(), Ok(1));
    });
}

/// Neither by the turnstile nor by the desk, where somebody may be on the way who was too late for the one and is too early for
/// the other.
#[test]
fn nobody_enters_once_all_have_left() {
    model(3, || {
        let slots = Slots::new(1);
        assert_eq!(slots.enter(0), Found::Slot);
        let leaves = {
            let slots = slots.clone();
            thread::spawn(move || slots.leave())
        };
        let comes = {
            let slots = slots.clone();
            thread::spawn(move || slots.comes_and_goes(1))
        };
        slots.drain();
        leaves.join().unwrap();
        comes.join().unwrap();
    });
}

/// Of two samples at the same moment one may go unheard, but none is made up: an estimate made of nothing would take hundreds of
/// calls to come back from.
#[test]
fn an_estimate_is_of_samples_that_there_were() {
    const MS: Duration = Duration::from_millis(1);
    check(|| {
        let latency = Arc::new(Latency::default());
        let records = |took| {
            let latency = latency.clone();
            thread::spawn(move || latency.record(took))
        };
        let plausible = || latency.typical().is_none_or(|it| it.p50 > 10 * MS && it.p90 < 1000 * MS);
        let threads = [records(100 * MS), records(200 * MS)];
        assert!(plausible());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(latency.typical().is_some() && plausible(), "{:?}", latency.typical());
    });
}
