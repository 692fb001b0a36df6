//! Fault injection: breaks calls on purpose, so that you see what your stack makes of it before production does.
//!
//! Off unless a [`Plan`] is in force. A [handle](FaultHandle) puts one in force and takes it back while the service runs; both
//! are told in the log, loudly. A plan says, for all targets, for those of a method or for one by its name, which share of the
//! calls is slowed down, and which shares meet which [`Fault`]. Everything is drawn from one seeded generator, so a run can be
//! repeated.
//!
//! What is injected is what a transport or a server would have said: an HTTP status, a reset, a refused connection, an error of
//! JSON-RPC's or the tool's own. An answer that nobody can read is a reset to every layer. So it is classified,
//! counted and retried like the real thing. A fault that is [`Lost::Answer`] lets the call have its effect first: this is what
//! shows whether anything is done twice.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); [`HttpStatus`](crate::error::HttpStatus) and
//!   [`Transport`](crate::error::Transport) where one is injected.
//! * **Order**: innermost, inside the panic guard, the timer and the classifier: it stands in for the handler.
//! * **Clones** share the plan and the generator, and so do two services from one layer.
//! * **Drop**: drops the inner future, if there is one.
//! * **Metrics**: [`FAULTS`](crate::metrics::FAULTS).
//!
//! ```
//! use buttress::{BoxError, call::{Method, Request, Response}, catalogue::Catalogue, error::Transport};
//! use buttress::fault::{Fault, FaultLayer, Lost, Plan, Trouble};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let layer = FaultLayer::seeded(7);
//! let faults = layer.handle();
//! let mut service = ServiceBuilder::new()
//!     .layer(layer)
//!     .service(service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new("done"))));
//! let target = Catalogue::new("words").resolve(&Method::ToolsCall, Some("say"), None);
//! assert!(service.ready().await?.call(Request::new(target.clone(), ())).await.is_ok());
//!
//! faults.inject(Plan::all(Trouble::new([(Fault::Reset(Lost::Answer), 1.0)])?));
//! let error = service.ready().await?.call(Request::new(target.clone(), ())).await.unwrap_err();
//! assert!(error.is::<Transport>());
//!
//! faults.clear();
//! assert!(service.ready().await?.call(Request::new(target, ())).await.is_ok());
//! # Ok(())
//! # }
//! ```

mod future;
mod layer;
mod plan;
mod service;

pub use future::FaultFuture;
pub use layer::{FaultHandle, FaultLayer};
pub use plan::{Fault, Lost, Plan, Trouble, TroubleError};
pub use service::FaultService;

#[cfg(test)]
mod tests;
