//! What a call is addressed to.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

use super::{
    Criticality, Method, OTHER, Slot, TargetPolicy, hint, is_fit_name, is_fit_template, policy::InForce, slots::Slots,
    upstream::Upstream,
};

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

    /// Two bits a hint.
    const fn pack(self) -> u8 {
        hint::pack(self.read_only) | hint::pack(self.idempotent) << 2
    }

    const fn unpack(bits: u8) -> Self {
        Self { read_only: hint::unpack(bits), idempotent: hint::unpack(bits >> 2) }
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
    word: InForce,
    annotations: AtomicU8,
    slots: Slots,
}

impl Target {
    pub(crate) fn new(upstream: Arc<Upstream>, method: Method, name: Option<Arc<str>>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            upstream,
            method,
            name,
            word: InForce::default(),
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

    /// The name as a metric label: empty where the method has no names, and for resources that no template covers; `_OTHER` where
    /// it has and this one is not known, or is not fit for a label (other than up to 128 of `A-Z a-z 0-9 _ . / -`, and of a URI's
    /// own characters and braces for a template: what a hostile server may list).
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

    /// The operator's word on it, as it stands: a [catalogue](crate::catalogue::Catalogue::set_tool) changes it while calls run.
    pub fn policy(&self) -> TargetPolicy {
        self.word.all()
    }

    /// Changes the operator's word. Whoever does it takes turns with others who do, and tells the upstream's followers.
    pub(crate) fn set_policy(&self, policy: TargetPolicy) {
        self.word.set(policy);
    }

    /// What one call weighs in quotas, by the operator's word.
    #[inline]
    pub(crate) fn cost(&self) -> NonZeroU32 {
        self.word.gist().cost()
    }

    /// How much its calls matter, by the operator's word.
    #[inline]
    pub(crate) fn criticality(&self) -> Option<Criticality> {
        self.word.gist().criticality()
    }

    /// Whether the backend honours idempotency keys, by the operator's word.
    #[inline]
    pub(crate) fn honours_idempotency_key(&self) -> bool {
        self.word.gist().honours_idempotency_key()
    }

    /// How long a result may be served again, by the operator's word.
    #[cfg(feature = "cache")]
    pub(crate) fn cache_for(&self) -> Option<std::time::Duration> {
        self.word.cache_for()
    }

    /// Whether an answer says more than it looks like: by the operator's word, or as the next hop is believed.
    #[inline]
    pub(crate) fn is_judged(&self) -> bool {
        self.trusts_next_hop() || self.word.gist().judges_errors()
    }

    /// Whether the next hop is one of the operator's own, whose word on what it refused is taken (see
    /// [`Catalogue::trust_next_hop`](crate::catalogue::Catalogue::trust_next_hop)).
    #[inline]
    pub fn trusts_next_hop(&self) -> bool {
        self.upstream.trusts_next_hop()
    }

    /// Whether the target does not change anything: a method that only reads by its definition, else the operator's word, else a
    /// tool that says so where the operator trusts it.
    pub fn is_read_only(&self) -> bool {
        let says_so = || self.upstream.trusts_annotations() && self.annotations().read_only == Some(true);
        self.method.is_read() || self.word.gist().read_only().unwrap_or_else(says_so)
    }

    /// Whether a call whose outcome is unknown may be repeated: the operator's word, else a method that is safe by its
    /// definition, else a target that [only reads](Self::is_read_only), else a tool that says that it is idempotent where the
    /// operator trusts it.
    pub fn is_idempotent(&self) -> bool {
        self.word.gist().idempotent().unwrap_or_else(|| {
            let says_so = || self.upstream.trusts_annotations() && self.annotations().idempotent == Some(true);
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

    /// The same as [`cell`](Self::cell) on the upstream as a whole: one cell for all targets of its catalogue. Two catalogues are
    /// two upstreams, also where they bear one name.
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
            .field("policy", &self.policy())
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
        let upstream = Upstream::new("up");
        if annotations {
            upstream.trust_annotations();
        }
        let target = Target::new(upstream, Method::ToolsCall, Some("t".into()));
        target.set_policy(policy.clone());
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
        let says = |safe| TargetPolicy::default().idempotent(safe);
        assert!(tool(&unstated, true, reads).is_idempotent());
        assert!(tool(&unstated, true, idempotent).is_idempotent());
        assert!(!tool(&unstated, false, reads).is_idempotent());
        assert!(!tool(&unstated, true, Annotations::default()).is_idempotent());
        assert!(tool(&says(true), false, Annotations::default()).is_idempotent());
        assert!(!tool(&says(false), true, reads).is_idempotent());

        let changes = |read_only| TargetPolicy::default().read_only(read_only);
        assert!(tool(&changes(true), false, Annotations::default()).is_idempotent());
        assert!(tool(&changes(true), true, idempotent).is_read_only());
        assert!(!tool(&changes(false), true, reads).is_read_only());
        assert!(!tool(&changes(false), true, reads).is_idempotent());
        assert!(tool(&changes(false), true, idempotent).is_idempotent());
        assert!(!tool(&says(true), false, reads).is_read_only(), "a write may be safe");
    }

    #[test]
    fn only_a_plain_name_is_a_label() {
        let label = |name: &str| {
            let target = Target::new(Upstream::new("up"), Method::ToolsCall, Some(name.into()));
            target.label().to_owned()
        };
        assert_eq!(label("fs/read-file_v1.2"), "fs/read-file_v1.2");
        for odd in ["", "a\"b", "a\nb", "a b", "\u{202e}x", &"x".repeat(129)] {
            assert_eq!(label(odd), "_OTHER", "{odd:?}");
        }
    }

    #[test]
    fn methods_that_only_read_are_safe_whoever_serves_them() {
        let list = Target::new(Upstream::new("up"), Method::ToolsList, None);
        assert!(list.is_idempotent());
    }
}
