//! The targets of one upstream: learned from its own lists, found by each call once.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;

use crate::call::{Annotations, Digest, Method, Target, TargetPolicy, Trust, Upstream};

/// How many names a catalogue learns unless told otherwise.
pub const DEFAULT_CAPACITY: usize = 512;

/// Whose list a name was learned from (`cacheScope` of the specification, Caching).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everybody sees this list.
    Public,
    /// Only this authorisation sees it; `None` is the callers without one.
    Private(Option<Digest>),
}

/// The targets of one upstream.
///
/// Names are learned from the upstream's own `tools/list` and `prompts/list`, or declared by the operator, never from what
/// callers ask for: all names that nobody listed share one entry per method, and so do names beyond the capacity. So an
/// invented name makes no entry, no metric label and no breaker.
pub struct Catalogue {
    upstream: Arc<Upstream>,
    trust: Trust,
    capacity: usize,
    policies: HashMap<String, TargetPolicy>,
    /// One entry per method as a whole; custom methods share the last.
    methods: Box<[Arc<Target>]>,
    names: ArcSwap<Names>,
    /// Learning is rare and takes its turn; resolving never waits for it.
    learning: Mutex<()>,
    /// Whether it has been told that the catalogue is full.
    full: AtomicBool,
}

type ByName = HashMap<Arc<str>, Arc<Target>>;

#[derive(Clone, Default)]
struct Names {
    tools: HashMap<Scope, ByName>,
    prompts: HashMap<Scope, ByName>,
    count: usize,
}

impl Names {
    fn of(&self, method: &Method) -> Option<&HashMap<Scope, ByName>> {
        match method {
            Method::ToolsCall => Some(&self.tools),
            Method::PromptsGet => Some(&self.prompts),
            _ => None,
        }
    }

    fn of_mut(&mut self, method: &Method) -> Option<&mut HashMap<Scope, ByName>> {
        match method {
            Method::ToolsCall => Some(&mut self.tools),
            Method::PromptsGet => Some(&mut self.prompts),
            _ => None,
        }
    }
}

impl Catalogue {
    /// An empty catalogue of the server that the operator calls `upstream`; its annotations are not trusted.
    pub fn new(upstream: impl Into<Arc<str>>) -> Self {
        let upstream = Upstream::new(upstream);
        let whole = |method| Arc::new(Target::new(upstream.clone(), method, None, TargetPolicy::default(), Trust::default()));
        let custom = Method::Custom("_OTHER".into());
        Self {
            methods: Method::KNOWN.iter().cloned().chain([custom]).map(whole).collect(),
            upstream,
            trust: Trust::default(),
            capacity: DEFAULT_CAPACITY,
            policies: HashMap::new(),
            names: ArcSwap::default(),
            learning: Mutex::new(()),
            full: AtomicBool::new(false),
        }
    }

    /// Believes what this upstream's tools say about themselves. Right for a handler in this process, which is the
    /// operator's own code.
    #[must_use]
    pub fn trust_annotations(mut self) -> Self {
        self.trust.annotations = true;
        self.declared()
    }

    /// Takes this upstream's word on calls that it refused: it is one of the operator's own, and runs behind layers like these.
    /// The facts that it states of a call that failed ([`OUTCOME_KEY`](crate::call::OUTCOME_KEY)) then count for what they say, so
    /// that a breaker here is not blind to a refusal there; and they are passed on, so that who trusts us reads them too. Whoever is
    /// not trusted has no such facts: they are taken out of its answers (see [`rescue`](crate::rescue)).
    #[must_use]
    pub fn trust_next_hop(mut self) -> Self {
        self.trust.next_hop = true;
        let whole = |method: &Arc<Target>| {
            Arc::new(Target::new(self.upstream.clone(), method.method().clone(), None, TargetPolicy::default(), self.trust))
        };
        self.methods = self.methods.iter().map(whole).collect();
        self.declared()
    }

    /// Learns at most `capacity` names; the others share one entry per method.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self.declared()
    }

    /// The operator's word on one tool, which holds whenever a tool of this name is learned; the name is known from now on.
    #[must_use]
    pub fn tool(mut self, name: impl Into<String>, policy: TargetPolicy) -> Self {
        self.policies.insert(name.into(), policy);
        self.declared()
    }

    /// Starts anew with what the operator has declared, which takes nothing from the capacity.
    fn declared(mut self) -> Self {
        let target = |name: &String| (name.as_str().into(), Arc::new(self.target(&Method::ToolsCall, name)));
        let declared: ByName = self.policies.keys().map(target).collect();
        let tools = HashMap::from([(Scope::Public, declared)]);
        self.names = ArcSwap::from_pointee(Names { tools, ..Names::default() });
        self
    }

    /// The tools that the operator has declared, with the word on each; in no particular order.
    pub fn declared_tools(&self) -> impl Iterator<Item = (&str, &TargetPolicy)> {
        self.policies.iter().map(|(name, policy)| (name.as_str(), policy))
    }

    /// The operator's name for the server.
    pub fn upstream(&self) -> &Arc<str> {
        self.upstream.name()
    }

    /// The entry for a call of `method` on `name`, as a caller with this authorisation sees it.
    pub fn resolve(&self, method: &Method, name: Option<&str>, authorisation: Option<Digest>) -> Arc<Target> {
        name.and_then(|name| self.known(method, name, authorisation)).unwrap_or_else(|| self.whole(method).clone())
    }

    /// The entry of a name that has been learned.
    pub fn known(&self, method: &Method, name: &str, authorisation: Option<Digest>) -> Option<Arc<Target>> {
        let names = self.names.load();
        let scopes = names.of(method)?;
        let within = |scope| scopes.get(&scope).and_then(|names: &ByName| names.get(name)).cloned();
        within(Scope::Public).or_else(|| within(Scope::Private(authorisation)))
    }

    /// The entry for a method as a whole.
    fn whole(&self, method: &Method) -> &Arc<Target> {
        &self.methods[method.index()]
    }

    /// Learns names of a method (`tools/call`, `prompts/get`) with what they say about themselves. A name that is known keeps
    /// its entry, and with it everything that layers remember of it; only its annotations are renewed.
    pub fn learn<'a>(&self, method: &Method, scope: Scope, listed: impl IntoIterator<Item = (&'a str, Annotations)>) {
        let _turn = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.names.load_full();
        let mut grown: Option<Names> = None;
        for (name, annotations) in listed {
            let names = grown.as_ref().unwrap_or(&current);
            let Some(scopes) = names.of(method) else { return };
            if let Some(target) = scopes.get(&scope).and_then(|names| names.get(name)) {
                target.annotate(annotations);
                continue;
            }
            if names.count >= self.capacity {
                if self.full.swap(true, Ordering::Relaxed) {
                    break;
                }
                let (upstream, capacity) = (&**self.upstream(), self.capacity);
                tracing::warn!(upstream, capacity, "the catalogue is full; further names share one entry");
                break;
            }
            let target = Arc::new(self.target(method, name));
            target.annotate(annotations);
            let names = grown.get_or_insert_with(|| Names::clone(&current));
            names.count += 1;
            if let Some(scopes) = names.of_mut(method) {
                scopes.entry(scope).or_default().insert(name.into(), target);
            }
        }
        if let Some(grown) = grown {
            self.names.store(Arc::new(grown));
        }
    }

    fn target(&self, method: &Method, name: &str) -> Target {
        let policy = match method {
            Method::ToolsCall => self.policies.get(name).cloned().unwrap_or_default(),
            _ => TargetPolicy::default(),
        };
        Target::new(self.upstream.clone(), method.clone(), Some(name.into()), policy, self.trust)
    }
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue")
            .field("upstream", self.upstream())
            .field("names", &self.names.load().count)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READS: Annotations = Annotations { read_only: Some(true), idempotent: None };

    fn public<'a>(catalogue: &Catalogue, names: impl IntoIterator<Item = &'a str>) {
        catalogue.learn(&Method::ToolsCall, Scope::Public, names.into_iter().map(|name| (name, READS)));
    }

    #[test]
    fn invented_names_share_the_entry_of_their_method() {
        let catalogue = Catalogue::new("up");
        public(&catalogue, ["listed"]);
        let resolve = |name| catalogue.resolve(&Method::ToolsCall, Some(name), None);
        assert_eq!(resolve("listed").name(), Some("listed"));
        assert!(Arc::ptr_eq(&resolve("made up"), &resolve("also made up")));
        assert_eq!(resolve("made up").label(), "_OTHER");
        let custom = |name: &str| catalogue.resolve(&Method::from_wire(name), None, None);
        assert!(Arc::ptr_eq(&custom("x/one"), &custom("x/two")));
        assert_eq!(custom("x/one").method().label(), "_OTHER");
    }

    #[test]
    fn a_name_keeps_its_entry_when_it_is_listed_again() {
        let catalogue = Catalogue::new("up").trust_annotations();
        public(&catalogue, ["t"]);
        let before = catalogue.resolve(&Method::ToolsCall, Some("t"), None);
        assert!(before.is_safe());
        catalogue.learn(&Method::ToolsCall, Scope::Public, [("t", Annotations::default())]);
        let after = catalogue.resolve(&Method::ToolsCall, Some("t"), None);
        assert!(Arc::ptr_eq(&before, &after) && !after.is_safe());
    }

    #[test]
    fn a_private_name_is_known_to_its_authorisation_only() {
        let catalogue = Catalogue::new("up");
        let (mine, yours) = (Some(Digest::of(b"mine")), Some(Digest::of(b"yours")));
        catalogue.learn(&Method::ToolsCall, Scope::Private(mine), [("secret", READS)]);
        assert!(catalogue.known(&Method::ToolsCall, "secret", mine).is_some());
        assert!(catalogue.known(&Method::ToolsCall, "secret", yours).is_none());
        assert!(catalogue.known(&Method::ToolsCall, "secret", None).is_none());
    }

    #[test]
    fn beyond_its_capacity_a_catalogue_learns_nothing() {
        let catalogue = Catalogue::new("up").capacity(2);
        public(&catalogue, ["a", "b", "c"]);
        assert!(catalogue.known(&Method::ToolsCall, "b", None).is_some());
        assert!(catalogue.known(&Method::ToolsCall, "c", None).is_none());
        assert_eq!(catalogue.names.load().count, 2);
    }

    #[test]
    fn a_catalogue_may_be_built_in_any_order() {
        let safe = TargetPolicy::default().safe(true);
        let catalogue = Catalogue::new("up")
            .tool("a", TargetPolicy::default())
            .tool("b", TargetPolicy::default())
            .tool("b", safe)
            .capacity(1)
            .trust_annotations();
        public(&catalogue, ["a", "c", "d"]);
        let safe = |name| catalogue.known(&Method::ToolsCall, name, None).map(|target| target.is_safe());
        assert_eq!([safe("a"), safe("b"), safe("c"), safe("d")], [Some(true), Some(true), Some(true), None]);
    }

    #[test]
    fn the_operators_word_holds_whenever_the_tool_is_listed() {
        let safe = TargetPolicy::default().safe(true);
        let catalogue = Catalogue::new("up").tool("t", safe);
        public(&catalogue, ["t"]);
        assert!(catalogue.resolve(&Method::ToolsCall, Some("t"), None).is_safe());
    }
}
