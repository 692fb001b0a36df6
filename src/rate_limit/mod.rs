//! The upstream rate limit: any ready [`governor::RateLimiter`], shared by all callers, counting attempts.
//!
//! It protects, or obeys, the backend: it counts what is really sent, retries included. For what one tenant may ask of you,
//! see [`quota`](crate::quota). What it refuses is refused at once; nobody waits.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); [`Rejected`](crate::error::Rejected) with
//!   [`Reason::RateLimit`](crate::error::Reason::RateLimit) and the delay.
//! * **Order**: inside retry and the concurrency limit: it counts attempts at the moment they are made.
//! * **Clones** share the limiter, and so do two services from one layer.
//! * **Drop**: nothing to give back: an admitted attempt has been counted.
//! * **Metrics**: [`OBSERVED_REJECTIONS`](crate::metrics::OBSERVED_REJECTIONS) where it only observes; [`record`](crate::record)
//!   counts what it refuses.
//! * **Time**: governor's limiters bring a clock of their own, which tokio's paused clock does not drive.
//!
//! ```
//! use std::{num::NonZeroU32, sync::Arc};
//! use buttress::{BoxError, call::{Method, Request, Response}, catalogue::Catalogue};
//! use buttress::{error::Rejected, rate_limit::RateLimitLayer};
//! use governor::{Quota, RateLimiter};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let limiter = Arc::new(RateLimiter::direct(Quota::per_hour(NonZeroU32::MIN)));
//! let mut service = ServiceBuilder::new()
//!     .layer(RateLimitLayer::new(limiter.clone()))
//!     .service(service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new("done"))));
//! let target = Catalogue::new("words").resolve(&Method::ToolsCall, Some("say"), None);
//! assert!(service.ready().await?.call(Request::new(target.clone(), ())).await.is_ok());
//! let refused = service.ready().await?.call(Request::new(target, ())).await.unwrap_err();
//! assert!(refused.downcast_ref::<Rejected>().and_then(Rejected::delay).is_some());
//! # Ok(())
//! # }
//! ```

mod layer;
mod service;

pub use layer::{RateLimit, RateLimitHandle, RateLimitLayer};
pub use service::RateLimited;

#[cfg(test)]
mod tests;
