//! Who is to be woken when a shared call can get on.

use std::{
    sync::Arc,
    task::{Wake, Waker},
};

use crate::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// The waker of a shared call: rung by the call, heard by all who wait.
///
/// All are woken, and not one for all: a waiter whose task has other things to do, or is never polled again, must not hold up
/// the others. It does not hold the call, so that the call may hold it.
#[derive(Debug)]
pub(super) struct Bell {
    /// Whether the call can get on, and nobody has polled it since.
    rung: AtomicBool,
    waiting: Mutex<Waiting>,
}

/// The wakers by place. A place stays its waiter's until it leaves.
#[derive(Debug, Default)]
struct Waiting {
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Bell {
    /// A call that nobody has polled yet can get on.
    pub(super) fn new() -> Self {
        Self { rung: AtomicBool::new(true), waiting: Mutex::new(Waiting { places: Vec::new(), free: Vec::new() }) }
    }

    /// Wakes this waiter next time. Takes a place at the first time.
    pub(super) fn listen(&self, place: &mut Option<usize>, waker: &Waker) {
        let mut waiting = self.lock();
        let Waiting { places, free } = &mut *waiting;
        let place = *place.get_or_insert_with(|| {
            free.pop().unwrap_or_else(|| {
                places.push(None);
                places.len() - 1
            })
        });
        match &mut places[place] {
            Some(known) if known.will_wake(waker) => {}
            known => *known = Some(waker.clone()),
        }
    }

    /// How many places there are, and how many of them are free.
    #[cfg(test)]
    pub(super) fn places(&self) -> (usize, usize) {
        let waiting = self.lock();
        (waiting.places.len(), waiting.free.len())
    }

    pub(super) fn leave(&self, place: usize) {
        let mut waiting = self.lock();
        let waker = waiting.places[place].take();
        if place + 1 == waiting.places.len() {
            waiting.places.pop();
        } else {
            waiting.free.push(place);
        }
        drop(waiting);
        // Outside the lock, as it may drop whatever it likes.
        drop(waker);
    }

    /// Whether the call can get on; from now on not any more.
    pub(super) fn answer(&self) -> bool {
        self.rung.swap(false, Ordering::AcqRel)
    }

    /// Whether the call can get on. For who has just let go of it: no load, which might miss a ring whose hearers find the call
    /// still in hand; but a write, so that who rings after it knows that the call is free, and so do they.
    pub(super) fn is_rung(&self) -> bool {
        self.rung.fetch_or(false, Ordering::AcqRel)
    }

    pub(super) fn wake_all(&self) {
        let mut next = 0;
        loop {
            // One at a time: who is woken may do anything, and a list of all would have to be allocated.
            let mut waiting = self.lock();
            let Some(sleeper) = waiting.places.iter().skip(next).position(Option::is_some) else { return };
            let waker = waiting.places[next + sleeper].take();
            drop(waiting);
            next += sleeper + 1;
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.swap(true, Ordering::AcqRel);
        self.wake_all();
    }
}
