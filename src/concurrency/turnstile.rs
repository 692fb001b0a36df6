//! How many slots are held, how many there are, and whether anybody waits: one number, so that no change falls between two.

use crate::sync::atomic::{AtomicU64, Ordering};

const BITS: u32 = 31;
/// Nobody passes by: whoever gives a slot back comes to the desk, and whoever wants one does too.
const WAITING: u64 = 1 << 62;
/// No new calls.
const CLOSED: u64 = 1 << 63;

/// The highest limit that can be counted.
pub(super) const MOST: u32 = (1 << BITS) - 1;

/// Why somebody could not pass by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Barred {
    /// All slots are held, or somebody waits for one.
    Busy,
    /// There are no new calls.
    Closed,
}

/// What a turnstile shows at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    pub(super) in_flight: u32,
    pub(super) limit: u32,
    pub(super) waiting: bool,
    pub(super) closed: bool,
}

/// The slots of one target, counted. The lowest 31 bits are those held, the next 31 the limit, the last two the flags.
#[derive(Debug)]
pub(super) struct Turnstile(AtomicU64);

impl View {
    fn of(word: u64) -> Self {
        let count = |word: u64| u32::try_from(word & u64::from(MOST)).unwrap_or(MOST);
        Self { in_flight: count(word), limit: count(word >> BITS), waiting: word & WAITING != 0, closed: word & CLOSED != 0 }
    }

    const fn has_room(self) -> bool {
        self.in_flight < self.limit
    }
}

impl Turnstile {
    pub(super) fn new(limit: u32) -> Self {
        Self(AtomicU64::new(u64::from(limit.min(MOST)) << BITS))
    }

    pub(super) fn view(&self) -> View {
        View::of(self.0.load(Ordering::Acquire))
    }

    /// Takes a slot without a lock, if one is free and nobody waits. Says how many are then held.
    pub(super) fn enter(&self) -> Result<u32, Barred> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let view = View::of(word);
            if view.closed {
                return Err(Barred::Closed);
            }
            if view.waiting || !view.has_room() {
                return Err(Barred::Busy);
            }
            match self.0.compare_exchange_weak(word, word + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(view.in_flight + 1),
                Err(now) => word = now,
            }
        }
    }

    /// At the desk: takes a slot as [`enter`](Self::enter) does, or else says that somebody waits from now on. Both in one step:
    /// a slot that comes back before it is taken here, and one that comes back after it is brought to the desk. It may have been
    /// closed since its caller could not pass by.
    pub(super) fn enter_or_wait(&self) -> Option<u32> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let view = View::of(word);
            let enters = !view.closed && !view.waiting && view.has_room();
            let next = if enters { word + 1 } else { word | WAITING };
            match self.0.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return enters.then_some(view.in_flight + 1),
                Err(now) => word = now,
            }
        }
    }

    /// Takes a slot whether or not one is free. Says how many are then held.
    pub(super) fn enter_anyway(&self) -> u32 {
        View::of(self.0.fetch_add(1, Ordering::AcqRel)).in_flight + 1
    }

    /// Gives a slot back. `true`: the desk has to hear of it.
    pub(super) fn leave(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) & (WAITING | CLOSED) != 0
    }

    /// At the desk: whether who waits may have a slot.
    pub(super) fn has_room(&self) -> bool {
        self.view().has_room()
    }

    /// From now on everybody comes to the desk, as if somebody waited.
    pub(super) fn nobody_passes_by(&self) {
        self.0.fetch_or(WAITING, Ordering::AcqRel);
    }

    /// At the desk: nobody waits any more.
    pub(super) fn nobody_waits(&self) {
        self.0.fetch_and(!WAITING, Ordering::AcqRel);
    }

    /// At the desk: another limit. More may be held than it says: then none is given out until they are back.
    pub(super) fn set_limit(&self, limit: u32) {
        let limit = u64::from(limit.min(MOST)) << BITS;
        let mut word = self.0.load(Ordering::Relaxed);
        while let Err(now) =
            self.0.compare_exchange_weak(word, word & !(u64::from(MOST) << BITS) | limit, Ordering::AcqRel, Ordering::Relaxed)
        {
            word = now;
        }
    }

    /// At the desk: lets no new calls in, or lets them in again.
    pub(super) fn close(&self, closed: bool) {
        if closed {
            self.0.fetch_or(CLOSED, Ordering::AcqRel);
        } else {
            self.0.fetch_and(!CLOSED, Ordering::AcqRel);
        }
    }
}
