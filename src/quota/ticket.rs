//! What an admission wrote, so that it can be taken back.

use super::shard::Key;

/// How many limits one layer may hold: a call is weighed against all of them without allocating.
pub(crate) const MAX_LIMITS: usize = 6;

/// The cells that one call was counted in, with what they held before and after.
///
/// Dropped, the call stays counted. See [`Store::refund`](super::store::Store::refund). It is filled where it will stay: there
/// is room for every limit, so to hand it on is dear.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ticket {
    cells: [Counted; MAX_LIMITS],
    len: u8,
}

/// One cell that a call is, or is to be, counted in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) key: Key,
    /// What the cell held; zero where there was none.
    pub(super) before: u64,
    pub(super) after: u64,
}

impl Ticket {
    pub(super) fn push(&mut self, counted: Counted) {
        if let Some(place) = self.cells.get_mut(usize::from(self.len)) {
            *place = counted;
            self.len += 1;
        }
    }

    pub(super) const fn clear(&mut self) {
        self.len = 0;
    }

    /// The cells, in the order in which they were counted.
    pub(super) fn cells(&self) -> &[Counted] {
        self.cells.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Adds what another ticket of the same call counted later.
    pub(crate) fn join(&mut self, later: &Self) {
        later.cells().iter().for_each(|counted| self.push(*counted));
    }
}
