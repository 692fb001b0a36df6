//! What a call is addressed to.

use std::{
    borrow::Cow,
    fmt,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use super::{Criticality, Method, OTHER, Slot, Word, is_fit_name, is_fit_template, slots::Slots, upstream::Upstream};

/// What a tool says about itself (`ToolAnnotations` of the specification). Hints: a server that the operator does not trust
/// may say anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Annotations {
    /// The tool does not change anything.
    pub read_only: Option<bool>,
    /// Calling the tool again with the same arguments has no further effect.
    pub idempotent: Option<bool>,
}

impl Annotations {
    /// Says whether the tool leaves everything as it is.
    #[must_use]
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = Some(read_only);
        self
    }

    /// Says whether calling the tool again with the same arguments has no further effect.
    #[must_use]
    pub const fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = Some(idempotent);
        self
    }

    /// What two lists agree on: a hint is true where both say so, and false where either does.
    pub(crate) const fn agreed(self, other: Self) -> Self {
        const fn both(one: Option<bool>, other: Option<bool>) -> Option<bool> {
            match (one, other) {
                (Some(true), Some(true)) => Some(true),
                (Some(false), _) | (_, Some(false)) => Some(false),
                _ => None,
            }
        }
        Self { read_only: both(self.read_only, other.read_only), idempotent: both(self.idempotent, other.idempotent) }
    }

    /// Two bits a hint: stated, and true.
    const fn pack(self) -> u8 {
        const fn bits(hint: Option<bool>) -> u8 {
            match hint {
                None => 0b00,
                Some(false) => 0b01,
                Some(true) => 0b11,
            }
        }
        bits(self.read_only) | bits(self.idempotent) << 2
    }

    const fn unpack(bits: u8) -> Self {
        const fn hint(bits: u8) -> Option<bool> {
            match bits & 0b11 {
                0b00 => None,
                0b01 => Some(false),
                _ => Some(true),
            }
        }
        Self { read_only: hint(bits), idempotent: hint(bits >> 2) }
    }
}

/// The operator's word on one target: it overrides what the tool says about itself.
///
/// ```
/// use buttress::call::{Failure, TargetPolicy, Word};
///
/// let throttled = |failure: &Failure<'_>| {
///     let told = failure.code == Some(1001) || failure.text.contains("rate limit");
///     told.then_some(Word::Throttled { retry_after: None })
/// };
/// let search = TargetPolicy::default().safe(true).judge_errors(throttled);
/// assert_eq!(search.safe, Some(true));
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct TargetPolicy {
    /// Whether repeating a call whose outcome is unknown is safe. `None`: ask the method, what is said of reading, and the annotations
    /// if trusted. A tool that is safe to repeat is not shared or kept for that: it may be a write that sets again what it has set.
    pub safe: Option<bool>,
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
    /// What the tool's own answer that it failed means: a result with `isError: true`, or a JSON-RPC error, whatever its code. `None`:
    /// what the classifier says of any tool's.
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
    /// Says whether repeating a call whose outcome is unknown is safe.
    #[must_use]
    pub const fn safe(mut self, safe: bool) -> Self {
        self.safe = Some(safe);
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
        let Self { safe, read_only, honours_idempotency_key, cost, concurrency, criticality, cache_for, judge_errors } = self;
        f.debug_struct("TargetPolicy")
            .field("safe", safe)
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

/// What a call is addressed to: one tool, one prompt, the resources of one template, or a method as a whole.
///
/// Every target of an upstream has one entry in its [`Catalogue`](crate::catalogue::Catalogue); a call finds its entry once
/// and carries it in its head. Layers keep their own state on it ([`cell`](Self::cell)), so none of them looks a name up
/// again, and a limit on a tool is the same limit however often the layer was applied.
pub struct Target {
    id: u64,
    upstream: Arc<Upstream>,
    method: Method,
    name: Option<Arc<str>>,
    policy: TargetPolicy,
    trust: Trust,
    annotations: AtomicU8,
    slots: Slots,
}

/// What the operator believes of an upstream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trust {
    /// What its tools say about themselves.
    pub(crate) annotations: bool,
    /// What it says of calls that it refused.
    pub(crate) next_hop: bool,
}

impl Target {
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        method: Method,
        name: Option<Arc<str>>,
        policy: TargetPolicy,
        trust: Trust,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            upstream,
            method,
            name,
            policy,
            trust,
            annotations: AtomicU8::new(0),
            slots: Slots::default(),
        }
    }

    /// A number that no other target of this process has.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// The server behind the stack, by the operator's name for it.
    pub fn upstream(&self) -> &str {
        self.upstream.name()
    }

    /// The same, with what all its targets share.
    pub(crate) const fn server(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The method.
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The tool's or prompt's name, or the resource template. `None` for a method as a whole, and for names that the server never
    /// listed: those share one entry a method.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The name as a metric label: empty where the method has no names, and for resources that no template covers; `_OTHER` where it has
    /// and this one is not known, or is not fit for a label (other than up to 128 of `A-Z a-z 0-9 _ . / -`, and of a URI's own characters
    /// and braces for a template: what a hostile server may list).
    pub fn label(&self) -> &str {
        match (&self.name, &self.method) {
            (Some(template), Method::ResourcesRead) => {
                if is_fit_template(template) {
                    template
                } else {
                    OTHER
                }
            }
            (Some(name), _) if is_fit_name(name) => name,
            (Some(_), _) | (None, Method::ToolsCall | Method::PromptsGet) => OTHER,
            (None, _) => "",
        }
    }

    /// What the tool says about itself, as far as all lists [agree](crate::catalogue::Catalogue).
    pub fn annotations(&self) -> Annotations {
        Annotations::unpack(self.annotations.load(Ordering::Relaxed))
    }

    pub(crate) fn annotate(&self, annotations: Annotations) {
        self.annotations.store(annotations.pack(), Ordering::Relaxed);
    }

    /// The operator's word on it.
    pub const fn policy(&self) -> &TargetPolicy {
        &self.policy
    }

    /// Whether the next hop is one of the operator's own, whose word on what it refused is taken (see
    /// [`Catalogue::trust_next_hop`](crate::catalogue::Catalogue::trust_next_hop)).
    pub const fn trusts_next_hop(&self) -> bool {
        self.trust.next_hop
    }

    /// Whether the target does not change anything: a method that only reads by its definition, else the operator's word, else a tool
    /// that says so where the operator trusts it.
    pub fn is_read_only(&self) -> bool {
        let says_so = || self.trust.annotations && self.annotations().read_only == Some(true);
        self.method.is_read() || self.policy.read_only.unwrap_or_else(says_so)
    }

    /// Whether a call whose outcome is unknown may be repeated: the operator's word, else a method that is safe by its
    /// definition, else a target that [only reads](Self::is_read_only), else a tool that says that it is idempotent where the operator
    /// trusts it.
    pub fn is_safe(&self) -> bool {
        self.policy.safe.unwrap_or_else(|| {
            let says_so = || self.trust.annotations && self.annotations().idempotent == Some(true);
            self.method.is_repeatable() || self.is_read_only() || says_so()
        })
    }

    /// Whether the limiting layers let every call pass: see [`Method::is_lifecycle`].
    #[inline]
    pub const fn is_exempt(&self) -> bool {
        self.method.is_lifecycle()
    }

    /// The cell that belongs to `slot`'s owner, made on first use.
    pub fn cell<T: Send + Sync + 'static>(&self, slot: &Slot<T>, init: impl FnOnce() -> T) -> &T {
        self.slots.get_or_init(slot, init)
    }

    /// The same cell, where it has been made.
    pub fn get_cell<T: 'static>(&self, slot: &Slot<T>) -> Option<&T> {
        self.slots.get(slot)
    }

    /// The same as [`cell`](Self::cell) on the upstream as a whole: one cell for all targets of its catalogue. Two catalogues are two upstreams, also
    /// where they bear one name.
    pub fn upstream_cell<T: Send + Sync + 'static>(&self, slot: &Slot<T>, init: impl FnOnce() -> T) -> &T {
        self.upstream.slots.get_or_init(slot, init)
    }

    /// The same cell, where it has been made.
    pub fn get_upstream_cell<T: 'static>(&self, slot: &Slot<T>) -> Option<&T> {
        self.upstream.slots.get(slot)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("upstream", &self.upstream())
            .field("method", &self.method)
            .field("name", &self.name)
            .field("annotations", &self.annotations())
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// As in an error message: the tool in quotes, else the method.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.name {
            Some(name) => ["\"", name, "\""],
            None if self.method == Method::ToolsCall => ["the tool", "", ""],
            None if matches!(self.method, Method::Custom(_)) => ["the request", "", ""],
            None => [self.method.label(), "", ""],
        };
        what.into_iter().chain([" on \"", self.upstream(), "\""]).try_for_each(|part| f.write_str(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(policy: &TargetPolicy, annotations: bool, said: Annotations) -> Target {
        let trust = Trust { annotations, ..Trust::default() };
        let target = Target::new(Upstream::new("up"), Method::ToolsCall, Some("t".into()), policy.clone(), trust);
        target.annotate(said);
        target
    }

    #[test]
    fn annotations_survive_packing() {
        for read_only in [None, Some(false), Some(true)] {
            for idempotent in [None, Some(false), Some(true)] {
                let annotations = Annotations { read_only, idempotent };
                assert_eq!(Annotations::unpack(annotations.pack()), annotations);
            }
        }
    }

    #[test]
    fn annotations_count_only_where_trusted_and_the_operator_has_the_last_word() {
        let reads = Annotations { read_only: Some(true), idempotent: None };
        let idempotent = Annotations { read_only: Some(false), idempotent: Some(true) };
        let unstated = TargetPolicy::default();
        let says = |safe| TargetPolicy::default().safe(safe);
        assert!(tool(&unstated, true, reads).is_safe());
        assert!(tool(&unstated, true, idempotent).is_safe());
        assert!(!tool(&unstated, false, reads).is_safe());
        assert!(!tool(&unstated, true, Annotations::default()).is_safe());
        assert!(tool(&says(true), false, Annotations::default()).is_safe());
        assert!(!tool(&says(false), true, reads).is_safe());

        let changes = |read_only| TargetPolicy::default().read_only(read_only);
        assert!(tool(&changes(true), false, Annotations::default()).is_safe());
        assert!(tool(&changes(true), true, idempotent).is_read_only());
        assert!(!tool(&changes(false), true, reads).is_read_only());
        assert!(!tool(&changes(false), true, reads).is_safe());
        assert!(tool(&changes(false), true, idempotent).is_safe());
        assert!(!tool(&says(true), false, reads).is_read_only(), "a write may be safe");
    }

    #[test]
    fn only_a_plain_name_is_a_label() {
        let label = |name: &str| {
            let target =
                Target::new(Upstream::new("up"), Method::ToolsCall, Some(name.into()), TargetPolicy::default(), Trust::default());
            target.label().to_owned()
        };
        assert_eq!(label("fs/read-file_v1.2"), "fs/read-file_v1.2");
        for odd in ["", "a\"b", "a\nb", "a b", "\u{202e}x", &"x".repeat(129)] {
            assert_eq!(label(odd), "_OTHER", "{odd:?}");
        }
    }

    #[test]
    fn methods_that_only_read_are_safe_whoever_serves_them() {
        let list = Target::new(Upstream::new("up"), Method::ToolsList, None, TargetPolicy::default(), Trust::default());
        assert!(list.is_safe());
    }
}
