//! The answers that are kept, and what is known of each target.

use std::{
    fmt,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use metrics::Gauge;
use moka::sync::Cache;
use tokio::time::Instant;

use super::{
    entry::{Entry, Era, Held, Refresh},
    rules::{Source, Standing},
    terms::{InForce, Terms},
};
use crate::{
    call::{CacheScope, CallParams, CallResult, Identity, Key, Question, Request, Response, Slot, Target},
    metrics::{CACHE_BYTES, CACHE_ENTRIES, CACHE_LOOKUPS, CACHE_STALE_IF_ERROR, Counters, Subject, upstream},
};

/// What all services of one layer share.
pub(super) struct Store {
    answers: Cache<Key, Arc<Entry>>,
    pub(super) terms: InForce,
    pub(super) bytes: NonZeroU64,
    pub(super) single_caller: bool,
    refreshing: Arc<AtomicUsize>,
    /// How often all was forgotten.
    cleared: AtomicU64,
    slot: Slot<Cell>,
}

/// What is known of one target.
#[derive(Debug)]
pub(super) struct Cell {
    /// How often the server has said that its answers have changed.
    changed: AtomicU64,
    lookups: Counters<1, { Lookup::ALL.len() }>,
    stale_if_error: Counters<0, 1>,
    entries: Gauge,
    bytes: Gauge,
}

/// What a lookup found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    Hit,
    Stale,
    Miss,
}

impl Lookup {
    const ALL: [Self; 3] = [Self::Hit, Self::Stale, Self::Miss];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
        }
    }
}

/// A call whose answer may be kept: what it asks, and as whom.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) target: Arc<Target>,
    pub(super) source: Source,
    question: Question,
    identity: Option<Identity>,
    /// When the call is made.
    era: Era,
}

/// An answer that was kept.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) entry: Arc<Entry>,
    key: Key,
    scope: CacheScope,
}

impl Store {
    pub(super) fn new(bytes: NonZeroU64, single_caller: bool, terms: Terms) -> Self {
        let answers = Cache::builder().max_capacity(bytes.get()).weigher(|_: &Key, entry: &Arc<Entry>| entry.weight).build();
        Self {
            answers,
            terms: InForce::new(terms),
            bytes,
            single_caller,
            refreshing: Arc::default(),
            cleared: AtomicU64::new(0),
            slot: Slot::new(),
        }
    }

    pub(super) fn cell<'a>(&self, target: &'a Target) -> &'a Cell {
        target.cell(&self.slot, || {
            let subject = Subject::of(target);
            Cell {
                changed: AtomicU64::new(0),
                lookups: Counters::new(CACHE_LOOKUPS, &subject, Lookup::ALL.map(|lookup| [lookup.as_str()])),
                stale_if_error: Counters::new(CACHE_STALE_IF_ERROR, &subject, [[]]),
                entries: CACHE_ENTRIES.gauge([upstream(target)]),
                bytes: CACHE_BYTES.gauge([upstream(target)]),
            }
        })
    }

    /// The cell of a target that has been met.
    pub(super) fn known<'a>(&self, target: &'a Target) -> Option<&'a Cell> {
        target.get_cell(&self.slot)
    }

    fn era(&self, target: &Target) -> Era {
        let changed = self.cell(target).changed.load(Ordering::Acquire);
        Era { cleared: self.cleared.load(Ordering::Acquire), changed }
    }

    /// What the call asks, if its answer may be kept.
    pub(super) fn ask<P: CallParams>(&self, request: &Request<P>) -> Option<Ask> {
        let target = &request.head.target;
        let source = Source::of(target)?;
        let question = Question::of(request)?;
        let identity = Identity::of(&request.head, self.single_caller);
        Some(Ask { target: target.clone(), source, question, identity, era: self.era(target) })
    }

    /// The latest answer that this caller may have: the one to itself, or the one to everybody.
    pub(super) fn find(&self, ask: &Ask) -> Option<Kept> {
        let at = |scope| {
            let key = ask.question.scoped(scope, ask.identity.clone())?;
            // What was asked for before all was forgotten may have come after.
            let entry = self.answers.get(&key).filter(|entry| entry.era.cleared == self.cleared.load(Ordering::Acquire))?;
            Some(Kept { entry, key, scope })
        };
        match (at(CacheScope::Private), at(CacheScope::Public)) {
            (Some(own), Some(all)) if all.entry.received > own.entry.received => Some(all),
            (own, all) => own.or(all),
        }
    }

    /// How the answer stands now; and for how long it is fresh, from when it came.
    pub(super) fn standing(&self, ask: &Ask, entry: &Entry, now: Instant) -> (Standing, Duration) {
        let (era, fresh_for) = (self.era(&ask.target), ask.source.fresh_for(entry.ttl, self.terms.longest()));
        if entry.era.cleared != era.cleared {
            return (Standing::Dead, fresh_for);
        }
        let age = now.saturating_duration_since(entry.received);
        (Standing::of(age, fresh_for, entry.era == era, || self.terms.get()), fresh_for)
    }

    /// Keeps an answer, if it may be kept and is not older than what is known.
    pub(super) fn keep<R>(&self, ask: &Ask, response: &Response<R>)
    where
        R: CallResult + Send + Sync + 'static,
    {
        let Ok(result) = &response.result else { return };
        let said = result.freshness();
        let Some(scope) = ask.source.kept_for(said, self.terms.get()) else { return };
        let cell = self.cell(&ask.target);
        // Asked for before the server said that something had changed, and nobody knows whether the answer knows of it; or
        // before all was forgotten.
        if self.era(&ask.target) != ask.era {
            return;
        }
        let received = response.completed.unwrap_or_else(Instant::now);
        if scope == CacheScope::Private {
            // What was everybody's is not any more.
            let of_all = ask.question.of_all();
            if self.answers.get(&of_all).is_some_and(|known| known.received <= received) {
                self.answers.invalidate(&of_all);
            }
        }
        let Some(key) = ask.question.scoped(scope, ask.identity.clone()) else { return };
        // So with an answer that many shared: the first of them has kept it.
        let known = self.answers.get(&key);
        if known.is_some_and(|known| known.received >= received && known.era == ask.era) {
            return;
        }
        let weight = u32::try_from(result.weight() + ENTRY).unwrap_or(u32::MAX);
        let held = Held::new(cell.entries.clone(), cell.bytes.clone(), weight);
        self.answers.insert(key, Arc::new(Entry::new(result.clone(), received, said.ttl, ask.era, held)));
    }

    /// The answer is gone, or not for this caller. What one caller may not have, all others may still.
    pub(super) fn forget(&self, kept: &Kept, denied: bool) {
        if !(denied && kept.scope == CacheScope::Public) {
            self.answers.invalidate(&kept.key);
        }
    }

    pub(super) fn refresh(&self, kept: &Kept) -> Option<Refresh> {
        Refresh::of(&kept.entry, &self.refreshing, self.terms.get().refreshes)
    }

    pub(super) fn clear(&self) {
        self.cleared.fetch_add(1, Ordering::AcqRel);
        self.answers.invalidate_all();
    }

    /// Bytes and entries, once all that is left to do is done.
    pub(super) fn size(&self) -> (u64, u64) {
        self.answers.run_pending_tasks();
        (self.answers.weighted_size(), self.answers.entry_count())
    }
}

/// About what an entry takes beside the answer itself: key, table, bookkeeping.
const ENTRY: usize = 256;

impl Cell {
    pub(super) fn count(&self, lookup: Lookup) {
        self.lookups.count(lookup as usize);
    }

    pub(super) fn served_for_an_error(&self) {
        self.stale_if_error.count(0);
    }

    pub(super) fn out_of_date(&self) {
        self.changed.fetch_add(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("terms", &self.terms).finish_non_exhaustive()
    }
}
