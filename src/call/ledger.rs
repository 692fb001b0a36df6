//! What the names of one upstream may cost whoever reads the metrics.

use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many bytes of a scrape the series of one upstream's names may take unless told otherwise.
const DEFAULT_BUDGET: usize = 750 << 10;

/// What a name may cost for all to have theirs in full: with the default, 32 names. The series of a name take less than half of
/// it as long as nothing goes wrong.
const NAME: usize = 24_000;

/// The budget of one upstream, and what has been spent of it. A series that there is stays, so nothing is ever given back; but a
/// quarter of it is kept for the tools that the operator names, whoever is called first.
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
    /// Those of names that nobody keeps room for.
    by_others: usize,
    /// The tools that the operator names, in that order.
    named: Vec<Box<str>>,
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

    fn spent(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The operator names this tool.
    pub(crate) fn names_tool(&self, name: &str) {
        let named = &mut self.spent().named;
        if !named.iter().any(|known| **known == *name) {
            named.push(name.into());
        }
    }

    /// For how many tools that the operator names there is room kept, first come first served.
    fn most_kept(&self) -> usize {
        self.budget.load(Ordering::Relaxed) / 4 / NAME
    }

    /// Whether there is room kept for the tool of this name.
    pub(crate) fn keeps_room_for(&self, name: &str) -> bool {
        self.spent().named.iter().take(self.most_kept()).any(|named| **named == *name)
    }

    /// Whether there is room for all that can be told of each name, and not only for what matters most.
    pub(crate) fn is_roomy(&self) -> bool {
        self.names.load(Ordering::Relaxed).saturating_mul(NAME) <= self.budget.load(Ordering::Relaxed)
    }

    /// Whether this series may be made, which takes so many bytes in every scrape: of a target that room is kept for, or of
    /// another.
    pub(crate) fn affords(&self, series: &impl Hash, bytes: usize, kept: bool) -> bool {
        let (budget, most_kept) = (self.budget.load(Ordering::Relaxed), self.most_kept());
        let mut spent = self.spent();
        let series = self.hasher.hash_one(series);
        if spent.series.contains(&series) {
            return true;
        }
        let room_kept = spent.named.len().min(most_kept) * NAME;
        let after = spent.bytes.saturating_add(bytes);
        let by_others = if kept { spent.by_others } else { spent.by_others.saturating_add(bytes) };
        let affords = after <= budget && by_others <= budget - room_kept;
        if affords {
            spent.bytes = after;
            spent.by_others = by_others;
            spent.series.insert(series);
        }
        affords
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spent = self.spent().bytes;
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
        assert!(ledger.affords(&"a", 60, false));
        assert!(ledger.affords(&"a", 60, false), "it is there");
        assert!(!ledger.affords(&"b", 41, false));
        assert!(ledger.affords(&"c", 40, false), "what was refused was not spent");
        assert!(!ledger.affords(&"d", 1, false) && ledger.affords(&"a", 60, false));
    }

    /// However early the others come; and the first of those named are kept their room where it does not do for all.
    #[test]
    fn room_is_kept_for_what_the_operator_names() {
        let ledger = Ledger::new();
        ledger.allow(8 * NAME);
        ["one", "two", "two", "three"].into_iter().for_each(|name| ledger.names_tool(name));
        assert_eq!(["one", "two", "three", "four"].map(|name| ledger.keeps_room_for(name)), [true, true, false, false]);
        assert!(ledger.affords(&"a", 6 * NAME, false));
        assert!(!ledger.affords(&"b", 1, false), "the rest is kept");
        assert!(ledger.affords(&"c", 2 * NAME, true));
        assert!(!ledger.affords(&"d", 1, true), "and no more than there is");
        ledger.allow(12 * NAME);
        assert!(ledger.keeps_room_for("three"), "the order of the settings does not matter");
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
