//! The quota: how many calls a tenant may make, and all of them together.
//!
//! Up to six limits, each by GCRA and each optional: per tenant and target, per tenant, per target, over all, and two
//! [per whatever you say](Per): agent, client, principal, or a key of your own. A call is weighed against all of them first, the
//! caller's own before the shared ones, and counts only if every one admits it; so a tenant over its limit takes nothing from
//! the others. It counts as much as its target [costs](crate::call::TargetPolicy::cost). Who is refused is refused at once, and
//! told when to come back; or, if you [allow it](QuotaLayer::wait), waits in line for its turn. Memory is bounded: a cell whose
//! limit has recovered is forgotten, and beyond the capacity new keys share a cell.
//!
//! However calls come, go and are taken back, what is admitted in any window of length `d` is at most `burst + d / period`. A
//! call is admitted at its arrival, or when its turn comes.
//!
//! A call that was counted and that a layer further in then refused was never sent. It is taken back under each limit that has
//! admitted nobody since; elsewhere it stays counted, since others were decided on it.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); [`Rejected`](crate::error::Rejected) with
//!   [`Reason::Quota`](crate::error::Reason::Quota).
//! * **Order**: outside retry, so that a call is charged once however often it is attempted.
//! * **Clones** share limits, cells and line, and so do two services from one layer.
//! * **Drop**: an admitted call has been counted. One that waits leaves the line, and is taken back if nobody is behind it.
//! * **Metrics**: [`QUOTA_WAITING`](crate::metrics::QUOTA_WAITING); [`OBSERVED_REJECTIONS`](crate::metrics::OBSERVED_REJECTIONS)
//!   where it only observes; [`record`](crate::record) counts what it refuses.
//!
//! ```
//! use std::num::NonZeroU32;
//! use buttress::{BoxError, call::{Caller, Method, Request, Response}, catalogue::Catalogue, quota::QuotaLayer};
//! use governor::Quota;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let mut service = ServiceBuilder::new()
//!     .layer(QuotaLayer::new().per_tenant(Quota::per_minute(NonZeroU32::MIN)))
//!     .service(service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new("done"))));
//! let target = Catalogue::new("words").resolve(&Method::ToolsCall, Some("say"), None);
//! let call = |tenant: &str| {
//!     let mut request = Request::new(target.clone(), ());
//!     request.head.caller = Caller::of_tenant(tenant);
//!     request
//! };
//! assert!(service.ready().await?.call(call("acme")).await.is_ok());
//! assert!(service.ready().await?.call(call("acme")).await.is_err());
//! assert!(service.ready().await?.call(call("umbrella")).await.is_ok());
//! # Ok(())
//! # }
//! ```

mod future;
mod gcra;
mod handle;
mod layer;
mod limits;
mod per;
mod places;
mod service;
mod shard;
mod shared;
mod store;
mod ticket;

pub use future::QuotaFuture;
pub use handle::QuotaHandle;
pub use layer::QuotaLayer;
pub use limits::QuotaError;
pub use per::Per;
pub use service::QuotaService;

#[cfg(test)]
mod tests;
