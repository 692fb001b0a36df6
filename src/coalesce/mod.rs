//! Coalescing: calls that ask the same at the same time are one call to the upstream, and share its answer.
//!
//! Off until you ask for it. A call is shared only if it [only reads](crate::call::Target::is_read_only) and may be repeated (a
//! write that may be repeated is not shared: another may have come between the two), and only among callers of one tenant,
//! principal and access token: what an answer says of its `cacheScope` is known too late. Callers without authorisation share
//! nothing, unless the transport has one caller only ([`single_caller`](CoalesceLayer::single_caller)); nor do callers of two
//! revisions, or up to 2025-11-25 of two [sessions](crate::call::Session), or since then of clients that declare other
//! capabilities. Never shared: calls that continue an earlier one (`inputResponses`, `requestState`), calls whose arguments
//! cannot be read, and calls whose caller asked for progress (as rmcp's clients do with each request), since a shared call has
//! nobody to tell it to; and calls that must not wait, or that nobody needs (a fetch in the background). Calls of two classes
//! of [criticality](crate::call::Criticality) are not one, nor are one that the sender repeats itself and one that this stack
//! repeats: who joins fares as the first does. Nor is an answer shared that asks its client for input, or is a task, or says
//! what that client cannot do: who joined such a call makes one of its own then.
//!
//! The shared call is polled by those who wait for it, and is not a task of its own: it ends with the last of them, never with
//! the first. Its deadline is the latest of theirs, as [`Joint`](crate::call::Joint) says; each waiter still leaves at its own.
//! The next hop is told nothing of how long they wait, since one who waits longer may still join: it hears when the last has
//! left.
//!
//! * **Error type**: [`BoxError`](crate::BoxError). A failure that several share is the [source](std::error::Error::source) of a
//!   [`SharedFailure`](crate::error::SharedFailure); [`TimedOut`](crate::error::TimedOut) for a waiter whose own deadline comes
//!   first, which is [`Hurried`](crate::call::Verdict::Hurried) where it gave less than a
//!   [fair time](crate::timeout#a-fair-time); [`Panicked`](crate::error::Panicked) for all if the inner service panics.
//! * **Order**: outside retry, so that all attempts are shared; inside the cache, so that its misses are one.
//! * **Answers** to those who joined are [`Served::Shared`](crate::call::Served::Shared), and carry nothing of the request that
//!   was sent. An answer may be about a state that is older than a joiner's request, by as much as the call had been under way.
//! * **Handlers** behind rmcp find the peer of whichever session was first in their context. A read that asks a person something
//!   should not be shared.
//! * **Clones** share the calls under way, and so do two services from one layer around one type of service.
//! * **Bounds**: so many calls under way at most ([`capacity`](CoalesceLayer::capacity)); beyond, calls pass unshared. The inner
//!   service is moved into the shared call, so `Send` is asked of it.
//! * **Cost**: a call that is shared, or might be, allocates five times; what is not shared, never. Each time the upstream's
//!   future wakes, all waiters are woken, so that none depends on another being polled.
//! * **Drop**: leaves; the last to leave drops the call.
//! * **Metrics**: [`COALESCED`](crate::metrics::COALESCED).
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use buttress::{BoxError, call::{Method, Request, Response, Served}, catalogue::Catalogue, coalesce::CoalesceLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! static CALLS: AtomicU32 = AtomicU32::new(0);
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let mut service = ServiceBuilder::new().layer(CoalesceLayer::new().single_caller()).service(service_fn(async |_: Request<()>| {
//!     tokio::task::yield_now().await;
//!     Ok::<_, BoxError>(Response::new(format!("list {}", CALLS.fetch_add(1, Ordering::Relaxed))))
//! }));
//! let target = Catalogue::new("words").resolve(&Method::ToolsList, None, None);
//! let first = service.ready().await?.call(Request::new(target.clone(), ()));
//! let second = service.ready().await?.call(Request::new(target, ()));
//! let (first, second) = tokio::try_join!(first, second)?;
//! assert_eq!((first.result, second.result), (Ok("list 0".to_owned()), Ok("list 0".to_owned())));
//! assert_eq!((first.served, second.served), (Served::Attempt, Served::Shared));
//! # Ok(())
//! # }
//! ```

mod alike;
mod bell;
mod flight;
mod flights;
mod future;
mod handle;
mod layer;
mod service;
mod work;

use alike::Alike;

pub use future::CoalesceFuture;
pub use handle::CoalesceHandle;
pub use layer::CoalesceLayer;
pub use service::Coalesce;

#[cfg(test)]
mod bell_tests;
#[cfg(test)]
mod flight_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
