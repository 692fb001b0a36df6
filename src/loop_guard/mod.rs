//! The loop guard: slows down, and then stops, an agent that makes the same call over and over although it keeps failing.
//!
//! A model that does not understand an error repeats the call that caused it. To the backend this is load; to a circuit breaker
//! it is a failing tool, so that one agent in a loop shuts out all others. The guard counts, per agent and per call (target,
//! name, arguments, what continues an earlier call, and the access token), how often in a row the outcome was the same:
//!
//! * **Failures** (`isError`, an error that blames the request, denies it or leaves the outcome in doubt): two are free, the next
//!   calls have to come 1, 2 and 4 s after the failure before, and after the fifth the call is blocked for five minutes. Then one
//!   call is let through as a trial; while it is under way, and if it fails in the same way, the others stay out. Other arguments
//!   are another call, and so is one with a renewed token; another outcome begins a new count.
//! * **Failures that differ**: errors often hold a request id or the time, so the text alone does not tell whether anything
//!   moves. After ten failures in a row, whatever they say, the call is blocked all the same. An agent that asks until something
//!   is ready, and gets an error until then, is no exception: [`Settings::any_failures_to_block`] makes it one.
//! * **Successes** pass, however often they are the same: asking again whether something is done is what polling is, and a
//!   status seldom changes as often as it is asked for. If you know that your agents do not share one name, you can have them
//!   spaced too: [`Settings::identical_successes`].
//! * **What the backend never executed** (refused by this stack, throttled, not sent) says nothing about the call, and neither
//!   counts nor ends a count: retry, breaker and quotas deal with it. The same goes for a caller that leaves.
//! * **What a client repeats of its own accord**, and marks so ([`ATTEMPT_KEY`](crate::call::ATTEMPT_KEY)), is one call: its
//!   further attempts neither wait nor count, unless one goes well. A mark can be forged, so at most eight go with a count, two
//!   for each of the first four outcomes ([`Settings::client_retries`]), and the budget counts them all.
//! * **Ping-pong**: an agent that goes to and fro between two calls, both failing as they did before, is counted as if it were
//!   one.
//! * **Budget**: if you set one, so many calls of any kind per agent and time.
//!
//! An agent is told apart by all that is known of it: its tenant; the session, in revisions that have some; the name that the
//! [`Caller`](crate::call::Caller) gives it, else the client's; and its principal, else its access token. So nobody pays for what
//! another user of the same client did. Those of whom no more is known than the client's name are one agent: let
//! [`Identify`](crate::call::Identify) tell them apart. Only agents whose last calls failed take memory, and both the agents and
//! the calls of each are bounded; beyond the bound the oldest are forgotten.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); [`Rejected`](crate::error::Rejected) with
//!   [`Reason::Loop`](crate::error::Reason::Loop), or [`Reason::Quota`](crate::error::Reason::Quota) where it is the agent's
//!   budget, and the time until asking again is worth it.
//! * **Order**: just inside the deadline, outside all else that decides: it must see what the agent sees, and what it refuses
//!   must take nothing from a quota.
//! * **Clones** share the counts, and so do two services from one layer.
//! * **Drop**: counts nowhere; if it was the trial, the next call becomes the trial.
//! * **Observe-only**: [`LoopGuardLayer::mode`].
//! * **Metrics**: [`LOOPS`](crate::metrics::LOOPS), [`OBSERVED_REJECTIONS`](crate::metrics::OBSERVED_REJECTIONS).
//!
//! ```
//! use buttress::{BoxError, call::{Method, Request, Response}, catalogue::Catalogue, error::{Reason, Rejected, Transport}};
//! use buttress::loop_guard::LoopGuardLayer;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let mut service = ServiceBuilder::new().layer(LoopGuardLayer::default()).service(service_fn(
//!     async |_: Request<&'static str>| Err::<Response<()>, BoxError>(Transport::unknown("reset").into()),
//! ));
//! let target = Catalogue::new("words").resolve(&Method::ToolsCall, Some("say"), None);
//! for _ in 0..2 {
//!     let error = service.ready().await?.call(Request::new(target.clone(), "hello")).await.unwrap_err();
//!     assert!(error.is::<Transport>());
//! }
//! let error = service.ready().await?.call(Request::new(target.clone(), "hello")).await.unwrap_err();
//! assert_eq!(error.downcast_ref::<Rejected>().map(Rejected::reason), Some(Reason::Loop));
//! let error = service.ready().await?.call(Request::new(target, "something else")).await.unwrap_err();
//! assert!(error.is::<Transport>());
//! # Ok(())
//! # }
//! ```

mod agent;
mod agents;
mod future;
mod handle;
mod key;
mod layer;
mod outcome;
mod ping_pong;
mod policy;
mod service;
mod streak;

pub use future::LoopGuardFuture;
pub use handle::{AgentState, LoopGuardHandle};
pub use layer::LoopGuardLayer;
pub use policy::{Policy, PolicyError, Settings};
pub use service::LoopGuard;

#[cfg(test)]
mod tests;
