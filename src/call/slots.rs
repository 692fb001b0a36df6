//! A place for each layer's own state on each target.

use std::{
    any::Any,
    fmt,
    marker::PhantomData,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::sync::OnceLock;

/// How many layers find their cell without a pointer hop. The layers of one stack are fewer, and their claims follow one another,
/// so that each finds its cell at the first look.
pub(super) const CHUNK: usize = 16;

/// A layer's claim on one cell of type `T` in every [`Target`](super::Target).
///
/// A layer makes its claim once, when it is built, and hands a copy to everything that it layers: so layering twice finds the
/// same cells, and two layers of the same kind find different ones.
pub struct Slot<T> {
    key: usize,
    _cell: PhantomData<fn() -> T>,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slot<T> {}

impl<T> Slot<T> {
    /// A claim that nobody else has.
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self { key: NEXT.fetch_add(1, Ordering::Relaxed), _cell: PhantomData }
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.key).finish()
    }
}

struct Entry {
    key: usize,
    cell: Box<dyn Any + Send + Sync>,
}

/// The cells of one target, each in the first place that was free from the one on that its claim's number points to.
///
/// Cells are only ever added, so a reader needs no lock: a free place on its way says that there is no such cell.
#[derive(Default)]
pub(super) struct Slots {
    entries: [OnceLock<Entry>; CHUNK],
    rest: OnceLock<Box<Self>>,
}

impl Slots {
    pub(super) fn get_or_init<T: Send + Sync + 'static>(&self, slot: &Slot<T>, init: impl FnOnce() -> T) -> &T {
        match self.get(slot) {
            Some(cell) => cell,
            None => self.add(slot, init),
        }
    }

    #[cold]
    fn add<T: Send + Sync + 'static>(&self, slot: &Slot<T>, init: impl FnOnce() -> T) -> &T {
        // Made before a place is taken, so that `init` may look for cells itself.
        let mut made = Some(Entry { key: slot.key, cell: Box::new(init()) });
        let mut slots = self;
        loop {
            for place in slots.places(slot) {
                if let Some(entry) = made.take() {
                    made = place.set(entry).err();
                }
                if let Some(cell) = place.get().and_then(|entry| entry.of(slot)) {
                    return cell;
                }
            }
            slots = slots.rest.get_or_init(Box::default);
        }
    }

    pub(super) fn get<T: 'static>(&self, slot: &Slot<T>) -> Option<&T> {
        let mut slots = self;
        loop {
            for place in slots.places(slot) {
                if let Some(cell) = place.get()?.of(slot) {
                    return Some(cell);
                }
            }
            slots = slots.rest.get()?;
        }
    }

    /// The places in the order in which this claim looks at them.
    fn places<T>(&self, slot: &Slot<T>) -> impl Iterator<Item = &OnceLock<Entry>> {
        let first = slot.key;
        (0..CHUNK).map(move |n| &self.entries[first.wrapping_add(n) % CHUNK])
    }
}

impl Entry {
    /// The cell, if it is the one that `slot` claims.
    fn of<T: 'static>(&self, slot: &Slot<T>) -> Option<&T> {
        if self.key == slot.key { self.cell.downcast_ref() } else { None }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.entries.iter().filter(|entry| entry.get().is_some()).count();
        f.debug_struct("Slots").field("taken", &taken).finish_non_exhaustive()
    }
}
