//! rmcp, server side: the stack around any `ServerHandler`. (The client's side: `client`, with the feature `rmcp-client`.)
//!
//! [`wrap`] is the one line; what it returns is a `ServerHandler` again, so it serves over every transport of rmcp's, stdio
//! and `StreamableHttpService` included. Where a transport asks for a handler per session or per request, build one
//! [`ServerLayer`] and let it wrap each: they all share the layer's state.
//!
//! ```no_run
//! # use rmcp::{ServerHandler, ServiceExt, transport::stdio};
//! # #[derive(Clone)] struct Weather;
//! # impl ServerHandler for Weather {}
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let server = buttress::rmcp::wrap("weather", Weather);
//! server.serve(stdio()).await?.waiting().await?;
//! # Ok(())
//! # }
//! ```
//!
//! * **Tools** are learned from the handler's `get_tool` and from its own `tools/list` answers. A handler in this process is
//!   trusted: its annotations decide what is safe to repeat.
//! * **Prompts** are learned from `prompts/list` answers only, as rmcp has no lookup by name; until somebody has listed them,
//!   all share one entry.
//! * **Cancellation**: `notifications/cancelled`, a lost connection, and in revision 2026-07-28 a closed response stream drop
//!   the call's future. The handler's `RequestContext::ct` is cancelled whenever its attempt ends without an answer, by a
//!   timeout too, so that work which it spawned may notice.
//! * **Notifications** to and from the handler pass as they are. Only progress that is sent by [`progress`] counts as a sign
//!   of life and commits the call, since rmcp's own `Peer` cannot be watched.
//! * **Requests to the client** (sampling, elicitation, roots) pass as they are. rmcp's peer cannot be watched, so a handler that
//!   asks says so by [`asking`]: while the guard lives, all clocks but the hard one stand still.
//! * **`initialize`, `server/discover`, `ping`** pass through the stack but are never refused by it;
//!   only their time is bounded.
//! * **`subscriptions/listen`** is a service of its own: no deadline, no slot; it has a cap of its own
//!   ([`ServerLayer::subscriptions`]), and a metric ([`SUBSCRIPTIONS`](crate::metrics::SUBSCRIPTIONS)). What is beyond the cap is
//!   in [`REJECTIONS`](crate::metrics::REJECTIONS), as refused by `subscriptions`.
//! * **HTTP**: [`RefusalStatusLayer`] around `StreamableHttpService` gives refusals their status.

mod call;
#[cfg(feature = "rmcp-client")]
pub mod client;
mod edge;
mod http;
mod listen;
mod model;
mod server;

pub use http::{RefusalStatus, RefusalStatusFuture, RefusalStatusLayer};
pub use server::{Server, ServerLayer, wrap};

use ::rmcp::{RoleServer, service::RequestContext};

use crate::{
    call::{Asking, Peer, Progress},
    error::BoxError,
};

/// Tells the caller how far its call has come, from within an rmcp handler.
///
/// Keeps the call alive past its soft deadline, and commits it: it is not repeated after that. Says nothing, and is no error,
/// where the caller asked for no progress, the attempt is over, or `progress` has not grown.
///
/// # Errors
///
/// The transport's, if it could not take the notification.
pub async fn progress(context: &RequestContext<RoleServer>, progress: Progress) -> Result<(), BoxError> {
    match context.extensions.get::<Peer>() {
        Some(peer) => peer.progress(progress).await,
        None => Ok(()),
    }
}

/// Says, from within an rmcp handler, that a person or the caller's own model is being asked: hold the guard while you wait for
/// the answer. Until it is dropped, all clocks of the call but the hard one stand still. Commits the call: it is not repeated
/// after that, as the person would be asked again.
///
/// `None` where the caller cannot be asked anything.
pub fn asking(context: &RequestContext<RoleServer>) -> Option<Asking> {
    context.extensions.get::<Peer>().map(Peer::ask)
}
