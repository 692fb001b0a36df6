//! rmcp, client side: the stack in front of the calls that an agent makes.
//!
//! Two seams, one [`ClientLayer`]. Over rmcp's `Peer`, as a handle ([`Client`]) that code calls instead of the peer:
//!
//! ```no_run
//! # use rmcp::{ServiceExt, model::CallToolRequestParams};
//! use buttress::{Stack, rmcp::client::{ClientLayer, watched}};
//! use tower::Layer;
//!
//! # async fn call(transport: tokio::io::DuplexStream) -> Result<(), Box<dyn std::error::Error>> {
//! let layer = ClientLayer::new("weather", &Stack::new());
//! let connection = ().serve(watched(transport)).await?;
//! let weather = layer.layer(connection.peer().clone());
//! weather.list_all_tools().await?;
//! let forecast = weather.call_tool(CallToolRequestParams::new("forecast")).await?;
//! # let _ = forecast;
//! # Ok(())
//! # }
//! ```
//!
//! Around the transport ([`ClientLayer::transport`]), so that rmcp's peer and all code above it go through the stack unchanged:
//!
//! ```no_run
//! # use rmcp::{ServiceExt, model::CallToolRequestParams};
//! # use buttress::{Stack, rmcp::client::ClientLayer};
//! # async fn call(transport: tokio::io::DuplexStream) -> Result<(), Box<dyn std::error::Error>> {
//! let layer = ClientLayer::new("weather", &Stack::new());
//! let connection = ().serve(layer.transport(transport)).await?;
//! let forecast = connection.call_tool(CallToolRequestParams::new("forecast")).await?;
//! # let _ = forecast;
//! # Ok(())
//! # }
//! ```
//!
//! Over the peer an attempt is a request of rmcp's own. Around the transport the stack speaks to the server itself, under ids and
//! progress tokens of its own, one for each attempt; that costs a request more turns of rmcp's loop. Use one of them: both on
//! one connection would repeat what the other repeats.
//!
//! * **Tools and prompts** are learned from the lists that pass by; until they have been listed, all share one entry. What
//!   tools say about themselves is not trusted, unless the [catalogue](ClientLayer::with_catalogue) says so.
//! * **Each attempt** has a fresh request id, and tells the server in `_meta` which attempt it is and how long we will wait
//!   ([`Meta::onward`](crate::call::Meta::onward)).
//! * **Cancellation**: an attempt that is given up (its caller left, it timed out) is taken back at once by
//!   `notifications/cancelled` with the id that the server knows. Over HTTP in revision 2026-07-28 rmcp closes the response
//!   instead, as the specification says.
//! * **Zombies**: a server may work on after that. The attempt's slot is kept until it answers, or for a
//!   [lease](ClientLayer::lease). Over the peer only where the transport is [`watched`].
//! * **Progress** keeps a call alive and commits it; the handler that was given to rmcp hears of it as ever. Over the peer only
//!   where the transport is [`watched`].
//! * **Errors**: an answer of the server's is an answer. A transport's own error says whether the request was sent, or with which
//!   HTTP status it was refused, as far as [`ReadError`] can tell: give the layer [`HttpErrors`] where the transport is rmcp's
//!   Streamable HTTP client. What was sent and has no answer is in doubt, and only what is safe is repeated.
//! * **A lost session** (404, revisions up to 2025-11-25): nothing was done. rmcp begins another one, shared by all requests that
//!   lost theirs, and sends each again, once, whatever the tool; the stack sees one attempt. If that fails too, the call ends as
//!   [`SessionLost`](crate::call::Verdict::SessionLost), and is not repeated: no retry of ours begins a session. If no session
//!   can be had, it ends as that failure does, and is repeated if it may be (connection refused, say). Other requests that were
//!   under way when a session is replaced are in doubt.
//! * **401 and 403** end a call with the transport's own error, challenge included. Everything else that the stack has to say
//!   is said as [`rescue`](crate::rescue) says it.
//! * **The handshake** passes by (`initialize`, `server/discover`, `ping` of rmcp's own), and so do notifications, what the
//!   server asks of us and our answers. Around the transport it is recorded like any call, and has spans where calls have some,
//!   which the server is not told of; over the peer it is over before there is a handle. rmcp puts no limit on its time: put a
//!   `tokio::time::timeout` around `serve`.
//! * **`subscriptions/listen`** is no call. Around the transport streams are counted
//!   ([`SUBSCRIPTIONS`](crate::metrics::SUBSCRIPTIONS)), up to a cap ([`ClientLayer::subscriptions`]), and what is beyond it as
//!   refused by `subscriptions` ([`REJECTIONS`](crate::metrics::REJECTIONS)); over the peer they are rmcp's business alone.
//! * **While the server asks** a person or a model (elicitation, sampling), all clocks but the hard one stand still, and the call
//!   is committed: that call where the transport tells within which it was asked (HTTP), else each that is under way on the
//!   connection. Over the peer only where the transport is [`watched`].
//! * **What the server says has changed** (`list_changed`, `resources/updated`) is not served from the [cache](crate::cache) any
//!   more, before rmcp's own handler hears of it. Over the peer only where the transport is [`watched`], and from the first call
//!   on.
//! * **What a client declares** with its requests (2026-07-28) is part of what is asked, as [`cache`](crate::cache) and
//!   [`coalesce`](crate::coalesce) see it. Over the peer rmcp adds it after the stack: connections that declare other
//!   capabilities than each other want layers of their own there, if anything is kept or shared.
//! * **Metrics**: as anywhere else, `mcp_server_operation_duration_seconds` is the call, as your code sees it, and
//!   `mcp_client_operation_duration_seconds` each request that went out for it (see [`metrics`](crate::metrics)).
//!
//! Around the transport a connection carries 1,024 calls at once, those that wait for a slot included; further ones are refused
//! by `connection`, with [`QueueFull`](crate::error::Reason::QueueFull).
//!
//! rmcp's HTTP client carries 16 requests at once unless told otherwise (`max_concurrent_requests`); those beyond wait in a queue
//! that no layer sees, while their clocks run. Give it as many as the concurrency limits admit.

mod call;
mod changes;
mod handle;
mod layer;
mod line;
mod passing;
mod peer;
mod retry_after;
mod shared;
mod transport;
mod transport_error;
mod watched;
mod wire;

pub use handle::Client;
pub use layer::ClientLayer;
pub use transport::LayeredTransport;
pub use transport_error::{HttpErrors, Meaning, ReadError};
pub use watched::{Watched, watched};

#[cfg(test)]
mod call_tests;
