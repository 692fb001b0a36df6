//! The call: what layers see of a request, a response, and what became of both.
//!
//! One MCP call is one call of a `tower::Service<Request<P>, Response = Response<R>>`. [`Request`] is to MCP what
//! `http::Request` is to HTTP: a head that every layer reads, and parameters that only the handler does.

mod caller;
mod deadline;
mod meta;
mod method;
mod peer;
mod request;
mod response;
mod slots;
mod target;
mod upstream;
mod verdict;
mod word;

pub use caller::{Arrival, Caller, Digest, Identify, OneTenant};
pub use deadline::{Admission, Deadline};
pub use meta::{IDEMPOTENCY_KEY, Meta};
pub use method::Method;
pub use peer::{Notify, Peer, Progress};
pub use request::{Head, Request};
pub use response::{CallResult, ErrorObject, Refusal, Response, ResultKind};
pub use slots::Slot;
pub use target::{Annotations, Target, TargetPolicy};
pub(crate) use upstream::Upstream;
pub use verdict::Verdict;
pub use word::Word;
