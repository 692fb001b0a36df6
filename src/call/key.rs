//! When two calls are the same call, as far as their answer goes.

use std::sync::Arc;

use super::{CacheScope, CallParams, Digest, Head, Method, Request, Revision, Session};

/// What an answer is an answer to, and who may have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    question: Question,
    /// `None`: everybody.
    audience: Option<Identity>,
}

/// One authorisation, as one principal, of one tenant. A different access token is a different identity.
///
/// So is another session, in the revisions that have some: a server may list other tools once a tool was called, or other ones to
/// a client that cannot be asked anything. It does not have to say so, as it does of what is public. From 2026-07-28 on the
/// answers to one authorisation are the same, whatever was asked before (specification, Caching).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    tenant: Digest,
    principal: Option<Arc<str>>,
    authorisation: Option<Digest>,
    session: Option<Session>,
}

impl Identity {
    /// Who calls. `None`: a caller without authorisation, who cannot be told from any other, unless there is only one.
    pub(crate) fn of(head: &Head, single_caller: bool) -> Option<Self> {
        let caller = &head.caller;
        let authorisation = caller.authorisation();
        (single_caller || authorisation.is_some()).then(|| Self {
            tenant: caller.tenant_digest(),
            principal: caller.principal_arc(),
            authorisation,
            session: head.session_of_revision(),
        })
    }
}

/// A call that is the same as another if the other asks the same; so far without a word on who may have the answer.
///
/// The revision is part of what is asked: each has its own shape of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    target: u64,
    revision: Option<Revision>,
    asked: Digest,
}

impl Question {
    /// `None`: no other call is known to be the same. So with arguments or capabilities that cannot be read; with a call that
    /// continues an earlier one, since its answer depends on what is not part of the question; and with methods that no revision
    /// defines, which share one target whatever they are called.
    pub(crate) fn of<P: CallParams>(request: &Request<P>) -> Option<Self> {
        let target = &request.head.target;
        if matches!(target.method(), Method::Custom(_)) || request.params.continuation().is_some() {
            return None;
        }
        Some(Self { target: target.id(), revision: request.head.revision, asked: request.params.question()? })
    }

    /// The key of an answer that `identity` may have.
    pub(crate) const fn of_one(self, identity: Identity) -> Key {
        Key { question: self, audience: Some(identity) }
    }

    /// The key of an answer that everybody may have.
    pub(crate) const fn of_all(self) -> Key {
        Key { question: self, audience: None }
    }

    /// The key of an answer of this scope. `None`: it is private, and nobody knows whose.
    pub(crate) fn scoped(self, scope: CacheScope, identity: Option<Identity>) -> Option<Key> {
        match scope {
            CacheScope::Public => Some(self.of_all()),
            CacheScope::Private => identity.map(|identity| self.of_one(identity)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{call::Caller, testing::tool};

    fn key_in(caller: Caller, params: &'static str, (revision, session): (&str, &str)) -> Option<Key> {
        let mut request = Request::new(tool("t"), params);
        request.head.caller = caller;
        request.head.revision = Revision::from_wire(revision);
        request.head.session = Some(Session::of(session.as_bytes()));
        let identity = Identity::of(&request.head, false);
        let key = Question::of(&request)?.scoped(CacheScope::Private, identity);
        // Each request has a target of its own here.
        key.map(|key| Key { question: Question { target: 0, ..key.question }, ..key })
    }

    fn key(caller: Caller, params: &'static str) -> Option<Key> {
        key_in(caller, params, ("", ""))
    }

    #[test]
    fn tenant_principal_and_token_each_make_another_key() {
        let caller = |tenant: &'static str, principal: &'static str, token: &[u8]| {
            Caller::of_tenant(tenant).principal(principal).access_token(token)
        };
        let one = key(caller("a", "b", b"t"), "x");
        assert!(one.is_some() && one == key(caller("a", "b", b"t"), "x"));
        for other in [
            key(caller("A", "b", b"t"), "x"),
            key(caller("a", "B", b"t"), "x"),
            key(caller("a", "b", b"T"), "x"),
            key(Caller::of_tenant("a").access_token(b"t"), "x"),
            key(caller("a", "b", b"t"), "y"),
            key(Caller::of_tenant("a").principal("b"), "x"),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(key(Caller::of_tenant("a").principal("b"), "x"), None, "whose it is is not known");
    }

    #[test]
    fn each_revision_has_answers_of_its_own_and_older_ones_each_session() {
        let key = |said| key_in(Caller::default().access_token(b"t"), "x", said);
        let (old, new) = ("2025-11-25", "2026-07-28");
        assert_ne!(key((old, "s")), key((new, "s")));
        assert_ne!(key((old, "s")), key(("2025-06-18", "s")));
        assert_ne!(key((old, "s")), key((old, "r")));
        assert_ne!(key(("", "s")), key(("", "r")), "it may have sessions");
        assert_eq!(key((new, "s")), key((new, "r")));
        let mut asked = Request::new(tool("t"), "x");
        let unsaid = Question::of(&asked).map(Question::of_all);
        asked.head.session = Some(Session::new());
        assert_eq!(Question::of(&asked).map(Question::of_all), unsaid, "what is everybody's is every session's");
        asked.head.revision = Revision::from_wire(new);
        assert_ne!(Question::of(&asked).map(Question::of_all), unsaid);
    }

    #[test]
    fn methods_that_no_revision_defines_share_a_target_and_so_nothing_else() {
        let target = crate::catalogue::Catalogue::new("up").resolve(&Method::from_wire("x/one"), None, None);
        assert!(Question::of(&Request::new(target, "x")).is_none());
    }
}
