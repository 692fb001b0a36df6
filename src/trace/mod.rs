//! Spans: one for each call, and within it one for each attempt.
//!
//! A [`TraceLayer`] has two halves. At the edge of the stack it opens a span of kind *server* for the call, as its
//! caller sees it: refusals, answers of a cache and callers who leave are in it. Just outside of
//! [`attempt`](crate::attempt) it opens one of kind *client* for each attempt, as whoever sends it does; the handler
//! runs within that one, so its own spans and events do too. Where the stack [stands at a
//! client](TraceLayer::at_client), nobody has sent the call: its span is of kind *internal* there.
//! [`Stack::trace`](crate::Stack::trace) puts both in their places. Off unless you name it.
//!
//! The spans are `tracing`'s, of level info and target [`TARGET`], called `call` and `attempt`; any subscriber can show
//! them. With the feature `otel` and a layer of `tracing-opentelemetry` in the subscriber, they have ids that others
//! know: then calls stand in the traces of their callers, as far as you trust these ([`Incoming`]), the next hop's in
//! ours, and the [audit trail](crate::audit) says which span a call was. With the feature `otlp`, `Otlp` takes them to
//! a collector.
//!
//! # What a span says
//!
//! Names and members follow the OpenTelemetry conventions for MCP; what is ours begins with `buttress.`. The span's
//! name, `otel.name`, is the method, and the target where the upstream has listed it: like the labels of
//! [metrics](crate::metrics), it holds nothing that a caller made up.
//!
//! | member | call | attempt | what |
//! |---|---|---|---|
//! | `otel.kind` | `server`, or `internal` | `client` | |
//! | `mcp.method.name` | yes | yes | as the label |
//! | `gen_ai.operation.name` | yes | yes | `execute_tool`, for `tools/call` |
//! | `gen_ai.tool.name`, `gen_ai.prompt.name` | yes | yes | as the labels |
//! | `mcp.protocol.version` | yes | yes | where it is known |
//! | `mcp.session.id` | yes | | where the call is made in one: [16 digits](crate::call::Session::pseudonym) that stand for it |
//! | `jsonrpc.request.id` | yes | | where it is known; at most 256 bytes |
//! | `error.type` | yes | yes | as the label of the two durations, and where that is there |
//! | `rpc.response.status_code` | yes | yes | as the label; also where the answer is an error, and the handler's word names it |
//! | `otel.status_code` | yes | yes | `error`, where there is an `error.type` |
//! | `otel.status_description` | yes | yes | the error's own message then: at most 256 bytes, on one line |
//! | `buttress.upstream` | yes | yes | as the label |
//! | `buttress.verdict` | yes | yes | the [`Verdict`](crate::call::Verdict)'s name |
//! | `buttress.refused.layer`, `.reason` | yes | yes | who refused it, and why |
//! | `buttress.attempts` | yes | | how many there were that reached for the handler |
//! | `buttress.served` | yes | | `attempt`, `coalesced`, `cache`, `stale` or `idempotency`: where the answer came from |
//! | `buttress.attempt` | | yes | which one it is, from 1 |
//!
//! What is not: arguments and results; a session's own id, since who knows it can speak in the session; tenants and
//! principals. Of what the conventions ask for where it is known, two are not: `mcp.resource.uri`, which is the
//! caller's word and may hold what nobody else should read (the template stands in the span's name), and an attempt's
//! `jsonrpc.request.id`, which its transport chooses further in.
//!
//! An attempt that serves several calls at once ([`coalesce`](crate::coalesce)) stands in the span of the call that
//! began it. One that is made for none ([`cache`](crate::cache), refreshing) is a trace of its own.
//!
//! # Contract
//!
//! * **Error type**: [`BoxError`](crate::BoxError); it adds no error of its own.
//! * **Order**: the call's half just outside of [`record`](crate::record), so that what is logged of the call is within
//!   its span; the attempts' just outside of [`attempt`](crate::attempt).
//! * **Clones** share nothing but the settings: there is no state.
//! * **Drop**: a call or an attempt that is dropped before its outcome has a span that says `cancelled`. What is inside
//!   of it is dropped within the span, and before the span ends.
//! * **Allocations**: none where nobody listens and the request says nothing of traces.
//! * **The next hop**: where this layer stands, what a caller says of traces goes on as far as [`Incoming`] and
//!   [`baggage`](TraceLayer::baggage) let it, whether anybody listens or not. See [`Traced`](crate::call::Traced).
//! * **Metrics**: none of the layer's own. `Otlp` counts what is lost on the way:
//!   [`SPANS_LOST`](crate::metrics::SPANS_LOST).
//!
//! ```
//! use std::{io::{self, Read}, sync::Mutex};
//! use buttress::{BoxError, Stack, call::{Method, Request, Response}, catalogue::Catalogue, trace::TraceLayer};
//! use tower::service_fn;
//! use tracing_subscriber::fmt::format::FmtSpan;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let (mut shown, to) = io::pipe()?;
//! let subscriber =
//!     tracing_subscriber::fmt().with_ansi(false).with_span_events(FmtSpan::CLOSE).with_writer(Mutex::new(to)).finish();
//! {
//!     let _listening = tracing::subscriber::set_default(subscriber);
//!     let say = service_fn(async |call: Request<&'static str>| Ok::<_, BoxError>(Response::new(call.params)));
//!     let service = Stack::new().trace(TraceLayer::new()).service(say);
//!     let target = Catalogue::new("words").tool("say", Default::default()).resolve(&Method::ToolsCall, Some("say"), None);
//!     service.answer(Request::new(target, "hello")).await?;
//! }
//! let mut lines = String::new();
//! shown.read_to_string(&mut lines)?;
//! let [attempt, call] = lines.lines().collect::<Vec<_>>()[..] else { return Err(lines.into()) };
//! assert!(attempt.contains("otel.name=tools/call say otel.kind=\"client\""), "{attempt}");
//! assert!(call.contains("otel.kind=\"server\"") && call.contains("buttress.verdict=\"ok\""), "{call}");
//! # Ok(())
//! # }
//! ```

mod context;
mod future;
mod layer;
#[cfg(feature = "otlp")]
mod loss;
#[cfg(feature = "otlp")]
mod otlp;
mod policy;
mod service;
mod span;

pub use future::TraceFuture;
pub use layer::TraceLayer;
#[cfg(feature = "otlp")]
pub use otlp::Otlp;
pub use policy::Incoming;
pub use service::Trace;
pub use span::TARGET;

#[cfg(feature = "otlp")]
#[cfg(test)]
mod context_tests;
#[cfg(test)]
mod tests;
