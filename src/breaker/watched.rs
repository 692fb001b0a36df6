//! A machine behind a lock, and one word beside the lock that spares most calls both.

use crate::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// What a call has to know of a machine that has nothing to do.
pub(super) trait Watch {
    /// Grows with every change of what calls are admitted.
    fn generation(&self) -> u64;

    /// Whether there is nothing to decide or to count.
    fn is_quiet(&self) -> bool;
}

/// A machine behind a lock, and a word beside it.
///
/// The word is written under the lock only, so it says what the machine was at some moment, and who has worked on the machine
/// finds it no older than that: the probe, say, is never told that there was nothing to settle. Nothing else is read on the
/// word's word, so no order is asked of it.
#[derive(Debug)]
pub(super) struct Watched<M> {
    /// The generation, and in the last bit whether there is something to decide or to count.
    word: AtomicU64,
    machine: Mutex<M>,
}

const BUSY: u64 = 1;

impl<M: Watch> Watched<M> {
    pub(super) fn new(machine: M) -> Self {
        Self { word: AtomicU64::new(word_of(&machine)), machine: Mutex::new(machine) }
    }

    /// The generation, if there is nothing to decide or to count.
    pub(super) fn quiet(&self) -> Option<u64> {
        let word = self.word.load(Ordering::Relaxed);
        (word & BUSY == 0).then_some(word >> 1)
    }

    /// Works on the machine, and writes down what calls may know without it.
    pub(super) fn change<T>(&self, work: impl FnOnce(&mut M) -> T) -> T {
        let mut machine = self.lock();
        let result = work(&mut machine);
        self.word.store(word_of(&*machine), Ordering::Relaxed);
        result
    }

    /// To look at it.
    pub(super) fn lock(&self) -> MutexGuard<'_, M> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn word_of(machine: &impl Watch) -> u64 {
    let busy = if machine.is_quiet() { 0 } else { BUSY };
    machine.generation() << 1 | busy
}
