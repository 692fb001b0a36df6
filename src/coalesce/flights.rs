//! The shared calls under way, by what they ask.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use super::{
    Alike,
    flight::{Flight, Waiter},
};
use crate::{
    call::{Deadline, Joint},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// At most so many calls that others may join.
#[derive(Debug)]
pub(super) struct Flights(Mutex<UnderWay>);

struct UnderWay {
    capacity: usize,
    flights: HashMap<Alike, Entry>,
    /// The number of the next.
    next: u64,
}

/// A call, whatever its type: one layer may serve services of several.
struct Entry {
    number: u64,
    flight: Weak<dyn Any + Send + Sync>,
}

/// A call's entry. Dropped with the call, it takes the entry away.
#[derive(Debug)]
pub(super) struct Seat {
    flights: Arc<Flights>,
    of: Alike,
    number: u64,
}

impl Flights {
    pub(super) fn new(capacity: usize) -> Self {
        Self(Mutex::new(UnderWay { capacity, flights: HashMap::new(), next: 0 }))
    }

    /// Joins the call that is under way, or makes one. `None`: there is no room for one more, or the one under way is of
    /// another type.
    pub(super) fn join<W, R>(
        self: &Arc<Self>,
        alike: Alike,
        deadline: Deadline,
        make: impl FnOnce(Seat, Joint) -> W,
    ) -> Option<Waiter<W, R>>
    where
        W: Send + 'static,
        R: Send + Sync + 'static,
    {
        let mut under_way = self.lock();
        let known = under_way.flights.get(&alike).map(|entry| entry.flight.upgrade());
        if let Some(Some(flight)) = known {
            // Unlocked first: if it is the last that is dropped here, its seat takes the lock.
            drop(under_way);
            let flight = flight.downcast::<Flight<W, R>>().ok()?;
            flight.joint().join(deadline);
            return Some(Waiter::new(flight, false));
        }
        if known.is_none() && under_way.flights.len() >= under_way.capacity {
            return None;
        }
        let number = under_way.next;
        under_way.next += 1;
        let (joint, seat) = (Joint::new(deadline), Seat { flights: self.clone(), of: alike.clone(), number });
        let flight = Arc::new(Flight::new(make(seat, joint.clone()), joint));
        // The annotation erases the type.
        let erased: Weak<dyn Any + Send + Sync> = Arc::<Flight<W, R>>::downgrade(&flight);
        under_way.flights.insert(alike, Entry { number, flight: erased });
        Some(Waiter::new(flight, true))
    }

    pub(super) fn capacity(&self) -> usize {
        self.lock().capacity
    }

    pub(super) fn set_capacity(&self, capacity: usize) {
        self.lock().capacity = capacity;
    }

    pub(super) fn len(&self) -> usize {
        self.lock().flights.len()
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut under_way = self.flights.lock();
        // Another may have taken the place of a call that nobody waited for any more.
        if under_way.flights.get(&self.of).is_some_and(|entry| entry.number == self.number) {
            under_way.flights.remove(&self.of);
        }
    }
}

impl fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnderWay").field("flights", &self.flights.len()).finish_non_exhaustive()
    }
}
