//! What may be kept, for how long, and what an answer that was kept is still good for.

use std::time::Duration;

use super::Terms;
use crate::call::{CacheScope, Freshness, Method, Target, Verdict};

/// Who says how long an answer is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The server, in the answer. `listed`: the answer lists what there is.
    Server { listed: bool },
    /// The operator, for a tool that only reads. The answer has no word on its scope, so it is private.
    Operator(Duration),
}

impl Source {
    /// `None`: answers of this target are not kept. `server/discover` is not, although the specification would have it so: it
    /// keeps the connection alive, and no layer touches such calls.
    pub(super) fn of(target: &Target) -> Option<Self> {
        match target.method() {
            Method::ToolsList | Method::PromptsList | Method::ResourcesList | Method::ResourcesTemplatesList => {
                Some(Self::Server { listed: true })
            }
            Method::ResourcesRead => Some(Self::Server { listed: false }),
            Method::ToolsCall if target.is_read_only() => target.cache_for().map(Self::Operator),
            _ => None,
        }
    }

    /// How long an answer is fresh of which the server says this, where none is for longer than `longest`.
    pub(super) fn fresh_for(self, said: Duration, longest: Duration) -> Duration {
        let said = match self {
            Self::Server { .. } => said,
            Self::Operator(fresh) => fresh,
        };
        said.min(longest)
    }

    /// For whom an answer is kept. `None`: it is not.
    ///
    /// A list that is never fresh is kept all the same, for the time when the server fails; a resource that is never fresh is
    /// nobody's to keep.
    pub(super) fn kept_for(self, said: Freshness, terms: Terms) -> Option<CacheScope> {
        let for_bad_times = self == Self::Server { listed: true } && !terms.stale_if_error.is_zero();
        let kept = for_bad_times || !self.fresh_for(said.ttl, terms.longest).is_zero();
        let scope = match self {
            Self::Server { .. } => said.scope,
            Self::Operator(_) => Freshness::default().scope,
        };
        kept.then_some(scope)
    }
}

/// What an answer that was kept is still good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Nothing.
    Dead,
    /// Better than an error.
    Spare,
    /// Good enough while a new one is fetched.
    Stale,
    /// As good as the server's own word.
    Fresh,
}

impl Standing {
    /// `current`: nobody has said since that it has changed.
    pub(super) fn of(age: Duration, fresh_for: Duration, current: bool, terms: impl FnOnce() -> Terms) -> Self {
        let within = |grace: Duration| age < fresh_for.saturating_add(grace);
        if current && within(Duration::ZERO) {
            return Self::Fresh;
        }
        let terms = terms();
        match () {
            // What a server says is never fresh is not served without asking it.
            () if current && !fresh_for.is_zero() && within(terms.stale_while_revalidate) => Self::Stale,
            () if within(terms.stale_if_error) => Self::Spare,
            () => Self::Dead,
        }
    }
}

/// What the end of a call says of the answer that was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// A new one has come.
    Renewed,
    /// Nobody knows: the server could not say.
    Silent,
    /// It is gone, or not for this caller.
    Gone,
    /// Nothing.
    None,
}

impl Word {
    pub(super) const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Ok => Self::Renewed,
            Verdict::LocalReject
            | Verdict::RemoteReject { .. }
            | Verdict::NotSent
            | Verdict::Throttled { .. }
            | Verdict::Ambiguous { .. }
            | Verdict::Hurried => Self::Silent,
            Verdict::ToolError | Verdict::ClientFault | Verdict::Denied | Verdict::InputRequired | Verdict::Task => Self::Gone,
            Verdict::SessionLost | Verdict::Cancelled => Self::None,
        }
    }
}

/// The methods whose answers a notification of the specification's declares out of date.
pub(super) fn out_of_date(notification: &str) -> &'static [Method] {
    match notification {
        "notifications/tools/list_changed" => &[Method::ToolsList],
        "notifications/prompts/list_changed" => &[Method::PromptsList],
        "notifications/resources/list_changed" => &[Method::ResourcesList, Method::ResourcesTemplatesList],
        // It names one resource; all are fetched anew, since what a key asks for cannot be read from it.
        "notifications/resources/updated" => &[Method::ResourcesRead],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{Annotations, TargetPolicy},
        catalogue::{Catalogue, Scope},
    };

    const SECOND: Duration = Duration::from_secs(1);
    const TERMS: Terms = Terms {
        longest: Duration::from_secs(60),
        stale_while_revalidate: SECOND,
        stale_if_error: Duration::from_secs(9),
        refreshes: 1,
    };

    #[test]
    fn what_the_specification_lets_be_kept_and_what_the_operator_does() {
        let catalogue = Catalogue::new("up");
        let kept: Vec<&str> = Method::KNOWN
            .iter()
            .filter(|method| Source::of(&catalogue.resolve(method, None, None)).is_some())
            .map(Method::as_str)
            .collect();
        assert_eq!(kept, ["tools/list", "prompts/list", "resources/read", "resources/list", "resources/templates/list"]);

        let policy = TargetPolicy::default().cache_for(SECOND);
        let reads = |trusted: bool, read_only| {
            let catalogue = Catalogue::new("up").tool("t", policy.clone());
            let catalogue = if trusted { catalogue.trust_annotations() } else { catalogue };
            let annotations = Annotations { read_only: Some(read_only), idempotent: None };
            catalogue.learn(&Method::ToolsCall, Scope::Public, [("t", annotations)]);
            Source::of(&catalogue.resolve(&Method::ToolsCall, Some("t"), None))
        };
        assert_eq!(reads(true, true), Some(Source::Operator(SECOND)));
        assert_eq!((reads(true, false), reads(false, true)), (None, None));
    }

    #[test]
    fn a_list_that_is_never_fresh_is_kept_for_bad_times_and_a_long_life_is_cut() {
        let said = |ttl| Freshness { ttl, scope: CacheScope::Public };
        let kept = |source: Source, ttl, terms| Some((source.fresh_for(ttl, TERMS.longest), source.kept_for(said(ttl), terms)?));
        let (list, read) = (Source::Server { listed: true }, Source::Server { listed: false });
        assert_eq!(kept(list, Duration::ZERO, TERMS), Some((Duration::ZERO, CacheScope::Public)));
        assert_eq!(kept(list, Duration::ZERO, Terms { stale_if_error: Duration::ZERO, ..TERMS }), None);
        assert_eq!(kept(read, Duration::ZERO, TERMS), None);
        assert_eq!(kept(read, 90 * SECOND, TERMS), Some((60 * SECOND, CacheScope::Public)));
        assert_eq!(kept(Source::Operator(SECOND), 90 * SECOND, TERMS), Some((SECOND, CacheScope::Private)));
    }

    #[test]
    fn a_notification_speaks_of_the_methods_that_the_specification_names() {
        let of = |notification| out_of_date(notification).iter().map(Method::as_str).collect::<Vec<_>>();
        assert_eq!(of("notifications/tools/list_changed"), ["tools/list"]);
        assert_eq!(of("notifications/prompts/list_changed"), ["prompts/list"]);
        assert_eq!(of("notifications/resources/list_changed"), ["resources/list", "resources/templates/list"]);
        assert_eq!(of("notifications/resources/updated"), ["resources/read"]);
        assert!(of("notifications/progress").is_empty());
    }

    #[test]
    fn an_answer_ages() {
        let at = |ms, ttl, current| Standing::of(Duration::from_millis(ms), ttl, current, || TERMS);
        let (second, never) = (SECOND, Duration::ZERO);
        assert_eq!([at(0, second, true), at(999, second, true)], [Standing::Fresh; 2]);
        assert_eq!([at(1000, second, true), at(1999, second, true)], [Standing::Stale; 2], "fresh while now < received + ttl");
        assert_eq!([at(2000, second, true), at(9999, second, true)], [Standing::Spare; 2]);
        assert_eq!(at(10_000, second, true), Standing::Dead);
        assert_eq!([at(0, second, false), at(1500, second, false)], [Standing::Spare; 2], "it is known to have changed");
        assert_eq!([at(0, never, true), at(8999, never, true)], [Standing::Spare; 2]);
        assert_eq!(at(9000, never, true), Standing::Dead);
    }
}
