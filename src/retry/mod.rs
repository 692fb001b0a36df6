//! Retry: repeats a call that failed, where that is safe, affordable and in time.
//!
//! What may be repeated is decided by the [`Verdict`](crate::call::Verdict) alone:
//!
//! * *Throttled* and *not sent* say that nothing has happened, so any call is repeated. So is one that a trusted next hop refused
//!   since its caller is over a quota there, if it says when the call may pass.
//! * *Ambiguous* is repeated only where the call is [safe](crate::call::Head::is_idempotent). Otherwise its outcome stays
//!   unknown, and the caller is told so.
//! * A call is never repeated once its caller has seen something of the outcome.
//! * What the sender repeats of a call by its own word in `_meta` ([`ATTEMPT_KEY`](crate::call::ATTEMPT_KEY),
//!   [`Repeats`](crate::call::Repeats)) is not repeated here: layers that repeat multiply. The next hop is told the same of our
//!   own attempts ([`Meta::onward`](crate::call::Meta::onward)).
//!
//! Backoff is full jitter; a delay that the backend names is obeyed if it is at most 5 s longer, else there is no retry and the
//! caller gets the answer with the delay. A repetition has at least as much time left for it as it waits: made with no time left,
//! it would end in doubt, where the first attempt's answer was certain. Every retry is paid from its upstream's [budget](Budget), so that retries stay a small share
//! of the traffic however sick the backend is. A repeated attempt never queues behind fresh calls: if a layer further in refuses
//! it, its tokens go back and the caller gets the answer that there was.
//!
//! * **Error type**: [`BoxError`](crate::BoxError): the last attempt's, inside [`Exhausted`](crate::error::Exhausted) if there
//!   was more than one. [`Rejected`](crate::error::Rejected) with [`Reason::Deadline`](crate::error::Reason::Deadline) if the
//!   inner service was not ready in time. An error or answer that says that nothing happened is in doubt all the same if an
//!   earlier attempt was.
//! * **Order**: inside all that counts logical calls (record, deadline, quota), outside all that counts attempts (breaker,
//!   concurrency, timer).
//! * **Readiness**: always ready. This is where readiness is cut: the inner service is driven to readiness inside the call's
//!   future, until its deadline.
//! * **Bounds**: the inner service is shared by the futures of its calls, so they are `Send` only where it is `Sync`.
//! * **Clones** share the budgets, one for each upstream, and so do two services from one layer. A [handle](RetryHandle) reads
//!   and steers them.
//! * **Drop**: drops the attempt under way, which stays paid; what was paid for one that has not begun is given back.
//! * **Metrics**: [`RETRIES`](crate::metrics::RETRIES), [`RETRIES_SKIPPED`](crate::metrics::RETRIES_SKIPPED),
//!   [`RETRY_BUDGET`](crate::metrics::RETRY_BUDGET).
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use buttress::{BoxError, call::{Method, Request, Response}, catalogue::Catalogue, error::Transport, retry::RetryLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let mut service = ServiceBuilder::new().layer(RetryLayer::default()).service(service_fn(async |_: Request<()>| {
//!     match ATTEMPTS.fetch_add(1, Ordering::Relaxed) {
//!         0 => Err(BoxError::from(Transport::not_sent("connection refused"))),
//!         _ => Ok(Response::new("done")),
//!     }
//! }));
//! let target = Catalogue::new("words").resolve(&Method::ToolsCall, Some("say"), None);
//! let response = service.ready().await?.call(Request::new(target, ())).await?;
//! assert_eq!((response.result, response.attempts), (Ok("done"), 2));
//! # Ok(())
//! # }
//! ```

mod backoff;
mod budget;
mod call;
mod future;
mod handle;
mod layer;
mod policy;
mod service;

#[cfg(feature = "backoff")]
pub use backoff::FromBackoff;
pub use backoff::{Backoff, Cause, FullJitter, FullJitterError, MakeBackoff};
pub use budget::{Budget, BudgetError};
pub use future::RetryFuture;
pub use handle::RetryHandle;
pub use layer::RetryLayer;
pub use service::Retry;

#[cfg(test)]
mod budget_tests;
#[cfg(test)]
mod tests;
