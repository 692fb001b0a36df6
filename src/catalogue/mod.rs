//! The targets of one upstream: learned from its own lists, found by each call once.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;

#[cfg(doc)]
use crate::call::Caller;
use crate::{
    call::{Annotations, Digest, Followers, Method, Target, TargetPolicy, Upstream},
    error::BoxError,
};

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

/// Why the operator's word on a target cannot hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The template cannot be read.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A layer in front of the upstream cannot hold to it; it says why.
    #[error(transparent)]
    Refused(BoxError),
}

/// Whose list a name was learned from (`cacheScope` of the specification, Caching).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everybody sees this list.
    Public,
    /// Only these callers see it, by their [`audience`](Caller::audience). So with a list that says nothing: up to 2025-11-25
    /// all.
    Private(Option<Digest>),
}

/// The targets of one upstream.
///
/// Names are learned from the upstream's own `tools/list`, `prompts/list` and `resources/templates/list`, or declared by the
/// operator, never from what callers ask for: all names that nobody listed share one entry per method, and so do names beyond the
/// capacity. So an invented name makes no entry, no metric label and no breaker.
///
/// A `resources/read` names a URI, and its entry is that of the **resource template** which the URI may be an expansion of (RFC
/// 6570); all URIs that no template covers share one entry. `{x}` covers what is within one segment of a path, `{x*}` several;
/// `{+x}` covers anything; `{#x}`, `{.x}`, `{/x}`, `{;x}`, `{?x}` and `{&x}` cover nothing, or what begins with their character.
/// Of several templates that cover a URI it is **the one with most characters of its own**, outside of its expressions; of those
/// with as many, the one whose expressions go less far. What is no template, or longer than 1,024 bytes, is not learned; and
/// where a URI and the templates are made so that to find one would take more than about a millisecond, it is covered by none.
/// Subscriptions are not reads: all of an upstream have one entry.
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
///   that nobody listed. To find it would not let them in, as it is the server that answers; but the words of a refusal would
///   tell them that there is such a tool, and their calls would take from its limits. Its metrics bear its name all the same.
/// * **What counts of what it says about itself.** What all lists agree on: a tool is read-only, or idempotent, if each scope was
///   told so when it was last listed the tool. Where a server has several tools of one name, each for callers of its own, no list
///   makes a call safe that another list says is not.
///
/// The operator's word on a tool or a template is changed in place, [while calls run](Self::set_tool): whatever layers know of
/// the target stays.
///
/// ```
/// use buttress::{call::{Method, TargetPolicy}, catalogue::Catalogue};
///
/// let catalogue = Catalogue::new("files").tool("write", TargetPolicy::default().serial());
/// let write = catalogue.resolve(&Method::ToolsCall, Some("write"), None);
/// assert!(!write.is_idempotent());
/// catalogue.set_tool("write", TargetPolicy::default().serial().idempotent(true))?;
/// assert!(write.is_idempotent());
/// # Ok::<_, buttress::catalogue::PolicyError>(())
/// ```
///
/// Names are never forgotten, since labels would grow with them. Of private scopes the last 4,096 are remembered for each method;
/// callers of an older one find what everybody finds, until they are listed names again.
pub struct Catalogue {
    upstream: Arc<Upstream>,
    capacity: usize,
    /// One entry per method as a whole; custom methods share the last.
    methods: Box<[Arc<Target>]>,
    names: ArcSwap<Names>,
    /// Who learns and who steers is rare and takes turns; resolving never waits for it.
    turns: Mutex<()>,
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

    /// Makes the entry of a name that was learned; of a template, for reads. Nobody sees it yet.
    fn add(&mut self, method: &Method, name: &str, template: Option<Template>, target: Target) {
        self.learned += 1;
        match template {
            Some(template) => self.resources.add(Arc::new(template), target),
            None => {
                if let Some(lists) = self.of_mut(method) {
                    lists.add(name, target);
                }
            }
        }
    }

    /// The entry of a name that the operator names, whether it was known or not. What is declared takes nothing from the
    /// capacity.
    fn declare(&mut self, method: &Method, name: &str, template: Option<Template>, new: impl Fn() -> Target) -> Arc<Target> {
        if self.of(method).is_none_or(|lists| !lists.contains(name)) {
            self.add(method, name, template, new());
        }
        self.learned -= 1;
        self.of_mut(method).and_then(|lists| lists.declare(name)).unwrap_or_else(|| Arc::new(new()))
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
        let whole = |method| Arc::new(Target::new(upstream.clone(), method, None));
        let custom = Method::Custom("_OTHER".into());
        Self {
            methods: Method::KNOWN.iter().cloned().chain([custom]).map(whole).collect(),
            upstream,
            capacity: DEFAULT_CAPACITY,
            names: ArcSwap::default(),
            turns: Mutex::new(()),
            full: AtomicBool::new(false),
        }
    }

    /// Believes what this upstream's tools say about themselves. Right for a handler in this process, which is the
    /// operator's own code.
    #[must_use]
    pub fn trust_annotations(self) -> Self {
        self.upstream.trust_annotations();
        self
    }

    /// Takes this upstream's word on calls that it refused: it is one of the operator's own, and runs behind layers like these.
    /// The facts that it states of a call that failed ([`OUTCOME_KEY`](crate::call::OUTCOME_KEY)) then count for what they say,
    /// so that a breaker here is not blind to a refusal there, and takes one for what a caller does for no sickness of the
    /// tool's ([`RemoteReject`](crate::call::Verdict::RemoteReject)); and they are passed on, so that who trusts us reads them too.
    /// Whoever is not trusted has no such facts: they are taken out of its answers (see [`rescue`](crate::rescue)).
    #[must_use]
    pub fn trust_next_hop(self) -> Self {
        self.upstream.trust_next_hop();
        self
    }

    /// Learns at most `capacity` names; the others share one entry per method.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// How many bytes of an uncompressed scrape the series of this upstream may take that bear names of its own: [its
    /// budget](crate::metrics#what-it-costs). Default: 768,000, which is enough for all there is to tell of 32 names, and for
    /// what matters most of 200. 0: none has a series of its own. Of several upstreams each has its own.
    #[must_use]
    pub fn scrape_budget(self, bytes: usize) -> Self {
        self.upstream.ledger().allow(bytes);
        self
    }

    /// The operator's word on one tool, whoever it is listed to; the name is known from now on, to all callers. Where the
    /// upstream has [many names](crate::metrics#what-it-costs), the first of those named here have all their series all the same.
    /// While calls run, [`set_tool`](Self::set_tool) changes it.
    #[must_use]
    pub fn tool(self, name: impl Into<String>, policy: TargetPolicy) -> Self {
        let Ok(()) = self.set(&Method::ToolsCall, &name.into(), None, policy, |_, _| Ok::<_, Infallible>(()));
        self
    }

    /// The operator's word on the resources of one template (RFC 6570), whoever it is listed to; it is known from now on, to all
    /// callers. Of its policy counts what there is to say of a read: its cost, how many may run at once, how much they matter,
    /// what an error means. While calls run, [`set_resource_template`](Self::set_resource_template) changes it.
    ///
    /// # Errors
    ///
    /// A template that cannot be read.
    pub fn resource_template(self, template: &str, policy: TargetPolicy) -> Result<Self, TemplateError> {
        let read = Template::parse(template)?;
        let Ok(()) = self.set(&Method::ResourcesRead, template, Some(read), policy, |_, _| Ok::<_, Infallible>(()));
        Ok(self)
    }

    /// Changes the operator's word on one tool while calls run. The default policy takes back whatever was said.
    ///
    /// The tool stays what it is: its breaker, its slots, its line, the series that it has and all else that layers remember of
    /// it; no service is rebuilt. A name that was only learned, or is not known yet, is from now on as if it had been
    /// [declared](Self::tool): known to all callers, also when the word is taken back.
    ///
    /// Each layer goes by the new word from the next time on that it asks: of calls, attempts and answers that begin after this,
    /// all do; of those under way, some. A call in the very middle of a change may go by the old word in one place and by the new
    /// one in another. In particular:
    ///
    /// * [`concurrency`](TargetPolicy::concurrency) holds at once, as [a change by
    ///   hand](crate::concurrency::ConcurrencyHandle::set_limit) does, which tells also who wins where both are used;
    /// * [`cache_for`](TargetPolicy::cache_for), where it is shorter now, holds for answers that are kept already;
    /// * [`judge_errors`](TargetPolicy::judge_errors) holds for attempts that begin after this.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Refused`], if a call of the tool would [cost](TargetPolicy::cost) more than the burst of a quota, with
    /// [`QuotaError::Burst`](crate::quota::QuotaError::Burst) in it. Quotas have a say that were checked for this catalogue
    /// ([`Stack::check_for`](crate::Stack::check_for), which rmcp's adapters call); any other has not, and would refuse each call
    /// of the tool. Nothing is changed then.
    pub fn set_tool(&self, name: &str, policy: TargetPolicy) -> Result<(), PolicyError> {
        self.set_if_agreed(&Method::ToolsCall, name, None, policy)
    }

    /// The same for the resources of one template.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Template`], if the template cannot be read; else as [`set_tool`](Self::set_tool).
    pub fn set_resource_template(&self, template: &str, policy: TargetPolicy) -> Result<(), PolicyError> {
        let read = Template::parse(template)?;
        self.set_if_agreed(&Method::ResourcesRead, template, Some(read), policy)
    }

    fn set_if_agreed(
        &self,
        method: &Method,
        name: &str,
        template: Option<Template>,
        policy: TargetPolicy,
    ) -> Result<(), PolicyError> {
        let all_agree = |target: &Arc<Target>, policy: &TargetPolicy| {
            self.upstream.followers().all().iter().try_for_each(|follower| follower.agree(target, policy))
        };
        self.set(method, name, template, policy, all_agree).map_err(PolicyError::Refused)
    }

    fn set<E>(
        &self,
        method: &Method,
        name: &str,
        template: Option<Template>,
        policy: TargetPolicy,
        agreed: impl FnOnce(&Arc<Target>, &TargetPolicy) -> Result<(), E>,
    ) -> Result<(), E> {
        let turn = self.turn();
        let present = self.names.load_full();
        let known = present.of(method).and_then(|lists| lists.declared(name));
        let (target, grown) = match known {
            Some(target) => (target.clone(), None),
            None => {
                let mut names = Names::clone(&present);
                (names.declare(method, name, template, || self.target(method, name)), Some(names))
            }
        };
        let outcome = agreed(&target, &policy);
        if outcome.is_ok() {
            target.set_policy(policy);
            if *method == Method::ToolsCall {
                self.upstream.ledger().names_tool(name);
            }
            if let Some(names) = grown {
                self.publish(names);
            }
        }
        drop(turn);
        // Not in turn, since they may wake who waits. Nor those that were asked: others may have joined since.
        self.upstream.followers().all().iter().for_each(|follower| follower.follow(&target));
        outcome
    }

    /// No name is learned meanwhile, and no word changed.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, names: Names) {
        self.upstream.ledger().has_names(names.len());
        self.names.store(Arc::new(names));
    }

    /// Who follows the operator's word on the targets.
    pub(crate) fn followers(&self) -> &Followers {
        self.upstream.followers()
    }

    /// The operator's name for the server.
    pub fn upstream(&self) -> &Arc<str> {
        self.upstream.name()
    }

    /// The entry for a call of `method` on `name`, as callers of this [`audience`](Caller::audience) find it: for a read, on a
    /// URI. Takes no lock.
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

    /// Learns names of a method (`tools/call`, `prompts/get`) with what they say about themselves; of `resources/read`,
    /// templates, which say nothing of the kind. A name that is known keeps its entry, and with it everything that layers
    /// remember of it; what this scope was told of it is renewed.
    pub fn learn<'a>(&self, method: &Method, scope: Scope, listed: impl IntoIterator<Item = (&'a str, Annotations)>) {
        let _turn = self.turn();
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
                    Ok(template) => Some(template),
                    Err(_) => continue,
                },
                _ => None,
            };
            let names = grown.get_or_insert_with(|| Names::clone(&current));
            if new {
                names.add(method, name, template, self.target(method, name));
            }
            let Some(lists) = names.of_mut(method) else { return };
            lists.tell(scope, name, said);
        }
        if let Some(grown) = grown {
            self.publish(grown);
        }
    }

    fn tell_that_it_is_full(&self) {
        if !self.full.swap(true, Ordering::Relaxed) {
            let (upstream, capacity) = (&**self.upstream(), self.capacity);
            tracing::warn!(upstream, capacity, "the catalogue is full; further names share one entry");
        }
    }

    fn target(&self, method: &Method, name: &str) -> Target {
        Target::new(self.upstream.clone(), method.clone(), Some(name.into()))
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
