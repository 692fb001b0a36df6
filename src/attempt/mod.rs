//! The attempt's record and the classifier: what became of one attempt, decided and measured in one place.
//!
//! This is where a [`Verdict`](crate::call::Verdict) is made, and where the handler's own
//! [word](crate::outcome) is heard. Every layer further out reads the verdict and none decides it again.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); it adds no error of its own.
//! * **Order**: inside everything that repeats, breaks or limits; outside the timer and the panic guard, so that a timeout
//!   and a panic get a verdict too.
//! * **Clones** share their handles, and so do two services from one layer.
//! * **Drop**: an attempt that is dropped before its answer is recorded as `cancelled`.
//! * **Metrics**: [`CLIENT_DURATION`](crate::metrics::CLIENT_DURATION).
//!
//! ```
//! use buttress::{BoxError, attempt::AttemptLayer, outcome};
//! use buttress::call::{Method, Request, Response, Verdict};
//! use buttress::catalogue::Catalogue;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let mut service = ServiceBuilder::new().layer(AttemptLayer::new()).service(service_fn(async |_: Request<()>| {
//!     outcome::not_sent();
//!     Ok::<_, BoxError>(Response::new("the backend is down"))
//! }));
//! let target = Catalogue::new("words").resolve(&Method::ToolsCall, Some("say"), None);
//! let response = service.ready().await?.call(Request::new(target, ())).await?;
//! assert_eq!(response.verdict, Some(Verdict::NotSent));
//! # Ok(())
//! # }
//! ```

mod future;
mod layer;
mod service;

pub use future::AttemptFuture;
pub use layer::AttemptLayer;
pub use service::Attempt;

#[cfg(test)]
mod tests;
