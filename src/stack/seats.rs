//! Copies of a service, one at hand for each thread that calls.

use std::sync::{
    Mutex, MutexGuard, TryLockError,
    atomic::{AtomicUsize, Ordering},
};

/// How many threads have a copy each; further ones share theirs.
const SEATS: usize = 32;

/// A service that is called through `&self`.
///
/// A clone of a stack counts each layer's `Arc` up, and its drop counts it down: where every call makes one, its threads meet at
/// all of those. So each thread has a seat, with a copy that stays there. It is asked for readiness by the layer that cuts it,
/// and no layer below that keeps what it has reserved for a call that it refuses: what sits there holds nothing that others might
/// need.
pub(super) struct Seats<S> {
    pristine: S,
    seats: Box<[Seat<S>]>,
}

/// Aligned, so that two threads share no line of a cache.
#[repr(align(128))]
struct Seat<S>(Mutex<Option<Box<S>>>);

impl<S: Clone> Seats<S> {
    pub(super) fn new(pristine: S) -> Self {
        Self { pristine, seats: (0..SEATS).map(|_| Seat(Mutex::new(None))).collect() }
    }

    /// Calls the copy of this thread, or one more: of a thread that calls from within a call, or whose seat another has.
    #[inline]
    pub(super) fn call<T>(&self, call: impl FnOnce(&mut S) -> T) -> T {
        let (mut seat, mut further) = (self.seat(), None);
        let copy = seat.as_deref_mut().unwrap_or(&mut further);
        call(copy.get_or_insert_with(|| Box::new(self.pristine.clone())))
    }

    fn seat(&self) -> Option<MutexGuard<'_, Option<Box<S>>>> {
        let Seat(seat) = &self.seats[place()];
        match seat.try_lock() {
            Ok(copy) => Some(copy),
            Err(TryLockError::WouldBlock) => None,
            // A panic has passed through the copy: another takes its place.
            Err(TryLockError::Poisoned(poisoned)) => {
                seat.clear_poison();
                let mut copy = poisoned.into_inner();
                *copy = None;
                Some(copy)
            }
        }
    }
}

/// Where this thread sits.
fn place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static PLACE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SEATS);
    // A thread that is about to end may have no place any more.
    PLACE.try_with(|place| *place).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::Arc,
        thread,
    };

    use super::*;

    /// Counts its copies.
    fn counted() -> (Arc<()>, Seats<Arc<()>>) {
        let one = Arc::new(());
        (one.clone(), Seats::new(one))
    }

    #[test]
    fn a_thread_has_one_copy_for_all_its_calls() {
        let (one, seats) = counted();
        (0..3).for_each(|_| seats.call(|_| ()));
        assert_eq!(Arc::strong_count(&one), 3, "ours, the pristine one, and the copy");
        thread::scope(|scope| scope.spawn(|| seats.call(|_| ())).join()).unwrap();
        assert_eq!(Arc::strong_count(&one), 4);
    }

    #[test]
    fn a_call_within_a_call_has_a_copy_that_goes_with_it() {
        let (one, seats) = counted();
        seats.call(|_| seats.call(|_| assert_eq!(Arc::strong_count(&one), 4)));
        assert_eq!(Arc::strong_count(&one), 3);
    }

    #[test]
    fn no_call_meets_the_copy_that_another_panicked_in() {
        let seats = Seats::new(0);
        let broken = catch_unwind(AssertUnwindSafe(|| {
            seats.call(|copy| {
                *copy = 1;
                panic!("as a service may")
            })
        }));
        assert!(broken.is_err());
        assert_eq!(seats.call(|copy| std::mem::replace(copy, 2)), 0);
        assert_eq!(seats.call(|copy| *copy), 2, "and the new one stays");
    }
}
