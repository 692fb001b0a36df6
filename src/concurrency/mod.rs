//! The concurrency limit: so many attempts per target at once, and a bounded queue behind them that is fair to tenants.
//!
//! Whoever finds a slot free takes it. The others wait inside their calls' futures, until their deadlines:
//!
//! * **Tenants take turns** (deficit round robin). A round gives each the time of a typical call, and is paid for with the time
//!   that the tenant's calls really hold slots: so each tenant has an equal share of that time, however many calls it sends and
//!   however slow they are. What a tenant does not use, the others do; up to 64 rounds it may carry over, so one that asks for
//!   less than its share is served before those that ask for more.
//! * **Within a tenant** the more [critical](crate::call::Criticality) calls are first, and among equals who came first. When
//!   whoever waits longest has not waited for less than a twentieth of a typical call (at least 5 ms, at most 500 ms) for 100 ms
//!   (or a typical call, where that takes longer), a line of more than two *stands*: then the last to come is first, since
//!   waiting longer serves nobody sooner, and who has stood for half of its time is [shed](crate::error::Reason::Shed).
//! * **Nobody waits in vain.** A call is shed where it could not end in time: when it comes, if the time until its deadline is
//!   less than it will probably wait and nine of ten of the target's calls take; and when it is its turn. Half of its time a call
//!   may spend waiting in any case. With no deadline, nothing of this holds.
//! * **A full queue** makes room by dropping the least critical call of all tenants', if it is less critical than the newcomer;
//!   or as critical, where its tenant has more waiting than the newcomer's. Of several as critical it is one of the tenant that
//!   has most waiting. It is told [`QueueFull`](crate::error::Reason::QueueFull), and so is a newcomer for whom nobody makes
//!   room.
//! * An attempt that must not wait ([`Admission::NoWait`](crate::call::Admission::NoWait), a retry) is refused when no slot is
//!   free or somebody waits.
//!
//! The limit is a number, or [adapts](ConcurrencyLayer::adaptive) to what the target turns out to serve.
//!
//! Calls that wait for work done elsewhere ([`Method::waits`](crate::call::Method::waits): `tasks/result`) hold a slot for
//! minutes and load nothing. Of them 1,024 may be under way at once, or the layer's own number if that is higher, and none waits
//! for a slot.
//!
//! A slot may outlive its attempt: see [`KeptSlot`](crate::call::KeptSlot). Then more may be held than the limit says, and nobody
//! is let in until there are fewer again. Its tenant is charged with it as with a call that runs: whoever's callers leave early
//! while the server works on has had its share, and the others are served first. Until one comes back, they wait all the same:
//! the limit is the server's protection first, so no slot is given away while the server may still be at work on what it was
//! taken for. A transport draws how long it keeps one, so that those that were lost together do not come back together.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); [`Rejected`](crate::error::Rejected) with
//!   [`QueueFull`](crate::error::Reason::QueueFull), [`NoSlot`](crate::error::Reason::NoSlot),
//!   [`Shed`](crate::error::Reason::Shed), [`Deadline`](crate::error::Reason::Deadline) or
//!   [`Draining`](crate::error::Reason::Draining).
//! * **Order**: inside retry (a slot held during a backoff is a slot wasted) and inside the breaker (its refusals take no
//!   slot); outside the timer, so that waiting does not eat the attempt's own time; outside the classifier, since a typical call
//!   is one that was answered.
//! * **Clones** share the slots of each target, and so do two services from one layer.
//! * **Drop**: gives the slot or the place in the queue back at once; a slot on its way to a call that is dropped goes to the
//!   next.
//! * **Metrics**: [`CONCURRENCY_LIMIT`](crate::metrics::CONCURRENCY_LIMIT),
//!   [`CONCURRENCY_IN_FLIGHT`](crate::metrics::CONCURRENCY_IN_FLIGHT), [`CONCURRENCY_KEPT`](crate::metrics::CONCURRENCY_KEPT),
//!   [`QUEUE_LENGTH`](crate::metrics::QUEUE_LENGTH), [`QUEUE_DURATION`](crate::metrics::QUEUE_DURATION);
//!   [`OBSERVED_REJECTIONS`](crate::metrics::OBSERVED_REJECTIONS) where it only observes.
//! * **Bounds**: the places in the queue; 1024 tenants told apart per target, of those that wait or owe (further ones share a
//!   line).
//!
//! ```
//! use std::num::NonZeroU32;
//! use buttress::{BoxError, call::{Method, Request, Response}, catalogue::Catalogue};
//! use buttress::{concurrency::ConcurrencyLayer, error::Rejected};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let layer = ConcurrencyLayer::new(NonZeroU32::MIN).queue(0);
//! let mut service = ServiceBuilder::new()
//!     .layer(layer.clone())
//!     .service(service_fn(async |_: Request<()>| std::future::pending::<Result<Response<()>, BoxError>>().await));
//! let target = Catalogue::new("words").resolve(&Method::ToolsCall, Some("hang"), None);
//! let first = service.ready().await?.call(Request::new(target.clone(), ()));
//! let second = service.ready().await?.call(Request::new(target.clone(), ())).await;
//! assert_eq!(second.unwrap_err().downcast_ref::<Rejected>().map(Rejected::layer), Some("concurrency"));
//!
//! let status = layer.handle().target(&target).expect("a target with a limit");
//! assert_eq!((status.in_flight, status.limit), (1, 1));
//! drop(first);
//! # Ok(())
//! # }
//! ```

mod adaptive;
mod future;
mod handle;
mod latency;
mod layer;
mod limit;
mod lookout;
mod permit;
mod queue;
mod service;
mod shared;
mod slots;
mod turnstile;

pub use adaptive::{Bounds, BoundsError, Crowd};
pub use future::ConcurrencyFuture;
pub use handle::{ConcurrencyHandle, Status};
pub use layer::ConcurrencyLayer;
pub use limit::{AdaptiveLimit, Sample};
pub use service::Concurrency;

#[cfg(test)]
mod adapting_tests;
#[cfg(test)]
mod kept_tests;
#[cfg(test)]
mod latency_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod turnstile_tests;
