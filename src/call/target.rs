//! What a call is addressed to.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

use super::{Method, Slot, slots::Slots, upstream::Upstream};

/// What a tool says about itself (`ToolAnnotations` of the specification). Hints: a server that the operator does not trust
/// may say anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Annotations {
    /// The tool does not change anything.
    pub read_only: Option<bool>,
    /// Calling the tool again with the same arguments has no further effect.
    pub idempotent: Option<bool>,
}

impl Annotations {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TargetPolicy {
    /// Whether repeating a call whose outcome is unknown is safe. `None`: ask the method, and the annotations if trusted.
    pub safe: Option<bool>,
    /// Whether the backend honours idempotency keys, so that a call which carries one is safe to repeat.
    pub honours_idempotency_key: bool,
}

/// What a call is addressed to: one tool, one prompt, or a method as a whole.
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
    trusted: bool,
    annotations: AtomicU8,
    slots: Slots,
}

impl Target {
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        method: Method,
        name: Option<Arc<str>>,
        policy: TargetPolicy,
        trusted: bool,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            upstream,
            method,
            name,
            policy,
            trusted,
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

    /// The method.
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The tool's or prompt's name. `None` for a method as a whole, and for names that the server never listed: those share
    /// one entry a method.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The name as a metric label: empty where the method has no names; `_OTHER` where it has and this one is not known, or
    /// is not fit for a label (other than up to 64 of `A-Z a-z 0-9 _ . / -`: what a hostile server may list).
    pub fn label(&self) -> &str {
        let fit = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'/' | b'-');
        match (&self.name, &self.method) {
            (Some(name), _) if (1..=64).contains(&name.len()) && name.bytes().all(fit) => name,
            (Some(_), _) | (None, Method::ToolsCall | Method::PromptsGet) => "_OTHER",
            (None, _) => "",
        }
    }

    /// What the tool said about itself when it was last listed.
    pub fn annotations(&self) -> Annotations {
        Annotations::unpack(self.annotations.load(Ordering::Relaxed))
    }

    pub(crate) fn annotate(&self, annotations: Annotations) {
        self.annotations.store(annotations.pack(), Ordering::Relaxed);
    }

    /// The operator's word on it.
    pub const fn policy(&self) -> TargetPolicy {
        self.policy
    }

    /// Whether a call whose outcome is unknown may be repeated: the operator's word, else a method that is safe by its
    /// definition, else the tool's own annotations where the operator trusts them.
    pub fn is_safe(&self) -> bool {
        self.policy.safe.unwrap_or_else(|| {
            let Annotations { read_only, idempotent } = self.annotations();
            self.method.is_repeatable() || (self.trusted && (read_only == Some(true) || idempotent == Some(true)))
        })
    }

    /// Whether the limiting layers let every call pass: see [`Method::is_lifecycle`].
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
        match &self.name {
            Some(name) => write!(f, "\"{name}\" on \"{}\"", self.upstream()),
            None if self.method == Method::ToolsCall => write!(f, "the tool on \"{}\"", self.upstream()),
            None if matches!(self.method, Method::Custom(_)) => write!(f, "the request on \"{}\"", self.upstream()),
            None => write!(f, "{} on \"{}\"", self.method.label(), self.upstream()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(policy: TargetPolicy, trusted: bool, annotations: Annotations) -> Target {
        let target = Target::new(Upstream::new("up"), Method::ToolsCall, Some("t".into()), policy, trusted);
        target.annotate(annotations);
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
        let says = |safe| TargetPolicy { safe: Some(safe), ..TargetPolicy::default() };
        assert!(tool(unstated, true, reads).is_safe());
        assert!(tool(unstated, true, idempotent).is_safe());
        assert!(!tool(unstated, false, reads).is_safe());
        assert!(!tool(unstated, true, Annotations::default()).is_safe());
        assert!(tool(says(true), false, Annotations::default()).is_safe());
        assert!(!tool(says(false), true, reads).is_safe());
    }

    #[test]
    fn only_a_plain_name_is_a_label() {
        let label = |name: &str| {
            let target = Target::new(Upstream::new("up"), Method::ToolsCall, Some(name.into()), TargetPolicy::default(), false);
            target.label().to_owned()
        };
        assert_eq!(label("fs/read-file_v1.2"), "fs/read-file_v1.2");
        for odd in ["", "a\"b", "a\nb", "a b", "\u{202e}x", &"x".repeat(65)] {
            assert_eq!(label(odd), "_OTHER", "{odd:?}");
        }
    }

    #[test]
    fn methods_that_only_read_are_safe_whoever_serves_them() {
        let list = Target::new(Upstream::new("up"), Method::ToolsList, None, TargetPolicy::default(), false);
        assert!(list.is_safe());
    }
}
