//! Hedging: a call that takes unusually long is attempted a second time, and the first good answer is the call's.
//!
//! Off until you ask for it. A second attempt is made once a call has taken longer than the tool's own 95th percentile, as seen
//! over its last calls (two windows of 500, and not before 50), and at most once. Hedged are calls of
//! [safe](crate::call::Target::is_idempotent) targets of which their caller has not heard yet. What loses is dropped before the
//! answer is given; a failure waits for the other attempt as long as that one takes, except one that no other attempt would
//! mend: that the call itself is wrong, denied, or of a session that is lost.
//!
//! * **What it may cost**: each call earns a twentieth of a hedge, with nothing at the start, so that the upstream gets at most
//!   5 % more. When a tool becomes slow as a whole, its percentile follows.
//! * **Only where nothing is amiss**: the second attempt is [`spare`](crate::call::Head::spare). Where no slot is free now, or a
//!   breaker is not closed, it is refused, and costs nothing.
//! * **Retry or hedge**: whoever is first to repeat a call has the [turn](crate::call::Turn). A call whose first attempt failed
//!   quickly is retried and not hedged; one that was hedged is not retried.
//! * **Progress** is the first attempt's. Once the caller has heard of it, the second is dropped.
//!
//! * **Error type**: [`BoxError`](crate::BoxError): the first attempt's, where both fail.
//! * **Order**: outside retry, breaker and concurrency limit, which see both attempts; inside coalescing, so that one hedge
//!   serves all who wait.
//! * **Bounds**: the inner service is shared by the futures of its calls, so they are `Send` only where it is `Sync`.
//! * **Cost**: a call that may be hedged allocates once, and a timer where it is found pending; a hedge boxes its future. Some
//!   3 KiB for each target that is safe.
//! * **Clones** share what is known of each target, and the share that a [handle](HedgeHandle) changes; and so do two services
//!   from one layer.
//! * **Drop**: drops both attempts. How long they had taken is remembered where that is longer than usual.
//! * **Metrics**: [`HEDGES`](crate::metrics::HEDGES).
//!
//! ```
//! use std::{sync::atomic::{AtomicU32, Ordering}, time::Duration};
//! use buttress::{BoxError, call::{Method, Request, Response}, catalogue::Catalogue, hedge::HedgeLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! static CALLS: AtomicU32 = AtomicU32::new(0);
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let mut service = ServiceBuilder::new().layer(HedgeLayer::new()).service(service_fn(async |_: Request<()>| {
//!     // The hundredth call stalls.
//!     let stalls = CALLS.fetch_add(1, Ordering::Relaxed) == 100;
//!     tokio::time::sleep(Duration::from_millis(if stalls { 60_000 } else { 100 })).await;
//!     Ok::<_, BoxError>(Response::new("done"))
//! }));
//! let target = Catalogue::new("words").resolve(&Method::ToolsList, None, None);
//! for _ in 0..100 {
//!     service.ready().await?.call(Request::new(target.clone(), ())).await?;
//! }
//! let began = tokio::time::Instant::now();
//! let response = service.ready().await?.call(Request::new(target, ())).await?;
//! assert_eq!(response.attempts, 2);
//! assert!(began.elapsed() < Duration::from_millis(250));
//! # Ok(())
//! # }
//! ```

mod budget;
mod future;
mod handle;
mod latency;
mod layer;
mod race;
mod service;
mod tool;

pub use future::HedgeFuture;
pub use handle::HedgeHandle;
pub use layer::{HedgeError, HedgeLayer};
pub use service::Hedge;

#[cfg(test)]
mod tests;
