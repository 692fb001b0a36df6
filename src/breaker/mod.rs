//! The circuit breaker: stops calling a tool that keeps failing, and finds out when it is well again.
//!
//! One breaker per target. It opens after six failures in a row (of calls that began after the last success ended), or when fewer
//! than half of the recent calls succeeded; everything is then refused at once, for a cool-down that doubles with each relapse.
//! After it, one call goes through as a probe: an answer, a timeout or the first progress decides it, and where it tells nothing
//! (a caller that was turned away, or left), the next call is the probe. Who calls most and leaves soon would then be the probe
//! for ever: so a tenant whose probes have held up all others for nothing stands back for the one that was turned away meanwhile
//! and has held them up less, until that one asks again, 30 s at most. A tenant's calls that are given less time than the operator
//! would give count apart from its others. If the probe succeeds, traffic grows back along a ramp.
//! What counts as a failure is the [`Verdict`](crate::call::Verdict)'s business: a tool that answers `isError` is alive, a
//! request that is at fault counts nowhere, and what this stack itself refused is no failure of the upstream's.
//!
//! Above them stands one breaker per upstream, which shuts all its targets. It opens when the breakers of several targets have
//! opened, half of the active ones or more, or after six calls in a row, of several targets, that the transport could not
//! deliver ([`NotSent`](crate::call::Verdict::NotSent) without an answer). It never counts failures as such, so one caller who
//! hammers one sick tool shuts out nobody else. Its probe is a call that is safe to repeat, and not of the target that failed as
//! the last probe; any other call comes a quarter of the cool-down later (10 s at most), so that it is never stuck. Its ramp
//! and the targets' own hold side by side.
//!
//! [`BreakerLayer::handle`] gives a [`BreakerHandle`] to look at the breakers and at their last fifty [changes](Change), to
//! force them open or closed, and to change the policy while they work. With [`Mode::Observe`](crate::Mode::Observe) the layer
//! decides and counts, and lets pass, but where an operator holds a breaker open. The metrics say what becomes of calls: one that
//! only observes is closed in them, and its handle and the log alone say how it changes.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); [`Rejected`](crate::error::Rejected) with
//!   [`Reason::BreakerOpen`](crate::error::Reason::BreakerOpen) or
//!   [`Reason::UpstreamOpen`](crate::error::Reason::UpstreamOpen), and the time until asking again is worth it; without it
//!   where an operator has forced the breaker open.
//! * **Order**: inside retry, so that it sees every attempt; outside the concurrency limit, so that what it refuses takes no
//!   slot.
//! * **Clones** share the breakers, and so do two services from one layer. Targets share their upstream's breaker if they are of
//!   one [`Catalogue`](crate::catalogue::Catalogue).
//! * **Drop**: counts nowhere; if it was the probe, the next call becomes the probe, as above.
//! * **Metrics**: [`BREAKER_STATE`](crate::metrics::BREAKER_STATE),
//!   [`BREAKER_TRANSITIONS`](crate::metrics::BREAKER_TRANSITIONS), where an upstream's own breaker has only the `upstream`
//!   label; [`OBSERVED_REJECTIONS`](crate::metrics::OBSERVED_REJECTIONS) in observe-only mode.
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
mod circuit;
mod future;
mod handle;
mod health;
mod history;
mod layer;
mod machine;
mod parent;
mod policy;
mod probe;
mod ramp;
mod sample;
mod series;
mod service;
mod shared;
mod ticket;
mod upstream;
mod watched;
mod window;

pub use future::BreakerFuture;
pub use handle::{BreakerHandle, Status};
pub use history::{Cause, Change};
pub use layer::BreakerLayer;
pub use policy::{Policy, PolicyError, Settings};
pub use service::Breaker;
pub use ticket::{Force, State};

#[cfg(test)]
mod tests;
