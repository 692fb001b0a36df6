//! The panic guard: a handler that panics answers with an error.
//!
//! Without it, an SDK that runs each call on a task of its own never answers, and the caller waits for ever. The panic's words
//! go to the log at `error`, never to the caller. Needs `panic = "unwind"`, which is Rust's default.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); [`Panicked`](crate::error::Panicked) for a panic in the inner service's
//!   `call` or while its future is polled.
//! * **Order**: innermost, so that every layer sees an error and every guard runs in peace.
//! * **Clones** share the counters.
//! * **Drop**: nothing to give back. A panicked future is dropped at once.
//! * **Metrics**: [`PANICS`](crate::metrics::PANICS).
//!
//! ```
//! use buttress::{BoxError, call::{Method, Request, Response}, catalogue::Catalogue, error::Panicked, panic::PanicLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! # std::panic::set_hook(Box::new(|_| {}));
//! let mut service = ServiceBuilder::new().layer(PanicLayer::new()).service(service_fn(async |call: Request<u32>| {
//!     Ok::<_, BoxError>(Response::new(12 / call.params))
//! }));
//! let target = Catalogue::new("sums").resolve(&Method::ToolsList, None, None);
//! let error = service.ready().await?.call(Request::new(target, 0)).await.unwrap_err();
//! assert!(error.is::<Panicked>());
//! # Ok(())
//! # }
//! ```

mod future;
mod layer;
mod service;

pub use future::PanicFuture;
pub use layer::PanicLayer;
pub use service::PanicGuard;

#[cfg(test)]
mod tests;
