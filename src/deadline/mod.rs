//! The deadline: says once when a call has to end.
//!
//! It only stamps the instants; who waits (a queue, a backoff, the attempt's timer) keeps to them, so that a call costs one
//! timer and not one per layer. What the caller says of its own patience can only shorten a deadline: its
//! [end where it hears nothing](crate::call::TIMEOUT_KEY) the soft one, which progress moves on, and its [end in any
//! case](crate::call::HARD_TIMEOUT_KEY) the hard one. A call that
//! [waits](crate::call::Method::waits) for work elsewhere has the hard end only.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); [`Rejected`](crate::error::Rejected) with
//!   [`Reason::Deadline`](crate::error::Reason::Deadline) for a call that arrives after its deadline.
//! * **Order**: outermost of the deciding layers; needs [`timeout`](crate::timeout) further in to end a call that hangs.
//! * **Clones** share the limits, which a [handle](DeadlineHandle) changes, and so do two services from one layer.
//! * **Drop**: nothing to give back.
//! * **Metrics**: none of its own.
//!
//! ```
//! use std::time::Duration;
//! use buttress::{BoxError, call::{Method, Request, Response}, catalogue::Catalogue, deadline::{DeadlineLayer, Limits, Settings}};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let limits = Limits::try_new(Settings { soft: Some(Duration::from_secs(9)), ..Settings::default() })?;
//! let mut service = ServiceBuilder::new()
//!     .layer(DeadlineLayer::new(limits))
//!     .service(service_fn(async |call: Request<()>| {
//!         Ok::<_, BoxError>(Response::new(call.head.deadline.soft.map(|soft| soft - call.head.arrived)))
//!     }));
//! let target = Catalogue::new("words").resolve(&Method::ToolsList, None, None);
//! let seen = service.ready().await?.call(Request::new(target, ())).await?;
//! assert_eq!(seen.result, Ok(Some(Duration::from_secs(9))));
//! # Ok(())
//! # }
//! ```

mod handle;
mod layer;
mod service;

pub use handle::DeadlineHandle;
pub use layer::{DeadlineLayer, Limits, LimitsError, Settings};
pub use service::DeadlineService;

#[cfg(test)]
mod tests;
