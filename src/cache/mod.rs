//! The cache: answers that the server allows to be kept are given again, to whom it allows.
//!
//! Off until you ask for it, and behind the feature `cache`. Kept are the answers of `tools/list`, `prompts/list`,
//! `resources/list`, `resources/templates/list` and `resources/read`, for as long as their `ttlMs` says (specification, Caching);
//! and those of tools that only read where the operator says for how long ([`cache_for`](crate::call::TargetPolicy::cache_for)).
//! `server/discover` is not, since calls that keep the connection alive pass every layer untouched. Never kept: answers that ask
//! for more, tasks, errors of any kind, answers to calls that continue an earlier one (`inputResponses`, `requestState`), and
//! answers to calls whose arguments cannot be read.
//!
//! * **Whose**: a `public` answer is everybody's. A `private` one, and one that does not say, is for callers of the same
//!   tenant, principal and access token; without a token nobody knows whose it is, and it is not kept, unless the transport has
//!   one caller only ([`single_caller`](CacheLayer::single_caller)). Answers of tools are private.
//! * **In which shape**: an answer in one revision of the protocol is not given to a caller of another. Up to 2025-11-25 a
//!   private answer is one [session](crate::call::Session)'s too, since a server may answer by what was asked in it before; what
//!   is public is every session's. From 2026-07-28 on an answer, a public one too, is for clients that declare the same
//!   capabilities with their requests.
//! * **How long**: fresh while `now < received + ttlMs`, never longer. Past it, an answer may be served while a new one is
//!   fetched ([`stale_while_revalidate`](CacheLayer::stale_while_revalidate)) or where none can be had
//!   ([`stale_if_error`](CacheLayer::stale_if_error)): when the call was refused by this stack, not sent, throttled, or its
//!   outcome is in doubt. A list whose server gives it no time is kept for that case alone, so that the tools of a sick server
//!   do not vanish. Nothing is fetched that nobody asked for.
//! * **Changes**: a notification that a list has changed ([`notified`](CacheLayer::notified)) makes its answers stale at once,
//!   and discards those that are under way. rmcp's client adapter passes on those that the server sends; a handler in this
//!   process that sends one tells the layer too, since rmcp's own peer cannot be watched. An answer that is not there any more,
//!   or not for this caller, is forgotten; a list's cursor that has become invalid makes all its pages stale.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); it adds no error of its own.
//! * **Answers** that were kept are [`Served::Cache`](crate::call::Served::Cache), and carry nothing of the request that they
//!   first answered. Of a tool's answer that is past its time, [`rescue`](crate::rescue) says so to the model.
//! * **Order**: inside what counts calls (quota), so that an answer from here is paid for; outside coalescing, retry and the
//!   breaker, so that it needs none of them.
//! * **Clones** share the answers and the terms, and so do two services from one layer.
//! * **Cost**: an answer from here allocates its own copy, and nothing else; a call that is made allocates once, and some nine
//!   times more if its answer is kept. What cannot be kept costs nothing.
//! * **Drop**: of a call that was made drops it, and keeps nothing. A fetch in the background goes on without its caller, as a
//!   task of its own, for as long as the operator grants such a call, whatever its caller does; it never waits for a slot, and may
//!   be a breaker's probe.
//! * **Metrics**: [`CACHE_LOOKUPS`](crate::metrics::CACHE_LOOKUPS),
//!   [`CACHE_STALE_IF_ERROR`](crate::metrics::CACHE_STALE_IF_ERROR), [`CACHE_BYTES`](crate::metrics::CACHE_BYTES),
//!   [`CACHE_ENTRIES`](crate::metrics::CACHE_ENTRIES).
//!
//! ```
//! use std::{num::NonZeroU64, time::Duration};
//! use buttress::{BoxError, cache::CacheLayer, call::{Annotations, Method, Request, Response, Served, TargetPolicy}};
//! use buttress::catalogue::{Catalogue, Scope};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let megabyte = NonZeroU64::new(1 << 20).ok_or("a megabyte is not zero")?;
//! let mut service = ServiceBuilder::new()
//!     .layer(CacheLayer::new(megabyte).single_caller())
//!     .service(service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new("sunny"))));
//! let minute = TargetPolicy::default().cache_for(Duration::from_secs(60));
//! let catalogue = Catalogue::new("weather").tool("forecast", minute).trust_annotations();
//! let reads = Annotations::default().read_only(true);
//! catalogue.learn(&Method::ToolsCall, Scope::Public, [("forecast", reads)]);
//!
//! let target = catalogue.resolve(&Method::ToolsCall, Some("forecast"), None);
//! let first = service.ready().await?.call(Request::new(target.clone(), ())).await?;
//! assert_eq!(first.served, Served::Attempt);
//! tokio::time::advance(Duration::from_secs(20)).await;
//! let second = service.ready().await?.call(Request::new(target, ())).await?;
//! assert_eq!(second.served, Served::Cache { age: Duration::from_secs(20), stale: false });
//! # Ok(())
//! # }
//! ```

mod entry;
mod fill;
mod future;
mod layer;
mod rules;
mod service;
mod store;
mod terms;

pub use future::CacheFuture;
pub use layer::CacheLayer;
pub use service::Cache;
pub use terms::Terms;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
