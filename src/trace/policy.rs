//! What is made of the trace that a caller names.

use std::sync::{Arc, LazyLock};

use crate::call::{Meta, TraceContext, Traced};

/// What the trace counts for that a caller says its call is part of.
///
/// A trace costs whoever records it, and a caller may ask for each of its calls to be recorded. So by default a
/// caller's word names what the call has to do with, and decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Incoming {
    /// The call is part of it, recorded where the caller records it, and so is what the next hop makes of the call. For
    /// callers of one's own: over stdio, behind a gateway, in front of a client.
    Trust,
    /// The call is a trace of its own, with links to the caller's and to the span that it is made in here. The next hop
    /// hears of ours alone.
    #[default]
    Link,
    /// The call is a trace of its own.
    Ignore,
}

/// What is made of what a caller says.
#[derive(Debug, Clone, Default)]
pub(super) struct Policy {
    pub(super) incoming: Incoming,
    /// The members of its baggage that go on.
    pub(super) baggage: Option<Arc<[Box<str>]>>,
    /// Whether the stack stands at whoever makes the calls.
    pub(super) at_client: bool,
}

impl Policy {
    /// The kind of a call's span. To who makes it a call is its own work, of which only the attempts are sent.
    pub(super) const fn kind(&self) -> &'static str {
        if self.at_client { "internal" } else { "server" }
    }

    /// What is said of a call, to what is inside of it and to the next hop.
    pub(super) fn traced(&self, meta: Option<&Meta>, span: Option<TraceContext>) -> Arc<Traced> {
        let said = meta.and_then(|meta| meta.trace.as_ref());
        let relayed = said.filter(|_| self.incoming == Incoming::Trust).cloned();
        let baggage = self.baggage.as_ref().and_then(|names| meta?.baggage.as_ref()?.only(names));
        match (span, relayed, baggage) {
            (None, None, None) => nothing(),
            (span, relayed, baggage) => Arc::new(Traced { span, relayed, baggage }),
        }
    }
}

/// What is said of most calls where nobody gives spans their ids. It is there once, so that it costs no call an
/// allocation.
fn nothing() -> Arc<Traced> {
    static NOTHING: LazyLock<Arc<Traced>> = LazyLock::new(Arc::default);
    NOTHING.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Baggage;

    #[test]
    fn only_what_is_trusted_goes_on() {
        let baggage = Baggage::parse("tenant=acme,user=eve");
        let meta = Meta { trace: TraceContext::new(1, 2, 1), baggage, ..Meta::default() };
        let said = |incoming, names: &[&str]| {
            let baggage = (!names.is_empty()).then(|| names.iter().map(|name| (*name).into()).collect());
            let traced = Policy { incoming, baggage, ..Policy::default() }.traced(Some(&meta), None);
            (traced.relayed.is_some(), traced.baggage.as_ref().map(|baggage| baggage.as_str().to_owned()))
        };
        assert_eq!(said(Incoming::Trust, &[]), (true, None));
        assert_eq!(said(Incoming::Link, &[]), (false, None));
        assert_eq!(said(Incoming::Ignore, &["tenant"]), (false, Some("tenant=acme".to_owned())));
        assert_eq!(said(Incoming::Trust, &["session"]), (true, None));
    }

    #[test]
    fn nothing_is_there_once() {
        let policy = Policy::default();
        assert!(Arc::ptr_eq(&policy.traced(None, None), &policy.traced(Some(&Meta::default()), None)));
    }
}
