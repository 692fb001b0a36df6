//! What the names of one upstream may cost whoever reads the metrics.

use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many bytes of a scrape the series of one upstream's names may take unless told otherwise.
const DEFAULT_BUDGET: usize = 750 << 10;

/// What a name may cost for all to have theirs in full: with the default, 32 names. The series of a name take less than half of it as
/// long as nothing goes wrong.
const NAME: usize = 24_000;

/// The budget of one upstream, and what has been spent of it. A series that there is stays, so nothing is ever given back.
pub(crate) struct Ledger {
    budget: AtomicUsize,
    names: AtomicUsize,
    /// With keys of its own: who may choose names must not be able to choose two that count as one.
    hasher: RandomState,
    spent: Mutex<Spent>,
}

#[derive(Default)]
struct Spent {
    bytes: usize,
    /// Several layers, or stacks, may make the same series: it costs once. By hash, as the series themselves are long.
    series: HashSet<u64>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            budget: AtomicUsize::new(DEFAULT_BUDGET),
            names: AtomicUsize::new(0),
            hasher: RandomState::new(),
            spent: Mutex::default(),
        }
    }

    pub(crate) fn allow(&self, bytes: usize) {
        self.budget.store(bytes, Ordering::Relaxed);
    }

    /// There are so many names by now.
    pub(crate) fn has_names(&self, names: usize) {
        self.names.store(names, Ordering::Relaxed);
    }

    /// Whether there is room for all that can be told of each name, and not only for what matters most.
    pub(crate) fn is_roomy(&self) -> bool {
        self.names.load(Ordering::Relaxed).saturating_mul(NAME) <= self.budget.load(Ordering::Relaxed)
    }

    /// Whether this series may be made, which takes so many bytes in every scrape.
    pub(crate) fn affords(&self, series: &impl Hash, bytes: usize) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let series = self.hasher.hash_one(series);
        if spent.series.contains(&series) {
            return true;
        }
        let after = spent.bytes.saturating_add(bytes);
        let affords = after <= self.budget.load(Ordering::Relaxed);
        if affords {
            spent.bytes = after;
            spent.series.insert(series);
        }
        affords
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner).bytes;
        f.debug_struct("Ledger").field("budget", &self.budget).field("spent", &spent).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_costs_once_and_what_is_too_much_costs_nothing() {
        let ledger = Ledger::new();
        ledger.allow(100);
        assert!(ledger.affords(&"a", 60));
        assert!(ledger.affords(&"a", 60), "it is there");
        assert!(!ledger.affords(&"b", 41));
        assert!(ledger.affords(&"c", 40), "what was refused was not spent");
        assert!(!ledger.affords(&"d", 1) && ledger.affords(&"a", 60));
    }

    #[test]
    fn there_is_room_for_all_of_few_names() {
        let ledger = Ledger::new();
        ledger.has_names(32);
        assert!(ledger.is_roomy());
        ledger.has_names(33);
        assert!(!ledger.is_roomy());
        ledger.allow(33 * NAME);
        assert!(ledger.is_roomy());
    }
}
