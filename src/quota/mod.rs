//! The quota: how many calls a tenant may make, and all of them together.
//!
//! Up to four limits, each by GCRA and each optional: per tenant and target, per tenant, per target, over all. A call is
//! weighed against all of them first, the tenant's own before the shared ones, and counts only if every one admits it; so a
//! tenant over its limit takes nothing from the others. Who is refused is refused at once, and told when to come back.
//! Memory is bounded: a cell whose limit has recovered is forgotten, and beyond the capacity new keys share a cell.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); [`Rejected`](crate::error::Rejected) with
//!   [`Reason::Quota`](crate::error::Reason::Quota).
//! * **Order**: outside retry, so that a call is charged once however often it is attempted.
//! * **Clones** share the cells, and so do two services from one layer.
//! * **Drop**: nothing to give back: an admitted call has been counted.
//! * **Metrics**: none of its own; its refusals are in [`REJECTIONS`](crate::metrics::REJECTIONS).
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

mod gcra;
mod layer;
mod service;
mod shard;
mod store;

pub use layer::QuotaLayer;
pub use service::QuotaService;

#[cfg(test)]
mod tests;
