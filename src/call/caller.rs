//! Who is calling.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hash},
    sync::{Arc, LazyLock},
};

use super::{Criticality, Session};

/// A keyed hash of 128 bits. The keys are drawn once per process, so nobody outside can aim at a collision, and a digest says
/// nothing about what was hashed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(u128);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_parts(&bytes)
    }

    /// The digest of several things, of which none can pass for a part of another.
    pub(crate) fn of_parts(parts: &impl Hash) -> Self {
        static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);
        let [low, high] = &*KEYS;
        Self(u128::from(high.hash_one(parts)) << 64 | u128::from(low.hash_one(parts)))
    }

    pub(crate) const fn bits(self) -> u128 {
        self.0
    }
}

/// Digests are not for eyes: a log line must not let anybody compare tokens.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// Who is calling: the tenant that pays, the principal that acts, the agent that loops, and a digest of its authorisation.
///
/// Cheap to clone. The default is one tenant, anonymous: right for stdio, where a server has one caller.
//
// `None` is the default: its calls are all of one caller, and their threads would meet where that is counted.
#[derive(Clone, Default)]
pub struct Caller(Option<Arc<Identity>>);

#[derive(Debug, Clone)]
struct Identity {
    tenant: Arc<str>,
    tenant_digest: Digest,
    principal: Option<Arc<str>>,
    principal_digest: Option<Digest>,
    client: Option<Arc<str>>,
    agent: Option<Arc<str>>,
    authorisation: Option<Digest>,
    criticality: Criticality,
}

impl Identity {
    fn of_tenant(tenant: Arc<str>) -> Self {
        Self {
            tenant_digest: tenant_digest(&tenant),
            tenant,
            principal: None,
            principal_digest: None,
            client: None,
            agent: None,
            authorisation: None,
            criticality: Criticality::default(),
        }
    }

    /// Of the default caller.
    fn anonymous() -> &'static Self {
        static DEFAULT: LazyLock<Identity> = LazyLock::new(|| Identity::of_tenant("default".into()));
        &DEFAULT
    }
}

impl Caller {
    /// A caller of this tenant, otherwise anonymous.
    pub fn of_tenant(tenant: impl Into<Arc<str>>) -> Self {
        Self(Some(Arc::new(Identity::of_tenant(tenant.into()))))
    }

    fn identity(&self) -> &Identity {
        match &self.0 {
            Some(identity) => identity,
            None => Identity::anonymous(),
        }
    }

    fn identity_mut(&mut self) -> &mut Identity {
        Arc::make_mut(self.0.get_or_insert_with(|| Arc::new(Identity::anonymous().clone())))
    }

    /// The same, of this tenant.
    #[must_use]
    pub fn in_tenant(mut self, tenant: impl Into<Arc<str>>) -> Self {
        let (tenant, identity) = (tenant.into(), self.identity_mut());
        (identity.tenant_digest, identity.tenant) = (tenant_digest(&tenant), tenant);
        match identity.principal.clone() {
            // Two tenants' principals of one name are two.
            Some(principal) => self.principal(principal),
            None => self,
        }
    }

    /// The same, acting as this principal (the subject of its token, say).
    #[must_use]
    pub fn principal(mut self, principal: impl Into<Arc<str>>) -> Self {
        let (principal, identity) = (principal.into(), self.identity_mut());
        identity.principal_digest = Some(Digest::of_parts(&(identity.tenant_digest, &principal)));
        identity.principal = Some(principal);
        self
    }

    /// The same, by this client program: its own word for itself, or a registered name where the server knows one.
    #[must_use]
    pub fn client(mut self, client: impl Into<Arc<str>>) -> Self {
        self.identity_mut().client = Some(client.into());
        self
    }

    /// The same, as this agent: what tells two agents of one tenant apart. The session's [pseudonym](super::Session::pseudonym)
    /// where there is one, and not its id: the name stands in the audit trail, and who knows the id can speak in the session.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<Arc<str>>) -> Self {
        self.identity_mut().agent = Some(agent.into());
        self
    }

    /// The same, with this access token. Only its digest is kept.
    #[must_use]
    pub fn access_token(mut self, token: &[u8]) -> Self {
        self.identity_mut().authorisation = Some(Digest::of(token));
        self
    }

    /// The same, with calls that matter this much. Default: [`Criticality::Critical`].
    #[must_use]
    pub fn criticality(mut self, criticality: Criticality) -> Self {
        self.identity_mut().criticality = criticality;
        self
    }

    /// Whose quota, share and budget the call draws on.
    pub fn tenant(&self) -> &str {
        &self.identity().tenant
    }

    /// Tells tenants apart without their names. A name is hashed behind a prefix, so that none is [`nobody`].
    ///
    /// [`nobody`]: Self::nobody
    pub(crate) fn tenant_digest(&self) -> Digest {
        self.identity().tenant_digest
    }

    /// The digest of no tenant: what all share.
    pub(crate) fn nobody() -> Digest {
        Digest::of(b"all tenants")
    }

    /// Who acts, if known.
    pub fn principal_name(&self) -> Option<&str> {
        self.identity().principal.as_deref()
    }

    /// Which client program, if known.
    pub fn client_name(&self) -> Option<&str> {
        self.identity().client.as_deref()
    }

    pub(crate) fn principal_arc(&self) -> Option<Arc<str>> {
        self.identity().principal.clone()
    }

    /// Which agent, if known.
    pub fn agent_name(&self) -> Option<&str> {
        self.identity().agent.as_deref()
    }

    /// How much its calls matter.
    pub fn importance(&self) -> Criticality {
        self.identity().criticality
    }

    /// The digest of the caller's access token; `None` is an anonymous caller.
    pub fn authorisation(&self) -> Option<Digest> {
        self.identity().authorisation
    }

    /// Tells who was listed what, and whose idempotency key it is: the principal of a tenant, who stays the same when its token
    /// is renewed, else the access token. `None`: a caller who cannot be told from any other.
    pub fn audience(&self) -> Option<Digest> {
        self.identity().principal_digest.or(self.identity().authorisation)
    }
}

fn tenant_digest(tenant: &str) -> Digest {
    Digest::of(&[b"tenant ", tenant.as_bytes()].concat())
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(self.identity()).finish()
    }
}

/// What a server can see of a caller when a call arrives.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Arrival<'a> {
    /// The HTTP request that brought the call, if HTTP did. Extensions that outer layers set (an authenticated subject, a
    /// peer address) are in here.
    pub parts: Option<&'a http::request::Parts>,
    /// The name in the client's `clientInfo`: the client's own word.
    pub client: Option<&'a str>,
}

/// Tells who is calling. The server names one, once: a plain function will do.
///
/// Whatever names the tenant must have been checked before: who may make up a name has a new quota with each. It stands in the
/// audit trail, so it is no secret. Begin with [`OneTenant`], which knows agents and access tokens: without them a tenant's
/// callers are one agent to the loop guard, and share neither what is kept nor idempotency keys.
///
/// ```
/// use buttress::call::{Arrival, Caller, Identify, OneTenant};
///
/// /// The proxy in front has checked who it is, and says so.
/// fn by_tenant(arrival: &Arrival<'_>) -> Caller {
///     let caller = OneTenant.identify(arrival);
///     match arrival.parts.and_then(|parts| parts.headers.get("x-tenant")?.to_str().ok()) {
///         Some(tenant) => caller.in_tenant(tenant),
///         None => caller,
///     }
/// }
///
/// let request = http::Request::builder().header("x-tenant", "acme").header("authorization", "Bearer s3cret");
/// let (parts, ()) = request.body(())?.into_parts();
/// let mut arrival = Arrival::default();
/// arrival.parts = Some(&parts);
/// let caller = by_tenant.identify(&arrival);
/// assert_eq!((caller.tenant(), caller.audience().is_some()), ("acme", true));
/// # Ok::<(), http::Error>(())
/// ```
pub trait Identify: Send + Sync {
    /// The caller behind this arrival.
    fn identify(&self, arrival: &Arrival<'_>) -> Caller;
}

impl<F> Identify for F
where
    F: Fn(&Arrival<'_>) -> Caller + Send + Sync,
{
    fn identify(&self, arrival: &Arrival<'_>) -> Caller {
        self(arrival)
    }
}

/// The default: one tenant; the client is what it calls itself; the agent is the MCP session, by what
/// [stands for it](super::Session::pseudonym), else that name; the authorisation is the `Authorization` header's.
#[derive(Debug, Clone, Copy, Default)]
pub struct OneTenant;

impl Identify for OneTenant {
    fn identify(&self, arrival: &Arrival<'_>) -> Caller {
        let header = |name| arrival.parts.and_then(|parts: &http::request::Parts| parts.headers.get(name));
        let session = header("mcp-session-id").map(|id| Session::of(id.as_bytes()).pseudonym());
        let mut caller = Caller::default();
        if let Some(client) = arrival.client {
            caller = caller.client(client);
        }
        if let Some(agent) = session.map(Arc::<str>::from).or_else(|| arrival.client.map(Arc::from)) {
            caller = caller.agent(agent);
        }
        if let Some(token) = header("authorization") {
            caller = caller.access_token(token.as_bytes());
        }
        caller
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_names_the_agent_and_hides_the_token_and_the_session() {
        let (parts, ()) = http::Request::builder()
            .header("authorization", "Bearer s3cret")
            .header("mcp-session-id", "s-1")
            .body(())
            .unwrap()
            .into_parts();
        let caller = OneTenant.identify(&Arrival { parts: Some(&parts), client: Some("claude") });
        let agent = Session::of(b"s-1").pseudonym();
        assert_eq!((caller.tenant(), caller.client_name(), caller.agent_name()), ("default", Some("claude"), Some(&*agent)));
        assert_eq!(caller.authorisation(), Some(Digest::of(b"Bearer s3cret")));
        assert!(["s3cret", "s-1"].iter().all(|hidden| !format!("{caller:?}").contains(hidden)));

        let of = |tenant: &str| caller.clone().principal("ann").in_tenant(tenant.to_owned());
        assert_eq!(of("acme").tenant_digest(), Caller::of_tenant("acme").tenant_digest());
        assert_eq!(of("acme").audience(), Caller::of_tenant("acme").principal("ann").audience());
        assert_ne!(of("acme").audience(), of("other").audience());

        let stdio = OneTenant.identify(&Arrival { parts: None, client: Some("claude") });
        assert_eq!((stdio.agent_name(), stdio.authorisation()), (Some("claude"), None));
    }
}
