//! Idempotency keys: two requests with one key are one call, and the call is made once.
//!
//! A caller that lost an answer cannot know whether its call took effect. If it named the call (in `_meta`, under
//! [`IDEMPOTENCY_KEY`](crate::call::IDEMPOTENCY_KEY)), it may simply send it again:
//!
//! | the first call | the second one |
//! |---|---|
//! | is still running | waits for its answer until its own deadline; refused (`in_progress`) where too many wait already |
//! | was answered, `isError` included | gets the same answer ([`Served::Replay`](crate::call::Served::Replay)) |
//! | was lost: timed out, reset, or its caller left | *outcome unknown*: never made again, unless repeating it is [safe](crate::call::Head::is_idempotent) |
//! | was asked for more (`input_required`) | goes on: the continuation is the same call, and so is the call from its beginning |
//! | did not happen: refused, throttled, not sent, at fault, not allowed | is made |
//! | asked something else: another tool, or with other arguments | refused (`key_reused`), and never admitted |
//!
//! A key belongs to its tenant and principal (else its access token), to one upstream by its name, and to one method. A caller
//! without principal and access token cannot be told from any other, and might be given somebody else's answer: its keys are not
//! looked at, and its calls pass as if they had none, unless the transport has one caller only
//! ([`single_caller`](IdempotencyLayer::single_caller)). Calls without a key pass untouched.
//!
//! What is known of a key is kept in a [`Store`], in this process. The one [in memory](InMemory) is bounded in keys and bytes,
//! with at most half for one tenant (seven eighths while it is the only one that holds keys), and keeps what it knows for 24 h.
//! It never forgets sooner to make room, as the next call under that key would be made twice: when it is full, calls under new
//! keys are refused (`shed`), and an answer that finds no room is remembered as unknown. The same goes for a store that fails.
//! Calls that are safe to repeat need no such protection, and are made without it then.
//!
//! * **Error type**: [`BoxError`](crate::BoxError); [`Rejected`](crate::error::Rejected) with
//!   [`KeyReused`](crate::error::Reason::KeyReused), [`InProgress`](crate::error::Reason::InProgress),
//!   [`Deadline`](crate::error::Reason::Deadline) or [`Shed`](crate::error::Reason::Shed);
//!   [`Transport::unknown`](crate::error::Transport::unknown) where the outcome of the first call is not known.
//! * **Order**: inside the quota (a repeated request is a request), outside cache and retry: all attempts are one call.
//! * **Clones** share the store, and so do two services from one layer.
//! * **Drop**: once the inner service was called, the outcome is unknown from then on, since nobody hears it; before that, it is
//!   as if there had been no call. Who waits for another's answer leaves no trace.
//! * **Allocations**: none for a call without a key; 3 for one with a key, that of the kept answer included and the table's own
//!   growth apart.
//! * **Observe-only**: there is no such mode: to let a call pass is to make it twice.
//! * **Metrics**: [`IDEMPOTENCY_HITS`](crate::metrics::IDEMPOTENCY_HITS); of the store in memory
//!   [`IDEMPOTENCY_KEYS`](crate::metrics::IDEMPOTENCY_KEYS).
//!
//! ```
//! use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
//! use buttress::{BoxError, call::{Meta, Method, Request, Response, Served}, catalogue::Catalogue};
//! use buttress::idempotency::IdempotencyLayer;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! static PAID: AtomicU32 = AtomicU32::new(0);
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let mut service = ServiceBuilder::new().layer(IdempotencyLayer::default().single_caller()).service(service_fn(
//!     async |_: Request<&'static str>| Ok::<_, BoxError>(Response::new(format!("receipt {}", PAID.fetch_add(1, Ordering::Relaxed)))),
//! ));
//! let target = Catalogue::new("bank").resolve(&Method::ToolsCall, Some("pay"), None);
//! let mut meta = Meta::default();
//! meta.idempotency_key = Some("order 66".into());
//! let mut call = Request::new(target, "10 EUR");
//! call.head.meta = Some(Arc::new(meta));
//!
//! let first = service.ready().await?.call(call.clone()).await?;
//! let again = service.ready().await?.call(call.clone()).await?;
//! assert_eq!(first.result, Ok("receipt 0".to_owned()));
//! assert_eq!((again.result, again.served), (Ok("receipt 0".to_owned()), Served::Replay));
//!
//! call.params = "1000 EUR";
//! assert!(service.ready().await?.call(call).await.is_err());
//! assert_eq!(PAID.load(Ordering::Relaxed), 1);
//! # Ok(())
//! # }
//! ```

mod asking;
mod future;
mod kept;
mod layer;
mod memory;
mod service;
mod settings;
mod store;

pub use future::IdempotencyFuture;
pub use kept::Kept;
pub use layer::IdempotencyLayer;
pub use memory::{Full, InMemory};
pub use service::Idempotency;
pub use settings::{Settings, SettingsError};
pub use store::{Claim, End, Keyed, Lease, Reply, Store, Wait};

#[cfg(test)]
mod tests;
