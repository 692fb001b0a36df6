//! The operator's word on one target, and how calls ask it while it changes.

use std::{
    borrow::Cow,
    fmt,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use serde_json::Value;

use super::{AtomicDuration, Criticality, Word, hint};

/// The operator's word on one target: it overrides what the tool says about itself. It may change
/// [while calls run](crate::catalogue::Catalogue::set_tool).
///
/// ```
/// use buttress::call::{Failure, TargetPolicy, Word};
///
/// let throttled = |failure: &Failure<'_>| {
///     let told = failure.code == Some(1001) || failure.text.contains("rate limit");
///     told.then_some(Word::Throttled { retry_after: None })
/// };
/// let search = TargetPolicy::default().idempotent(true).judge_errors(throttled);
/// assert_eq!(search.idempotent, Some(true));
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct TargetPolicy {
    /// Whether a call that is made again has no further effect, so that one whose outcome is unknown may be repeated. `None`: ask
    /// the method, what is said of reading, and the annotations if trusted. The answers of such a tool are not shared or kept for
    /// that: it may be a write that sets again what it has set.
    pub idempotent: Option<bool>,
    /// Whether the tool does not change anything, so that calls which ask the same may share one answer. `None`: ask the
    /// annotations if trusted.
    pub read_only: Option<bool>,
    /// Whether the backend honours idempotency keys, so that a call which carries one is safe to repeat.
    pub honours_idempotency_key: bool,
    /// What one call weighs in quotas. `None`: 1.
    pub cost: Option<NonZeroU32>,
    /// How many attempts may run at once. `None`: as many as the concurrency layer says; 1 makes the tool serial.
    pub concurrency: Option<NonZeroU32>,
    /// How much its calls matter. `None`: as much as their callers.
    pub criticality: Option<Criticality>,
    /// How long a tool's results may be served again, where the specification has nothing to say of it. `None`: not at all.
    /// Counts only for tools that only read, and only where there is a cache (feature `cache`).
    pub cache_for: Option<Duration>,
    /// What the tool's own answer that it failed means: a result with `isError: true`, or a JSON-RPC error, whatever its code.
    /// `None`: what the classifier says of any tool's.
    pub judge_errors: Option<Arc<dyn JudgeErrors>>,
}

/// A tool's own answer that it failed: a result with `isError: true`, or a JSON-RPC error.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure<'a> {
    /// The code of a JSON-RPC error. `None`: it is a result.
    pub code: Option<i64>,
    /// The text of the result's content, or the error's message.
    pub text: Cow<'a, str>,
    /// The result's `structuredContent`, or the error's `data`.
    pub structured: Option<Cow<'a, Value>>,
}

/// Reads a tool's answer that it failed, and says what became of the call if the answer tells. A plain function will do.
pub trait JudgeErrors: Send + Sync {
    /// What the answer means. `None`: what any other like it means.
    fn judge(&self, failure: &Failure<'_>) -> Option<Word>;
}

impl<F> JudgeErrors for F
where
    F: Fn(&Failure<'_>) -> Option<Word> + Send + Sync,
{
    fn judge(&self, failure: &Failure<'_>) -> Option<Word> {
        self(failure)
    }
}

impl TargetPolicy {
    /// Says whether a call that is made again has no further effect.
    #[must_use]
    pub const fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = Some(idempotent);
        self
    }

    /// Says whether the tool does not change anything.
    #[must_use]
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = Some(read_only);
        self
    }

    /// Says that the backend honours idempotency keys.
    #[must_use]
    pub const fn honours_idempotency_key(mut self) -> Self {
        self.honours_idempotency_key = true;
        self
    }

    /// Says what one call weighs in quotas.
    #[must_use]
    pub const fn cost(mut self, cost: NonZeroU32) -> Self {
        self.cost = Some(cost);
        self
    }

    /// Says how many attempts may run at once.
    #[must_use]
    pub const fn concurrency(mut self, limit: NonZeroU32) -> Self {
        self.concurrency = Some(limit);
        self
    }

    /// Says that attempts run one after the other.
    #[must_use]
    pub const fn serial(self) -> Self {
        self.concurrency(NonZeroU32::MIN)
    }

    /// Says how much its calls matter.
    #[must_use]
    pub const fn criticality(mut self, criticality: Criticality) -> Self {
        self.criticality = Some(criticality);
        self
    }

    /// Says how long a result may be served again.
    #[must_use]
    pub const fn cache_for(mut self, fresh: Duration) -> Self {
        self.cache_for = Some(fresh);
        self
    }

    /// Says what the tool's own answer that it failed means.
    #[must_use]
    pub fn judge_errors(mut self, judge: impl JudgeErrors + 'static) -> Self {
        self.judge_errors = Some(Arc::new(judge));
        self
    }
}

impl fmt::Debug for TargetPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { idempotent, read_only, honours_idempotency_key, cost, concurrency, criticality, cache_for, judge_errors } =
            self;
        f.debug_struct("TargetPolicy")
            .field("idempotent", idempotent)
            .field("read_only", read_only)
            .field("honours_idempotency_key", honours_idempotency_key)
            .field("cost", cost)
            .field("concurrency", concurrency)
            .field("criticality", criticality)
            .field("cache_for", cache_for)
            .field("judge_errors", &judge_errors.is_some())
            .finish()
    }
}

/// The word in force on one target. It changes while calls ask it, and nobody waits for it: what every call asks is in one
/// number, and changes as one.
#[derive(Debug)]
pub(super) struct InForce {
    /// All of it. `None`: nothing has been said.
    said: ArcSwapOption<TargetPolicy>,
    gist: AtomicU64,
    cache_for: AtomicDuration,
}

impl Default for InForce {
    fn default() -> Self {
        Self { said: ArcSwapOption::empty(), gist: AtomicU64::new(0), cache_for: AtomicDuration::new(None) }
    }
}

impl InForce {
    /// Puts another in its place. Whoever does it has taken turns with others who do.
    pub(super) fn set(&self, policy: TargetPolicy) {
        // What is too long to be counted is as long as can be.
        self.cache_for.set(policy.cache_for.map(|fresh| fresh.min(AtomicDuration::LONGEST)));
        let gist = Gist::of(&policy);
        self.said.store(Some(Arc::new(policy)));
        self.gist.store(gist.0, Ordering::Relaxed);
    }

    pub(super) fn all(&self) -> TargetPolicy {
        self.said.load().as_deref().cloned().unwrap_or_default()
    }

    #[inline]
    pub(super) fn gist(&self) -> Gist {
        Gist(self.gist.load(Ordering::Relaxed))
    }

    #[cfg(any(test, feature = "cache"))]
    pub(super) fn cache_for(&self) -> Option<Duration> {
        self.cache_for.get()
    }
}

/// What every call asks of a word, from the lowest bit on: two for each hint, one for each plain yes, three for the class; and in
/// the upper half what a call weighs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gist(u64);

impl Gist {
    const READ_ONLY: u32 = 2;
    const KEYS: u32 = 4;
    const JUDGED: u32 = 5;
    const CLASS: u32 = 8;
    const COST: u32 = 32;

    fn of(policy: &TargetPolicy) -> Self {
        let class = policy.criticality.and_then(|class| Criticality::ALL.iter().position(|known| *known == class));
        let class = class.and_then(|place| u64::try_from(place + 1).ok()).unwrap_or_default();
        Self(
            u64::from(hint::pack(policy.idempotent))
                | u64::from(hint::pack(policy.read_only)) << Self::READ_ONLY
                | u64::from(policy.honours_idempotency_key) << Self::KEYS
                | u64::from(policy.judge_errors.is_some()) << Self::JUDGED
                | class << Self::CLASS
                | u64::from(policy.cost.map_or(0, NonZeroU32::get)) << Self::COST,
        )
    }

    #[inline]
    pub(super) const fn idempotent(self) -> Option<bool> {
        hint::unpack(self.byte(0))
    }

    #[inline]
    pub(super) const fn read_only(self) -> Option<bool> {
        hint::unpack(self.byte(Self::READ_ONLY))
    }

    #[inline]
    pub(super) const fn honours_idempotency_key(self) -> bool {
        self.byte(Self::KEYS) & 1 == 1
    }

    #[inline]
    pub(super) const fn judges_errors(self) -> bool {
        self.byte(Self::JUDGED) & 1 == 1
    }

    #[inline]
    pub(super) fn criticality(self) -> Option<Criticality> {
        Criticality::ALL.get(usize::from(self.byte(Self::CLASS) & 0b111).wrapping_sub(1)).copied()
    }

    #[inline]
    pub(super) fn cost(self) -> NonZeroU32 {
        u32::try_from(self.0 >> Self::COST).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lowest eight bits are what is asked for")]
    const fn byte(self, from: u32) -> u8 {
        (self.0 >> from) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One fact at a time, so that none spills into another.
    #[test]
    fn what_is_said_is_what_is_asked() {
        let said = |policy: TargetPolicy| {
            let word = InForce::default();
            word.set(policy.clone());
            assert_eq!(format!("{:?}", word.all()), format!("{policy:?}"));
            let gist = word.gist();
            (
                (gist.idempotent(), gist.read_only(), gist.honours_idempotency_key(), gist.judges_errors()),
                (gist.criticality(), gist.cost().get(), word.cache_for()),
            )
        };
        let policy = TargetPolicy::default;
        let (nothing, unsaid) = ((None, None, false, false), (None, 1, None));
        assert_eq!(said(policy()), (nothing, unsaid));
        for hint in [true, false] {
            assert_eq!(said(policy().idempotent(hint)), ((Some(hint), None, false, false), unsaid));
            assert_eq!(said(policy().read_only(hint)), ((None, Some(hint), false, false), unsaid));
        }
        assert_eq!(said(policy().honours_idempotency_key()), ((None, None, true, false), unsaid));
        assert_eq!(said(policy().judge_errors(|_: &Failure<'_>| None)), ((None, None, false, true), unsaid));
        for class in Criticality::ALL {
            assert_eq!(said(policy().criticality(class)), (nothing, (Some(class), 1, None)));
        }
        for cost in [NonZeroU32::MIN, NonZeroU32::MAX] {
            assert_eq!(said(policy().cost(cost)), (nothing, (None, cost.get(), None)));
        }
        assert_eq!(said(policy().serial()), (nothing, unsaid));
        let second = Duration::from_secs(1);
        assert_eq!(said(policy().cache_for(second)), (nothing, (None, 1, Some(second))));
        assert!(said(policy().cache_for(Duration::MAX)).1.2 > Some(second), "for ever is not never");
    }

    /// What is asked less often is read where it was said.
    #[test]
    fn what_is_in_no_number_is_said_too() {
        let seven = |failure: &Failure<'_>| (failure.code == Some(7)).then_some(Word::NotSent);
        let policy = TargetPolicy::default().concurrency(NonZeroU32::MAX).judge_errors(seven);
        assert_eq!(policy.concurrency, Some(NonZeroU32::MAX));
        assert_eq!(policy.clone().serial().concurrency, Some(NonZeroU32::MIN));
        let judge = policy.judge_errors.unwrap();
        let judged = |code| judge.judge(&Failure { code: Some(code), text: "".into(), structured: None });
        assert_eq!((judged(7), judged(8)), (Some(Word::NotSent), None));
    }

    #[test]
    fn a_word_is_taken_back() {
        let word = InForce::default();
        word.set(TargetPolicy::default().idempotent(true).cost(NonZeroU32::MAX).cache_for(Duration::MAX));
        word.set(TargetPolicy::default());
        assert_eq!((word.gist().idempotent(), word.gist().cost().get(), word.cache_for()), (None, 1, None));
        assert_eq!(word.all().idempotent, None);
    }
}
