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

#[cfg(doc)]
use crate::call::Caller;
use crate::call::{Annotations, Digest, Method, Target, TargetPolicy, Trust, Upstream};

mod lists;
mod resources;
mod scopes;
mod template;

use lists::Lists;
use resources::Resources;
use template::Template;
pub use template::TemplateError;

/// How many names a catalogue learns unless told otherwise.
pub const DEFAULT_CAPACITY: usize = 512;

/// Whose list a name was learned from (`cacheScope` of the specification, Caching).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everybody sees this list.
    Public,
    /// Only these callers see it, by their [`audience`](Caller::audience). So with a list that says nothing: up to 2025-11-25 all.
    Private(Option<Digest>),
}

/// The targets of one upstream.
///
/// Names are learned from the upstream's own `tools/list`, `prompts/list` and `resources/templates/list`, or declared by the operator,
/// never from what callers ask for: all names that nobody listed share one entry per method, and so do names beyond the capacity. So an
/// invented name makes no entry, no metric label and no breaker.
///
/// A `resources/read` names a URI, and its entry is that of the **resource template** which the URI may be an expansion of (RFC 6570);
/// all URIs that no template covers share one entry. `{x}` covers what is within one segment of a path, `{x*}` several; `{+x}` covers
/// anything; `{#x}`, `{.x}`, `{/x}`, `{;x}`, `{?x}` and `{&x}` cover nothing, or what begins with their character. Of several templates
/// that cover a URI it is **the one with most characters of its own**, outside of its expressions; of those with as many, the one whose
/// expressions go less far. What is no template, or longer than 1,024 bytes, is not learned; and where a URI and the templates are made
/// so that to find one would take more than about a millisecond, it is covered by none. Subscriptions are not reads: all of an
/// upstream have one entry.
///
/// ```
/// use buttress::{call::{Annotations, Method, TargetPolicy}, catalogue::{Catalogue, Scope}};
///
/// let serial = TargetPolicy::default().serial();
/// let catalogue = Catalogue::new("files").resource_template("file:///logs/{day}", serial)?;
/// // As the adapters do with an answer to `resources/templates/list`.
/// catalogue.learn(&Method::ResourcesRead, Scope::Public, [("file:///{+path}", Annotations::default())]);
///
/// let of = |uri| catalogue.resolve(&Method::ResourcesRead, Some(uri), None);
/// assert_eq!(of("file:///logs/monday").name(), Some("file:///logs/{day}"));
/// assert_eq!(of("file:///logs/2026/monday").name(), Some("file:///{+path}"));
/// assert_eq!(of("https://example.com").name(), None);
/// # Ok::<_, buttress::catalogue::TemplateError>(())
/// ```
///
/// A name has **one entry**, whoever it was listed to: a limit on a tool, its breaker and its queue hold for all callers
/// together. The scope of a list says two things:
///
/// * **Who finds the entry.** A name that was only in private lists is found by those who were listed it; for others it is a name
///   that nobody listed. To find it would not let them in, as it is the server that answers; but the words of a refusal would tell
///   them that there is such a tool, and their calls would take from its limits. Its metrics bear its name all the same.
/// * **What counts of what it says about itself.** What all lists agree on: a tool is read-only, or idempotent, if each scope was
///   told so when it was last listed the tool. Where a server has several tools of one name, each for callers of its own, no list
///   makes a call safe that another list says is not.
///
/// Names are never forgotten, since labels would grow with them. Of private scopes the last 4,096 are remembered for each method;
/// callers of an older one find what everybody finds, until they are listed names again.
pub struct Catalogue {
    upstream: Arc<Upstream>,
    trust: Trust,
    capacity: usize,
    policies: HashMap<String, TargetPolicy>,
    templates: HashMap<Arc<str>, (Arc<Template>, TargetPolicy)>,
    /// One entry per method as a whole; custom methods share the last.
    methods: Box<[Arc<Target>]>,
    names: ArcSwap<Names>,
    /// Learning is rare and takes its turn; resolving never waits for it.
    learning: Mutex<()>,
    /// Whether it has been told that the catalogue is full.
    full: AtomicBool,
}

#[derive(Clone, Default)]
struct Names {
    tools: Lists,
    prompts: Lists,
    resources: Resources,
    /// How many were learned, and not declared.
    learned: usize,
}

impl Names {
    const fn of(&self, method: &Method) -> Option<&Lists> {
        match method {
            Method::ToolsCall => Some(&self.tools),
            Method::PromptsGet => Some(&self.prompts),
            Method::ResourcesRead => Some(&self.resources.lists),
            _ => None,
        }
    }

    const fn of_mut(&mut self, method: &Method) -> Option<&mut Lists> {
        match method {
            Method::ToolsCall => Some(&mut self.tools),
            Method::PromptsGet => Some(&mut self.prompts),
            Method::ResourcesRead => Some(&mut self.resources.lists),
            _ => None,
        }
    }

    /// The entry for what is asked for: by the name that was listed, or by a URI.
    fn find(&self, method: &Method, asked: &str, audience: Option<Digest>) -> Option<&Arc<Target>> {
        match method {
            Method::ResourcesRead => self.resources.find(asked, audience),
            _ => self.of(method)?.find(asked, audience),
        }
    }

    fn all(&self) -> [&Lists; 3] {
        [&self.tools, &self.prompts, &self.resources.lists]
    }

    fn len(&self) -> usize {
        self.all().iter().map(|lists| lists.len()).sum()
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
            templates: HashMap::new(),
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

    /// How many bytes of an uncompressed scrape the series of this upstream may take that bear names of its own: [its
    /// budget](crate::metrics#what-it-costs). Default: 768,000, which is enough for all there is to tell of 32 names, and for what matters
    /// most of 200. 0: none has a series of its own. Of several upstreams each has its own.
    #[must_use]
    pub fn scrape_budget(self, bytes: usize) -> Self {
        self.upstream.ledger().allow(bytes);
        self
    }

    /// The operator's word on one tool, whoever it is listed to; the name is known from now on, to all callers. Where the upstream has
    /// [many names](crate::metrics#what-it-costs), the first of those named here have all their series all the same.
    #[must_use]
    pub fn tool(mut self, name: impl Into<String>, policy: TargetPolicy) -> Self {
        let name = name.into();
        self.upstream.ledger().names_tool(&name);
        self.policies.insert(name, policy);
        self.declared()
    }

    /// The operator's word on the resources of one template (RFC 6570), whoever it is listed to; it is known from now on, to all callers.
    /// Of its policy counts what there is to say of a read: its cost, how many may run at once, how much they matter, what an error
    /// means.
    ///
    /// # Errors
    ///
    /// A template that cannot be read.
    pub fn resource_template(mut self, template: &str, policy: TargetPolicy) -> Result<Self, TemplateError> {
        let template = Arc::new(Template::parse(template)?);
        self.templates.insert(template.text().clone(), (template, policy));
        Ok(self.declared())
    }

    /// Starts anew with what the operator has declared, which takes nothing from the capacity.
    fn declared(mut self) -> Self {
        let mut names = Names::default();
        for name in self.policies.keys() {
            names.tools.add(name, self.target(&Method::ToolsCall, name), true);
        }
        for (text, (template, _)) in &self.templates {
            names.resources.add(template.clone(), self.target(&Method::ResourcesRead, text), true);
        }
        self.upstream.ledger().has_names(names.len());
        self.names = ArcSwap::from_pointee(names);
        self
    }

    /// The tools that the operator has declared, with the word on each; in no particular order.
    pub fn declared_tools(&self) -> impl Iterator<Item = (&str, &TargetPolicy)> {
        self.policies.iter().map(|(name, policy)| (name.as_str(), policy))
    }

    /// The same for resource templates.
    pub fn declared_resource_templates(&self) -> impl Iterator<Item = (&str, &TargetPolicy)> {
        self.templates.iter().map(|(text, (_, policy))| (&**text, policy))
    }

    /// The operator's name for the server.
    pub fn upstream(&self) -> &Arc<str> {
        self.upstream.name()
    }

    /// The entry for a call of `method` on `name`, as callers of this [`audience`](Caller::audience) find it: for a read, on a URI.
    /// Takes no lock.
    pub fn resolve(&self, method: &Method, name: Option<&str>, audience: Option<Digest>) -> Arc<Target> {
        name.and_then(|name| self.known(method, name, audience)).unwrap_or_else(|| self.whole(method).clone())
    }

    /// The entries of all names that are known, whoever they were listed to; in no particular order.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        let names = self.names.load();
        names.all().into_iter().flat_map(Lists::targets).cloned().collect()
    }

    /// The entry of a name that has been learned; for a read, of a URI that a template covers.
    pub fn known(&self, method: &Method, name: &str, audience: Option<Digest>) -> Option<Arc<Target>> {
        self.names.load().find(method, name, audience).cloned()
    }

    /// The entry for a method as a whole.
    fn whole(&self, method: &Method) -> &Arc<Target> {
        &self.methods[method.index()]
    }

    /// Learns names of a method (`tools/call`, `prompts/get`) with what they say about themselves; of `resources/read`, templates, which
    /// say nothing of the kind. A name that is known keeps its entry, and with it everything that layers remember of it; what this
    /// scope was told of it is renewed.
    pub fn learn<'a>(&self, method: &Method, scope: Scope, listed: impl IntoIterator<Item = (&'a str, Annotations)>) {
        let _turn = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.names.load_full();
        let mut grown: Option<Names> = None;
        for (name, said) in listed {
            let names = grown.as_ref().unwrap_or(&current);
            let Some(lists) = names.of(method) else { return };
            if lists.knows(scope, name, said) {
                continue;
            }
            let new = !lists.contains(name);
            if new && names.learned >= self.capacity {
                self.tell_that_it_is_full();
                continue;
            }
            let template = match method {
                Method::ResourcesRead if new => match Template::parse(name) {
                    Ok(template) => Some(Arc::new(template)),
                    Err(_) => continue,
                },
                _ => None,
            };
            let names = grown.get_or_insert_with(|| Names::clone(&current));
            names.learned += usize::from(new);
            if let Some(template) = template {
                names.resources.add(template, self.target(method, name), false);
            }
            let Some(lists) = names.of_mut(method) else { return };
            if !lists.contains(name) {
                lists.add(name, self.target(method, name), false);
            }
            lists.tell(scope, name, said);
        }
        if let Some(grown) = grown {
            self.upstream.ledger().has_names(grown.len());
            self.names.store(Arc::new(grown));
        }
    }

    fn tell_that_it_is_full(&self) {
        if !self.full.swap(true, Ordering::Relaxed) {
            let (upstream, capacity) = (&**self.upstream(), self.capacity);
            tracing::warn!(upstream, capacity, "the catalogue is full; further names share one entry");
        }
    }

    fn target(&self, method: &Method, name: &str) -> Target {
        let policy = match method {
            Method::ToolsCall => self.policies.get(name),
            Method::ResourcesRead => self.templates.get(name).map(|(_, policy)| policy),
            _ => None,
        };
        let policy = policy.cloned().unwrap_or_default();
        Target::new(self.upstream.clone(), method.clone(), Some(name.into()), policy, self.trust)
    }
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue")
            .field("upstream", self.upstream())
            .field("names", &self.names.load().learned)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod template_tests;
#[cfg(test)]
mod tests;
