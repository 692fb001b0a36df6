//! The audit trail: one line of JSON for each tool call, whatever became of it.
//!
//! Who called what, when, with which arguments (by name, unless you ask for more), and how it ended; also where the call was
//! refused, timed out, panicked, or was dropped by its caller. A call that is attempted three times is one record. Off unless
//! you name a [`Sink`]; feature `audit`.
//!
//! The record is opened before the call is made and closed by a drop guard, so that there is exactly one. It goes through a
//! bounded queue to a thread that writes; no call ever waits for the disk. What cannot be written is dropped and counted, or,
//! with [`OnFull::FailClosed`], the call is refused before it is made. Lines are handed to the operating system and not synced
//! to the disk.
//!
//! # What is written
//!
//! Each line is an object of the schema [`SCHEMA`]. Members are only ever added within it; what is not known is left out.
//!
//! | member | what | in OCSF API Activity (6003) |
//! |---|---|---|
//! | `schema` | `buttress.audit.v1` | `metadata.log_version`, beside the constants below |
//! | `event_id` | a UUID of version 7 | `metadata.uid` |
//! | `time` | when the call arrived: RFC 3339, UTC, milliseconds | `time`: there milliseconds since 1970, a whole number |
//! | `seq` | counts all records of this layer from 0, in the order in which calls ended: a gap is a lost record | `metadata.sequence` |
//! | `outcome` | one of `success`, `tool_error`, `error`, `denied`, `rejected`, `timeout`, `cancelled`, `input_required`, `task`, `panic`, `unknown` | `status_detail`; `status_id` 1 for `success`, 0 for `input_required`, `task`, `cancelled` and `unknown`, else 2 |
//! | `verdict` | the [`Verdict`](crate::call::Verdict)'s name | `unmapped` |
//! | `layer`, `reason` | who refused the call, and why | `unmapped`; `action_id` and `disposition_id` 2 where they are there, else 1 |
//! | `upstream` | your name for the server | `api.service.name` |
//! | `method` | `tools/call`; `_OTHER` for a method that no revision defines | `api.operation` |
//! | `tool`, `prompt` | its name, at most 128 bytes; 64 of one that is not `known` | `resources[].name`, with `type` `tool` or `prompt` |
//! | `resource_template` | the one that covers what is read, at most 128 bytes; where none does, it is left out, and so is the URI always | `resources[].name`, with `type` `resource` |
//! | `known` | whether the server has listed that name; one that is not known is the caller's invention | `unmapped` |
//! | `read_only` | whether the call only reads, as the stack [knows it](crate::call::Target::is_read_only); `false` too where nobody has said so | `activity_id` 2 and `type_uid` 600302 where it does, else 99 and 600399 |
//! | `request_id` | the id of the JSON-RPC request | `api.request.uid`, without which there is no `api.request`: `event_id` where this one is not known |
//! | `protocol` | the revision, where it is known | `api.version` |
//! | `session` | the session, in revisions that have some: 16 digits that [stand for it](crate::call::Session::pseudonym), the same as in the call's span | `actor.session.uid_alt` |
//! | `trace_id`, `span_id` | of the call's own span, where a layer further out gives it one | `trace.uid`, `trace.span.uid`; a span must also have `start_time`, which is `time`, and `end_time`, later by `duration_ms` |
//! | `caller_trace_id`, `caller_span_id` | of the span that the caller says it calls from: its word, and nobody has checked it | `unmapped` |
//! | `actor.tenant` | as your [`Identify`](crate::call::Identify) says | `actor.user.account.name`, since a user must have an account, a name or a uid, and `actor.user.org.name` |
//! | `actor.principal` | the same | `actor.user.uid` |
//! | `actor.client` | the same; by default the client's own word | `actor.app_name` |
//! | `actor.agent` | the same; by default what stands for the session, as in `session`, else the client's own word | `actor.session.uid` |
//! | `actor.authenticated` | whether there was an access token, never which | `unmapped` |
//! | `arguments.mode` | which of [`Arguments`] it is | `unmapped` |
//! | `arguments.bytes`, `count` | of the JSON text, and its members at the top | `unmapped` |
//! | `arguments.names`, `sizes` | of the first 32 members; names of at most 64 bytes | `api.request.flags` (names) |
//! | `arguments.hash` | HMAC-SHA-256, hexadecimal | `api.request.data` |
//! | `arguments.text`, `cut` | JSON within a string, and whether it goes on | `api.request.data` |
//! | `result.is_error`, `code`, `bytes` | of the answer, where one came; the code is JSON-RPC's | `api.response.error` (code), `api.response.code` |
//! | `attempts` | that reached for the handler; 0 where the call was refused, or answered from elsewhere | `unmapped` |
//! | `served` | `attempt`, `coalesced`, `cache`, `stale` or `idempotency`: where the answer came from | `unmapped` |
//! | `age_ms` | how old it was | `unmapped` |
//! | `duration_ms` | from arrival to end, to the microsecond | `duration`: there a whole number of milliseconds; where OCSF keeps that for several events in one (1.9), `unmapped` |
//!
//! What an event of OCSF must have beside these is the same in all: `class_uid` 6003, `category_uid` 6, `severity_id` 1,
//! `metadata.version` (that of OCSF which you map to), `metadata.profiles` (`["security_control", "trace"]`, which `action_id`
//! and `trace` are of; without the second where there are no ids), `metadata.product` (`{"name": "buttress", "vendor_name":
//! "buttress"}`, or your server's), and `src_endpoint`, of which a stack sees no address: `src_endpoint.name` is `actor.client`,
//! or `unknown`, until your proxy says more.
//!
//! # What is not
//!
//! Results, tokens, headers and `_meta` never are, but for the ids of the caller's span. Of arguments only their names are by
//! default; whatever more you ask for goes through a list of [denied](AuditLayer::deny) names before it leaves the call. That
//! list knows names and not contents: it does not see the password in a text, nor in `{"name": "password", "value": "..."}`.
//! **What you make a tenant, principal or agent stands in the record**: if that is an API key or a session's id, ask for
//! [pseudonyms](AuditLayer::pseudonyms).
//!
//! Whatever others chose is cut, and characters that would move a terminal's cursor or turn the line around are escaped.
//!
//! # Contract
//!
//! * **Error type**: [`BoxError`](crate::BoxError); [`Rejected`](crate::error::Rejected) with
//!   [`Unrecorded`](crate::error::Reason::Unrecorded), where calls without a record are not made.
//! * **Order**: just inside [`record`](crate::record) and whoever gives the call its span, outside all that refuses.
//! * **Clones** share the queue, its thread and the numbers, and so do two services from one layer. The thread ends when the
//!   last layer, service and call is gone and the queue is written.
//! * **Drop**: a call that is dropped before its answer is on record as `cancelled`; a place in the queue that was kept for it
//!   holds its record.
//! * **Panics** of the inner service go through, and are on record as `panic`.
//! * **Allocations**: 1 a call, and those of what is written of its arguments: with [`Arguments::Names`] some 2, and one for each
//!   name.
//! * **Bounds**: 8,192 records, of some 5 KiB at the worst with the default settings.
//! * **Metrics**: [`AUDIT_EVENTS`](crate::metrics::AUDIT_EVENTS), [`AUDIT_DROPPED`](crate::metrics::AUDIT_DROPPED),
//!   [`AUDIT_BACKLOG`](crate::metrics::AUDIT_BACKLOG): what is neither lost nor waits is written. A sink that hangs is seen by
//!   the last alone, until the queue is full.
//!
//! ```
//! use buttress::{BoxError, call::{Method, Request, Response}, catalogue::Catalogue};
//! use buttress::audit::{AuditLayer, FileSink};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! # let path = std::env::temp_dir().join(format!("audit-{}.jsonl", std::process::id()));
//! let layer = AuditLayer::new(FileSink::open(&path)?)?;
//! let trail = layer.handle();
//! let mut service = ServiceBuilder::new()
//!     .layer(layer)
//!     .service(service_fn(async |call: Request<&'static str>| Ok::<_, BoxError>(Response::new(call.params))));
//! let target = Catalogue::new("words").resolve(&Method::ToolsCall, Some("say"), None);
//!
//! let answered = service.ready().await?.call(Request::new(target.clone(), "hello"));
//! let left = service.ready().await?.call(Request::new(target, "never mind"));
//! answered.await?;
//! drop(left);
//!
//! trail.flush().await;
//! let lines = std::fs::read_to_string(&path)?;
//! # std::fs::remove_file(&path)?;
//! let lines: Vec<serde_json::Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
//! assert_eq!(lines.len(), 2);
//! assert_eq!((&lines[0]["outcome"], &lines[1]["outcome"]), (&"success".into(), &"cancelled".into()));
//! assert_eq!((&lines[0]["seq"], &lines[0]["method"]), (&0.into(), &"tools/call".into()));
//! # Ok(())
//! # }
//! ```

mod arguments;
mod entry;
mod future;
mod handle;
mod layer;
mod line;
mod outcome;
mod queue;
mod redact;
mod service;
mod sink;
mod text;
mod writer;

pub use arguments::{Arguments, HashKey, ShortKey};
pub use future::AuditFuture;
pub use handle::AuditHandle;
pub use layer::{AuditLayer, OnFull};
pub use service::Audit;
pub use sink::{FileSink, Sink};

/// The schema that the lines follow.
pub const SCHEMA: &str = "buttress.audit.v1";

#[cfg(test)]
mod queue_tests;
#[cfg(test)]
mod sink_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod writer_tests;
