//! The rescue step: turns refusals and lost calls into what the caller sees, in one place.
//!
//! Models read tool results and seldom see JSON-RPC errors. So a refused or lost `tools/call` comes back as a result with
//! `isError: true` that says what happened, whether anything was done, and when to come back. Other methods get a JSON-RPC error.
//! Both carry the same facts for machines, in `_meta` or in `data`, under [`OUTCOME_KEY`](crate::call::OUTCOME_KEY); over HTTP
//! the [`Refusal`](crate::call::Refusal) beside the answer says which status goes with it.
//!
//! An answer that the handler gave itself is left as it is where it is a success or a plain failure. Where the call was
//! throttled, not sent, or its outcome is in doubt, the facts are added (to an error that has `data` of its own only where that
//! is an object); and where it is in doubt and repeating is not safe, a notice says so. What a server has put under our key
//! itself is taken out, unless it is [trusted](crate::catalogue::Catalogue::trust_next_hop): a stack that trusts this one would
//! read it as ours.
//!
//! * **Error type**: [`BoxError`](crate::BoxError), for readiness only: a call always ends in `Ok`.
//! * **Order**: outermost.
//! * **Clones** hold the same setting; there is no state.
//! * **Drop**: closes the call's [`Peer`](crate::call::Peer), so that nothing more is said of it.
//! * **Metrics**: none of its own.
//!
//! ```
//! use buttress::{BoxError, call::{Method, Request, Response}, catalogue::Catalogue, rescue::RescueLayer};
//! use buttress::error::{Reason, Rejected};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let mut service = ServiceBuilder::new().layer(RescueLayer::default()).service(service_fn(async |_: Request<()>| {
//!     Err::<Response<String>, BoxError>(Rejected::new("concurrency", Reason::QueueFull).into())
//! }));
//! let target = Catalogue::new("words").resolve(&Method::ToolsCall, Some("say"), None);
//! let response = service.ready().await?.call(Request::new(target, ())).await?;
//! assert!(response.result.is_ok_and(|text| text.starts_with("Busy: ")));
//! # Ok(())
//! # }
//! ```

mod future;
mod layer;
mod service;
mod words;

pub use future::RescueFuture;
pub use layer::{Deliver, RescueLayer};
pub use service::Rescue;

#[cfg(test)]
mod tests;
