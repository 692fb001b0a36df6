//! The leaf errors of the stack.
//!
//! A layer that cannot let a call through, or loses it on the way, says so with one of these small types behind
//! tower's [`BoxError`]; tower's own layers mix in freely. Nothing is turned into text on the way:
//! [`classify`](crate::classify) reads the types once, [`rescue`](crate::rescue) words them once.

use std::{fmt, sync::Arc, time::Duration};

/// Alias for a type-erased error, the same as tower's.
pub type BoxError = tower::BoxError;

/// Why a layer of this stack said no.
///
/// The names are stable: they are the `reason` label of `buttress_rejections_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The caller's own quota is used up for now.
    Quota,
    /// The upstream rate limit, which all callers share, is used up for now.
    RateLimit,
    /// The circuit breaker is open, or half open with its probe under way.
    BreakerOpen,
    /// The circuit breaker of the upstream as a whole is open, or half open with its probe under way.
    UpstreamOpen,
    /// All slots are taken and the queue is full.
    QueueFull,
    /// All slots are taken, and this attempt must not wait (it is a retry).
    NoSlot,
    /// The call's deadline has passed, or passed while the call waited.
    Deadline,
    /// The same call has been made in vain too often: its caller goes in circles.
    Loop,
    /// The idempotency key has been used for a call with other arguments.
    KeyReused,
    /// The first call under the same idempotency key is still under way.
    InProgress,
    /// The operator has closed the target to new calls.
    Draining,
    /// The call could not be put on record, and calls without a record are not made.
    Unrecorded,
    /// The call was shed for want of room: the queue stood for too long, or a layer from outside this crate
    /// (`tower::load_shed`, say) had none.
    Shed,
}

impl Reason {
    /// All reasons, in the order of their declaration.
    pub const ALL: &'static [Self] = &[
        Self::Quota,
        Self::RateLimit,
        Self::BreakerOpen,
        Self::UpstreamOpen,
        Self::QueueFull,
        Self::NoSlot,
        Self::Deadline,
        Self::Loop,
        Self::KeyReused,
        Self::InProgress,
        Self::Draining,
        Self::Unrecorded,
        Self::Shed,
    ];

    /// The value of the `reason` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quota => "quota",
            Self::RateLimit => "rate_limit",
            Self::BreakerOpen => "breaker_open",
            Self::UpstreamOpen => "upstream_open",
            Self::QueueFull => "queue_full",
            Self::NoSlot => "no_slot",
            Self::Deadline => "deadline",
            Self::Loop => "loop",
            Self::KeyReused => "key_reused",
            Self::InProgress => "in_progress",
            Self::Draining => "draining",
            Self::Unrecorded => "unrecorded",
            Self::Shed => "shed",
        }
    }

    /// What that value means. `None`: it is none of ours.
    pub(crate) fn read(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == name)
    }
}

/// Who shares a limit: what the caller is told of it. A closed set: the names also stand in `_meta` and in HTTP headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// One agent of a tenant, for one target.
    AgentAndTarget,
    /// One agent of a tenant, for all targets together.
    Agent,
    /// One client program of a tenant, for one target.
    ClientAndTarget,
    /// One client program of a tenant, for all targets together.
    Client,
    /// One principal of a tenant, for one target.
    PrincipalAndTarget,
    /// One principal of a tenant, for all targets together.
    Principal,
    /// One tenant, for one target.
    TenantAndTarget,
    /// One tenant, for all targets together.
    Tenant,
    /// Whoever has the same key of the operator's own making, for one target.
    OwnAndTarget,
    /// Whoever has the same key of the operator's own making, for all targets together.
    Own,
    /// All tenants together, for one target.
    Target,
    /// All tenants together, for all targets together.
    All,
}

impl Scope {
    const ALL: [Self; 12] = [
        Self::AgentAndTarget,
        Self::Agent,
        Self::ClientAndTarget,
        Self::Client,
        Self::PrincipalAndTarget,
        Self::Principal,
        Self::TenantAndTarget,
        Self::Tenant,
        Self::OwnAndTarget,
        Self::Own,
        Self::Target,
        Self::All,
    ];

    /// What that name means. `None`: it is none of ours.
    pub(crate) fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    /// Whether all tenants share it: who is over it says how much the target may be asked, and not how much he may.
    pub(crate) const fn is_shared_by_all(self) -> bool {
        matches!(self, Self::Target | Self::All)
    }

    /// A stable lower-case name, for `_meta`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentAndTarget => "agent_and_target",
            Self::Agent => "agent",
            Self::ClientAndTarget => "client_and_target",
            Self::Client => "client",
            Self::PrincipalAndTarget => "principal_and_target",
            Self::Principal => "principal",
            Self::OwnAndTarget => "own_and_target",
            Self::Own => "own",
            Self::TenantAndTarget => "tenant_and_target",
            Self::Tenant => "tenant",
            Self::Target => "target",
            Self::All => "all",
        }
    }
}

/// How much a limit allows, for the sentence that the caller reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allowance {
    /// Calls.
    pub calls: u32,
    /// Per this span of time.
    pub per: Duration,
    /// Who shares it.
    pub scope: Scope,
}

impl Allowance {
    /// So many `calls` `per` this span of time, to be shared by `scope`.
    pub const fn new(calls: u32, per: Duration, scope: Scope) -> Self {
        Self { calls, per, scope }
    }
}

/// A layer of this stack refused the call: the handler never saw it, so nothing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    layer: &'static str,
    reason: Reason,
    retry_after: Option<Duration>,
    allowance: Option<Allowance>,
    never: bool,
}

impl Rejected {
    /// A refusal by the layer named `layer` (the name of its module: `quota`, `breaker`, ...).
    pub const fn new(layer: &'static str, reason: Reason) -> Self {
        Self { layer, reason, retry_after: None, allowance: None, never: false }
    }

    /// The same, saying when the same call may be let through.
    #[must_use]
    pub const fn retry_after(mut self, delay: Option<Duration>) -> Self {
        self.retry_after = delay;
        self
    }

    /// The same, saying what the limit allows.
    #[must_use]
    pub const fn allowing(mut self, allowance: Allowance) -> Self {
        self.allowance = Some(allowance);
        self
    }

    /// The same, saying that no waiting helps: the limit never admits a call of this cost.
    #[must_use]
    pub const fn never(mut self) -> Self {
        self.never = true;
        self
    }

    /// The layer that refused.
    pub const fn layer(&self) -> &'static str {
        self.layer
    }

    /// Why.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// When the same call may be let through, if the layer knows. `None` also where waiting would not help.
    pub const fn delay(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether no waiting helps: a limit that never admits a call of this cost.
    pub const fn is_final(&self) -> bool {
        self.never
    }

    /// What the limit allows, if the layer has a limit that can be said in calls per time.
    pub const fn allowance(&self) -> Option<Allowance> {
        self.allowance
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused by {}: {}", self.layer, self.reason.as_str())
    }
}

impl std::error::Error for Rejected {}

/// Which clock ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clock {
    /// The limit of one attempt; another attempt may follow.
    Attempt,
    /// The soft end of the call, which progress moves.
    Soft,
    /// No progress for too long, once there had been some.
    Idle,
    /// The hard end of the call, which nothing moves.
    Hard,
    /// The end that the caller had set, or the hard one while a person was asked, before the attempt had had a [fair
    /// time](crate::timeout#a-fair-time); or any end of a call that [waits](crate::call::Method::waits): that says nothing of the
    /// target.
    Patience,
}

impl Clock {
    /// All clocks, in the order of their declaration.
    pub const ALL: &'static [Self] = &[Self::Attempt, Self::Soft, Self::Idle, Self::Hard, Self::Patience];

    /// The value of the `kind` label of `buttress_timeouts_total`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Soft => "soft",
            Self::Idle => "idle",
            Self::Hard => "hard",
            Self::Patience => "patience",
        }
    }
}

/// An attempt that was under way ran out of time: whether it had an effect is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out after {} ms ({})", .after.as_millis(), .clock.as_str())]
#[non_exhaustive]
pub struct TimedOut {
    /// Which clock ran out.
    pub clock: Clock,
    /// How long the attempt had been under way.
    pub after: Duration,
}

impl TimedOut {
    /// `clock` ran out, when the attempt had been under way for as long as `after`.
    pub const fn new(clock: Clock, after: Duration) -> Self {
        Self { clock, after }
    }
}

/// What is known about a message that a transport lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// It never left: the connection was refused, the child is not running, the stream was refused.
    NotSent,
    /// It may have arrived: reset, or end of stream, after it was sent.
    Unknown,
}

/// The transport lost the call.
#[derive(Debug, thiserror::Error)]
#[error("transport failed ({})", match .delivery { Delivery::NotSent => "not sent", Delivery::Unknown => "delivery unknown" })]
pub struct Transport {
    delivery: Delivery,
    source: Option<BoxError>,
}

impl Transport {
    /// The request never left.
    pub fn not_sent(source: impl Into<BoxError>) -> Self {
        Self { delivery: Delivery::NotSent, source: Some(source.into()) }
    }

    /// The request may have arrived.
    pub fn unknown(source: impl Into<BoxError>) -> Self {
        Self { delivery: Delivery::Unknown, source: Some(source.into()) }
    }

    /// What is known about the delivery.
    pub const fn delivery(&self) -> Delivery {
        self.delivery
    }
}

/// The peer answered with an HTTP status instead of an MCP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("HTTP status {code}")]
#[non_exhaustive]
pub struct HttpStatus {
    /// The status code.
    pub code: u16,
    /// The `Retry-After` header, if there was one.
    pub retry_after: Option<Duration>,
    /// Whether the request carried a session id (revisions up to 2025-11-25): a 404 then means that the session is gone.
    pub in_session: bool,
}

impl HttpStatus {
    /// This status, outside of any session, and no word on when to come back.
    pub const fn new(code: u16) -> Self {
        Self { code, retry_after: None, in_session: false }
    }

    /// The same with `Retry-After`.
    #[must_use]
    pub const fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The same, to a request that carried a session id.
    #[must_use]
    pub const fn in_session(mut self) -> Self {
        self.in_session = true;
        self
    }
}

/// The handler panicked. The panic's own words go to the log, never to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the handler panicked")]
pub struct Panicked;

/// A call that was attempted more than once and still ended in an error; the last error is the source.
#[derive(Debug, thiserror::Error)]
#[error("failed after {attempts} attempts")]
pub struct Exhausted {
    /// How many attempts were made.
    pub attempts: u32,
    source: BoxError,
}

impl Exhausted {
    /// Wraps the last error of a call that took `attempts` attempts.
    pub fn new(attempts: u32, source: BoxError) -> Self {
        Self { attempts, source }
    }
}

/// The failure of a call that was made for several: the same for each of them, and the source of each one's own error.
#[derive(Debug, Clone)]
pub struct SharedFailure(Arc<BoxError>);

impl SharedFailure {
    /// Lets several have one error.
    pub fn new(source: BoxError) -> Self {
        Self(Arc::new(source))
    }
}

impl fmt::Display for SharedFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call that this one shared failed")
    }
}

impl std::error::Error for SharedFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&**self.0)
    }
}

/// The first error of type `E` in a chain of sources, starting with `error` itself.
pub fn find<'a, E: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
