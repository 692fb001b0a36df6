//! The circuit breaker: stops calling a tool that keeps failing, and finds out when it is well again.
//!
//! One breaker per target. It opens after six failures in a row, or when fewer than half of the recent calls succeeded;
//! everything is then refused at once, for a cool-down that doubles with each relapse. After it, one call goes through as a
//! probe; if that succeeds, traffic grows back along a ramp. What counts as a failure is the
//! [`Verdict`](crate::call::Verdict)'s business: a tool that answers `isError` is alive, a request that is at fault counts
//! nowhere, and what this stack itself refused is no failure of the upstream's.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); [`Rejected`](crate::error::Rejected) with
//!   [`Reason::BreakerOpen`](crate::error::Reason::BreakerOpen) and the time until asking again is worth it.
//! * **Order**: inside retry, so that it sees every attempt; outside the concurrency limit, so that what it refuses takes no
//!   slot.
//! * **Clones** share the breakers, and so do two services from one layer.
//! * **Drop**: counts nowhere; if it was the probe, the next call becomes the probe.
//! * **Metrics**: [`BREAKER_STATE`](crate::metrics::BREAKER_STATE),
//!   [`BREAKER_TRANSITIONS`](crate::metrics::BREAKER_TRANSITIONS).
//!
//! ```
//! use buttress::{BoxError, breaker::{BreakerLayer, Policy}, call::{Method, Request, Response}};
//! use buttress::{catalogue::Catalogue, error::{Reason, Rejected, Transport}};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let mut service = ServiceBuilder::new().layer(BreakerLayer::new(Policy::default())).service(service_fn(
//!     async |_: Request<()>| Err::<Response<()>, BoxError>(Transport::not_sent("connection refused").into()),
//! ));
//! let target = Catalogue::new("words").resolve(&Method::ToolsCall, Some("say"), None);
//! for _ in 0..6 {
//!     let error = service.ready().await?.call(Request::new(target.clone(), ())).await.unwrap_err();
//!     assert!(error.is::<Transport>());
//! }
//! let error = service.ready().await?.call(Request::new(target, ())).await.unwrap_err();
//! assert_eq!(error.downcast_ref::<Rejected>().map(Rejected::reason), Some(Reason::BreakerOpen));
//! # Ok(())
//! # }
//! ```

mod cell;
mod future;
mod health;
mod layer;
mod machine;
mod policy;
mod ramp;
mod service;
mod ticket;
mod window;

pub use future::BreakerFuture;
pub use layer::BreakerLayer;
use machine::Machine;
pub use policy::{Policy, PolicyError, Settings};
pub use service::Breaker;
pub use ticket::State;
use ticket::{Admit, Sample, Ticket, Transition};

#[cfg(test)]
mod tests;
