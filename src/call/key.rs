//! When two calls are the same call, as far as their answer goes.

use std::sync::Arc;

use super::{CacheScope, CallParams, Caller, Digest, Method, Request};

/// What an answer is an answer to, and who may have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    target: u64,
    arguments: Digest,
    /// `None`: everybody.
    audience: Option<Identity>,
}

/// One authorisation, as one principal, of one tenant. A different access token is a different identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    tenant: Digest,
    principal: Option<Arc<str>>,
    authorisation: Option<Digest>,
}

impl Identity {
    /// Who calls. `None`: a caller without authorisation, who cannot be told from any other, unless there is only one.
    pub(crate) fn of(caller: &Caller, single_caller: bool) -> Option<Self> {
        let authorisation = caller.authorisation();
        (single_caller || authorisation.is_some()).then(|| Self {
            tenant: caller.tenant_digest(),
            principal: caller.principal_arc(),
            authorisation,
        })
    }
}

/// A call that is the same as another if the other asks the same; so far without a word on who may have the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    target: u64,
    arguments: Digest,
}

impl Question {
    /// `None`: no other call is known to be the same. So with arguments that cannot be read; with a call that continues an
    /// earlier one, since its answer depends on what is not part of the question; and with methods that no revision defines,
    /// which share one target whatever they are called.
    pub(crate) fn of<P: CallParams>(request: &Request<P>) -> Option<Self> {
        let target = &request.head.target;
        if matches!(target.method(), Method::Custom(_)) || request.params.continuation().is_some() {
            return None;
        }
        Some(Self { target: target.id(), arguments: request.params.arguments()? })
    }

    /// The key of an answer that `identity` may have.
    pub(crate) const fn of_one(self, identity: Identity) -> Key {
        Key { target: self.target, arguments: self.arguments, audience: Some(identity) }
    }

    /// The key of an answer that everybody may have.
    pub(crate) const fn of_all(self) -> Key {
        Key { target: self.target, arguments: self.arguments, audience: None }
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
    use crate::testing::tool;

    fn key(caller: Caller, params: &'static str) -> Option<Key> {
        let identity = Identity::of(&caller, false);
        let mut request = Request::new(tool("t"), params);
        request.head.caller = caller;
        Question::of(&request)?.scoped(CacheScope::Private, identity).map(|key| Key { target: 0, ..key })
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
    fn methods_that_no_revision_defines_share_a_target_and_so_nothing_else() {
        let target = crate::catalogue::Catalogue::new("up").resolve(&Method::from_wire("x/one"), None, None);
        assert!(Question::of(&Request::new(target, "x")).is_none());
    }
}
