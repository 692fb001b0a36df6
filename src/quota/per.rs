//! Per whom a limit counts.

use std::{fmt, ptr::fn_addr_eq};

use crate::{
    call::{Digest, Head},
    error::Scope,
};

/// Odd, and with bits all over: the golden ratio's.
const SPREAD: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;

/// Per whom, and per what, a limit counts: calls that agree in all these parts share one cell.
///
/// Agents, clients and principals are told apart within their tenant only, so a limit of theirs holds the tenant's name as
/// well. Callers that have no such name share one cell of their tenant. Agents and clients often say themselves who they are
/// (see [`Caller`](crate::call::Caller)): who is limited by such a name can take another, so put a limit per tenant beside it.
///
/// ```
/// use buttress::{call::{Digest, Head}, error::Scope, quota::Per};
///
/// assert_eq!(Per::AGENT.and(Per::TARGET).scope(), Scope::AgentAndTarget);
///
/// /// A limit for callers with an access token, wherever they come from; it does not count the others.
/// fn by_token(head: &Head) -> Option<Digest> {
///     head.caller.authorisation()
/// }
/// assert_eq!(Per::key_by(by_token).scope(), Scope::Own);
/// ```
#[derive(Clone, Copy)]
pub struct Per {
    parts: u8,
    own: Option<fn(&Head) -> Option<Digest>>,
}

const TARGET: u8 = 1;
const TENANT: u8 = 1 << 1;
const PRINCIPAL: u8 = 1 << 2;
const CLIENT: u8 = 1 << 3;
const AGENT: u8 = 1 << 4;
const OWN: u8 = 1 << 5;

impl Per {
    /// All calls together.
    pub const ALL: Self = Self::parts(0);
    /// Each target: a tool, a prompt, a method.
    pub const TARGET: Self = Self::parts(TARGET);
    /// Each tenant.
    pub const TENANT: Self = Self::parts(TENANT);
    /// Each principal of each tenant.
    pub const PRINCIPAL: Self = Self::parts(PRINCIPAL | TENANT);
    /// Each client program of each tenant.
    pub const CLIENT: Self = Self::parts(CLIENT | TENANT);
    /// Each agent of each tenant: each session, where there are sessions.
    pub const AGENT: Self = Self::parts(AGENT | TENANT);

    const fn parts(parts: u8) -> Self {
        Self { parts, own: None }
    }

    /// A key of your own making. A call for which `key` gives `None` is not counted under this limit.
    pub const fn key_by(key: fn(&Head) -> Option<Digest>) -> Self {
        Self { parts: OWN, own: Some(key) }
    }

    /// The parts of both. Of two keys of your own making, the second counts.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        let own = if other.own.is_some() { other.own } else { self.own };
        Self { parts: self.parts | other.parts, own }
    }

    /// What callers are told of it: its narrowest part, and whether it is of one target.
    pub const fn scope(self) -> Scope {
        match (self.narrowest(), self.has(TARGET)) {
            (AGENT, true) => Scope::AgentAndTarget,
            (AGENT, false) => Scope::Agent,
            (CLIENT, true) => Scope::ClientAndTarget,
            (CLIENT, false) => Scope::Client,
            (PRINCIPAL, true) => Scope::PrincipalAndTarget,
            (PRINCIPAL, false) => Scope::Principal,
            (TENANT, true) => Scope::TenantAndTarget,
            (TENANT, false) => Scope::Tenant,
            (OWN, true) => Scope::OwnAndTarget,
            (OWN, false) => Scope::Own,
            (_, true) => Scope::Target,
            (_, false) => Scope::All,
        }
    }

    /// The order of decision: a caller's own limits come before those that others share, so that who is over its own takes
    /// nothing from them.
    pub(super) const fn rank(self) -> (u8, bool) {
        let width = match self.narrowest() {
            AGENT => 0,
            CLIENT => 1,
            PRINCIPAL => 2,
            TENANT => 3,
            OWN => 4,
            _ => 5,
        };
        (width, !self.has(TARGET))
    }

    /// Whether both count per the same parts. Two keys of your own making are not told apart.
    pub(super) const fn is_like(self, other: Self) -> bool {
        self.parts == other.parts
    }

    /// Whether both count alike: per the same parts, and by the same key of your own making.
    pub(super) fn is_same(self, other: Self) -> bool {
        let same_key = match (self.own, other.own) {
            (Some(one), Some(other)) => fn_addr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        self.is_like(other) && same_key
    }

    /// Whether it is per tenant, per target, per both or per neither: there is always room for those four.
    pub(super) const fn is_named(self) -> bool {
        self.parts & !(TENANT | TARGET) == 0
    }

    /// Whether the calls that it counts cannot be known beforehand.
    pub(super) const fn is_own(self) -> bool {
        self.has(OWN)
    }

    const fn has(self, part: u8) -> bool {
        self.parts & part != 0
    }

    const fn narrowest(self) -> u8 {
        if self.has(AGENT) {
            AGENT
        } else if self.has(CLIENT) {
            CLIENT
        } else if self.has(PRINCIPAL) {
            PRINCIPAL
        } else if self.has(TENANT) {
            TENANT
        } else {
            self.parts & OWN
        }
    }

    /// The name of the cell that `head` is counted in. Whatever a caller can choose comes in as a keyed digest, so nobody can
    /// aim at a collision; the target's number and the parts only have to tell this process's own cells apart.
    #[inline]
    pub(super) fn cell(self, head: &Head) -> Option<u128> {
        let mut cell = u128::from(self.parts).wrapping_mul(SPREAD);
        let mut mix = |part: u128| cell = (cell ^ part).wrapping_mul(SPREAD);
        let caller = &head.caller;
        if self.has(TENANT) {
            mix(caller.tenant_digest().bits());
        }
        let named = |name: Option<&str>| name.map_or(0, |name| Digest::of(name.as_bytes()).bits());
        if self.has(PRINCIPAL) {
            mix(named(caller.principal_name()));
        }
        if self.has(CLIENT) {
            mix(named(caller.client_name()));
        }
        if self.has(AGENT) {
            mix(named(caller.agent_name()));
        }
        if let Some(own) = self.own {
            mix(own(head)?.bits());
        }
        if self.has(TARGET) {
            mix(head.target.id().into());
        }
        Some(cell)
    }
}

impl fmt::Debug for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Per").field(&self.scope().as_str()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{call::Request, testing::tool};

    fn of_token(head: &Head) -> Option<Digest> {
        head.caller.authorisation()
    }

    fn of_all(_: &Head) -> Option<Digest> {
        Some(Digest::of(b"all"))
    }

    #[test]
    fn a_callers_own_limits_are_decided_before_those_that_it_shares() {
        let in_order = [Per::AGENT, Per::CLIENT, Per::PRINCIPAL, Per::TENANT, Per::key_by(of_all), Per::ALL];
        let ranks: Vec<_> = in_order.into_iter().flat_map(|per| [per.and(Per::TARGET), per]).map(Per::rank).collect();
        assert!(ranks.is_sorted_by(|one, next| one < next), "{ranks:?}");
    }

    #[test]
    fn keys_of_ones_own_are_the_same_if_they_are_one_function() {
        let (token, all) = (Per::key_by(of_token), Per::key_by(of_all));
        assert!(token.is_same(token) && !token.is_same(all) && token.is_like(all));
        assert!(!token.is_same(Per::ALL) && !Per::ALL.is_same(token));
        assert!(Per::ALL.is_same(Per::ALL) && !Per::ALL.is_same(Per::TENANT));
        // Parts that say there is a key, and none: no way leads there but this.
        assert!(!token.is_same(Per { own: None, ..token }) && !Per { own: None, ..token }.is_same(token));
    }

    #[test]
    fn no_two_targets_share_a_cell() {
        let cells: HashSet<_> =
            (0..256).filter_map(|_| Per::TENANT.and(Per::TARGET).cell(&Request::new(tool("t"), ()).head)).collect();
        assert_eq!(cells.len(), 256);
    }
}
