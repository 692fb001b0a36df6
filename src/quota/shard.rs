//! One shard of the store: its cells, and when it forgets them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::gcra::{Gcra, is_fresh};

/// A full shard is swept at most this often, in nanoseconds: a flood of new keys must not buy a
/// sweep with each.
const FULL_SWEEP_NS: u64 = 1_000_000_000;

/// Cells by key. Empty, it allocates nothing.
#[derive(Default)]
pub(super) struct Shard {
    cells: HashMap<Key, u64, BuildHasherDefault<PassThrough>>,
    /// The latest instant of a sweep, in nanoseconds since the epoch.
    swept_at: u64,
}

impl Shard {
    /// The TAT of a cell, in nanoseconds since the epoch.
    pub(super) fn get(&self, key: Key) -> Option<u64> {
        self.cells.get(&key).copied()
    }

    /// The same, to be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut u64> {
        self.cells.get_mut(&key)
    }

    /// Stores the TAT of a cell, which grows the map only if the cell is new.
    #[inline]
    pub(super) fn set(&mut self, key: Key, tat: u64) {
        // Not `insert`: that makes room before it looks.
        *self.cells.entry(key).or_default() = tat;
    }

    /// Takes a cell out, and gives its TAT.
    pub(super) fn take(&mut self, key: Key) -> Option<u64> {
        self.cells.remove(&key)
    }

    /// Puts a cell back to `before` if it still is at `after`: if nobody was admitted in it since. Zero is a cell that there
    /// was not.
    pub(super) fn restore(&mut self, key: Key, after: u64, before: u64) {
        if self.get(key) != Some(after) {
            return;
        }
        match before {
            0 => self.take(key),
            before => self.cells.insert(key, before),
        };
    }

    /// Cells stored.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// Sweeps if that is worth it, and returns the instant to decide at.
    ///
    /// It is never before the last sweep: to a call that read the clock earlier and came late, a
    /// cell gone since may have meant something.
    pub(super) fn tidy(&mut self, now: u64, capacity: usize) -> u64 {
        let len = self.cells.len();
        let worth_it = if len < capacity {
            // The next new cell would make the map grow.
            len == self.cells.capacity()
        } else {
            now.saturating_sub(self.swept_at) >= FULL_SWEEP_NS
        };
        if worth_it {
            self.sweep(now);
        }
        now.max(self.swept_at)
    }

    /// Removes what is fresh, and leaves a map that is at most eight ninths full: so a sweep is paid for by as many new cells
    /// as a ninth of what it looked at.
    pub(super) fn sweep(&mut self, now: u64) {
        self.swept_at = self.swept_at.max(now);
        let swept_at = self.swept_at;
        let live = self.cells.values().filter(|tat| !is_fresh(**tat, swept_at)).count();
        let room = live + live.div_ceil(8);
        if live == self.cells.len() && room <= self.cells.capacity() {
            return;
        }
        // Another map, and not `retain`: cells that are taken out leave marks, and a map full of marks grows.
        let mut cells = HashMap::with_capacity_and_hasher(room, BuildHasherDefault::default());
        cells.extend(self.cells.drain().filter(|(_, tat)| !is_fresh(*tat, swept_at)));
        self.cells = cells;
    }
}

/// A cell's key, in halves because a `u128` is aligned to 16 bytes: a slot is 24 bytes, not 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    high: u64,
    low: u64,
}

impl Key {
    /// The two halves of `key`.
    pub(super) const fn new(key: u128) -> Self {
        Self { high: (key >> 64) as u64, low: key as u64 }
    }

    /// The cell that a full shard keeps for all other keys of one quota. Like every key, it names its shard.
    pub(super) const fn shared(gcra: Gcra, shard: u16) -> Self {
        // A burst has 32 bits, and is never zero.
        let (emission, burst) = gcra.parameters();
        Self { high: burst << u32::BITS | shard as u64, low: emission }
    }

    /// The same place under another quota: `flip` is never zero.
    pub(super) const fn flipped(self, flip: u64) -> Self {
        Self { high: self.high, low: self.low ^ flip }
    }

    /// Which of `shards` it belongs to; they are a power of two, and at most as many as this tells apart. The other half
    /// picks the place in the shard's map: else each map would use few of its buckets.
    pub(super) const fn shard(self, shards: usize) -> u16 {
        self.high as u16 & (shards - 1) as u16
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low);
    }
}

/// Keys are hashes already.
#[derive(Default)]
struct PassThrough(u64);

impl Hasher for PassThrough {
    fn write(&mut self, bytes: &[u8]) {
        // A key comes by `write_u64`; the trait asks for this one all the same.
        self.0 = bytes.iter().fold(self.0, |hash, &byte| hash.rotate_left(8) ^ u64::from(byte));
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
impl Shard {
    /// Cells that fit before the map grows.
    pub(super) fn capacity(&self) -> usize {
        self.cells.capacity()
    }
}
