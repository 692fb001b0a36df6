//! The call: what layers see of a request, a response, and what became of both.
//!
//! One MCP call is one call of a `tower::Service<Request<P>, Response = Response<R>>`. [`Request`] is to MCP what
//! `http::Request` is to HTTP: a head that every layer reads, and parameters that only the handler does.

mod atomic_duration;
mod baggage;
mod caller;
pub(crate) mod canonical;
mod criticality;
mod deadline;
mod facts;
mod follower;
mod hint;
mod joint;
mod json;
mod key;
mod label;
mod ledger;
mod meta;
mod method;
mod onward;
mod params;
mod peer;
mod policy;
mod request;
mod response;
mod revision;
mod slot_pool;
mod slots;
mod standing;
mod target;
mod text;
mod trace_context;
mod traced;
mod turn;
mod upstream;
mod verdict;
mod word;

pub(crate) use atomic_duration::AtomicDuration;
pub use baggage::Baggage;
pub(crate) use baggage::LONGEST_BAGGAGE;
pub use caller::{Arrival, Caller, Digest, Identify, OneTenant};
pub use criticality::Criticality;
pub(crate) use deadline::falls_short;
pub use deadline::{Admission, Deadline};
pub use facts::Facts;
pub(crate) use facts::OUTCOME_UNKNOWN;
pub(crate) use follower::{Follower, Followers};
pub use joint::Joint;
pub(crate) use key::{Identity, Key, Question};
pub(crate) use label::{LONGEST, OTHER, is_fit, is_fit_name, is_fit_template};
pub(crate) use meta::CAPABILITIES_KEY;
pub use meta::{
    ATTEMPT_KEY, BAGGAGE_KEY, HARD_TIMEOUT_KEY, IDEMPOTENCY_KEY, Meta, OUTCOME_KEY, REPEATS_KEY, Repeats, TIMEOUT_KEY,
    TRACEPARENT_KEY, TRACESTATE_KEY,
};
pub use method::Method;
pub use onward::Onward;
pub use params::CallParams;
pub use peer::{Asking, Notify, Peer, Progress};
pub use policy::{Failure, JudgeErrors, TargetPolicy};
pub use request::{Head, Request};
pub use response::{CacheScope, CallResult, ErrorObject, Freshness, Refusal, Response, ResultKind, Served};
pub use revision::{Revision, Session};
pub use slot_pool::{HeldSlot, KeptSlot, SlotPool};
pub use slots::Slot;
pub use standing::Standing;
pub use target::{Annotations, Target};
pub(crate) use text::is_unsafe;
pub(crate) use trace_context::LONGEST_CONTEXT;
pub use trace_context::TraceContext;
pub use traced::Traced;
pub use turn::Turn;
pub(crate) use upstream::Upstream;
pub use verdict::Verdict;
pub use word::Word;

#[cfg(test)]
mod joint_tests;
#[cfg(test)]
mod peer_tests;
#[cfg(test)]
mod slots_tests;
#[cfg(test)]
mod trace_context_tests;
#[cfg(test)]
mod turn_tests;
