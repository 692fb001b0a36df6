//! The concurrency limit: so many attempts per target at once, and a bounded queue behind them.
//!
//! Waiting happens inside the call's future, first come first served, and ends at the call's deadline. An attempt that must
//! not wait ([`Admission::NoWait`](crate::call::Admission::NoWait), a retry) is refused when no slot is free.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); [`Rejected`](crate::error::Rejected) with
//!   [`QueueFull`](crate::error::Reason::QueueFull), [`NoSlot`](crate::error::Reason::NoSlot) or
//!   [`Deadline`](crate::error::Reason::Deadline).
//! * **Order**: inside retry (a slot held during a backoff is a slot wasted) and inside the breaker (its refusals take no
//!   slot); outside the timer, so that waiting does not eat the attempt's own time.
//! * **Clones** share the slots of each target, and so do two services from one layer.
//! * **Drop**: gives the slot or the place in the queue back at once.
//! * **Metrics**: [`CONCURRENCY_LIMIT`](crate::metrics::CONCURRENCY_LIMIT),
//!   [`CONCURRENCY_IN_FLIGHT`](crate::metrics::CONCURRENCY_IN_FLIGHT), [`QUEUE_LENGTH`](crate::metrics::QUEUE_LENGTH).
//!
//! ```
//! use std::num::NonZeroU32;
//! use buttress::{BoxError, call::{Method, Request, Response}, catalogue::Catalogue};
//! use buttress::{concurrency::ConcurrencyLayer, error::Rejected};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let mut service = ServiceBuilder::new()
//!     .layer(ConcurrencyLayer::new(NonZeroU32::MIN).queue(0))
//!     .service(service_fn(async |_: Request<()>| std::future::pending::<Result<Response<()>, BoxError>>().await));
//! let target = Catalogue::new("words").resolve(&Method::ToolsCall, Some("hang"), None);
//! let first = service.ready().await?.call(Request::new(target.clone(), ()));
//! let second = service.ready().await?.call(Request::new(target, ())).await;
//! assert_eq!(second.unwrap_err().downcast_ref::<Rejected>().map(Rejected::layer), Some("concurrency"));
//! drop(first);
//! # Ok(())
//! # }
//! ```

mod future;
mod layer;
mod permit;
mod service;

pub use future::ConcurrencyFuture;
pub use layer::ConcurrencyLayer;
pub use service::Concurrency;

#[cfg(test)]
mod tests;
