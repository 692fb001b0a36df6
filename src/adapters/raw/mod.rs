//! Raw JSON-RPC: messages as the bytes they came in.
//!
//! For all that is not Rust. A typed model drops what it does not know; here a message goes on byte for byte, number spelling,
//! unknown members and `_meta` included. Only what layers need is read: the method, the name, and whether an answer is a failure.
//! What the stack itself has to say of an answer is put into it: a notice and facts. Its id is made the caller's again, and facts
//! that only we may state are taken out of it. Every other byte of it stays.
//!
//! ```
//! use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
//! use bytes::Bytes;
//! use buttress::{BoxError, Stack, call::{Caller, Request, Response}, catalogue::Catalogue, raw::{RawAnswer, RawCall, RawMessage}};
//! use tower::service_fn;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let ids = Arc::new(AtomicU64::new(1));
//! let upstream = service_fn(move |call: Request<RawMessage>| {
//!     // Attempts of all calls share this connection: each has an id of its own there.
//!     let own = ids.fetch_add(1, Ordering::Relaxed);
//!     let sent = call.params.onward(&call.head, own);
//!     async move {
//!         // A real one would send it, and wait for the answer with this id.
//!         assert!(sent.starts_with(br#"{"jsonrpc":"2.0","id":1,"method":"tools/call""#) && sent.ends_with(b"\"exact\":1.50}}"));
//!         let answer = RawAnswer::parse(Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"exact":1.50}}"#))?;
//!         assert_eq!(answer.id(), Some(own));
//!         Ok::<_, BoxError>(Response::new(answer))
//!     }
//! });
//! let (stack, catalogue) = (Stack::new().service(upstream), Catalogue::new("words"));
//!
//! let message = br#"{"jsonrpc":"2.0","id":"a7","method":"tools/call","params":{"name":"say","exact":1.50}}"#;
//! let call = RawCall::parse(Bytes::from_static(message))?;
//! let caller = Caller::default();
//! let response = stack.answer(call.request(&catalogue, caller.clone())).await?;
//! call.learn(&catalogue, &caller, &response);
//! assert_eq!(call.answer(response), br#"{"jsonrpc":"2.0","id":"a7","result":{"content":[],"exact":1.50}}"#.as_slice());
//! # Ok(())
//! # }
//! ```
//!
//! * **The id of an attempt** is for the transport to say: see [`RawMessage::onward`].
//! * **`subscriptions/listen`** is no call, and not for the stack: see [`RawCall::is_subscription`].
//! * **Tools, prompts and resource templates** are learned from the answers that are given to [`RawCall::learn`]; until then,
//!   all that the operator has not declared share one entry.
//! * **HTTP headers** that a message came with say what its `_meta` does not (its trace, an idempotency key) once they are given
//!   to [`RawCall::with_headers`].
//! * **Progress** is relayed by a transport through a [`Peer`](crate::call::Peer), which it puts into the head of each request
//!   whose caller asks to hear of it. The stack does not see what goes past that: such progress keeps no call alive, and a call
//!   that its caller has heard of is repeated all the same.
//! * **Errors**: what is no request is refused by [`RawCall::parse`] with the error to answer with; what is no answer is an error
//!   of [`RawAnswer::parse`], after which the outcome is in doubt.

mod answer;
mod call;
mod list;
mod message;
mod text;

pub use answer::RawAnswer;
pub use call::RawCall;
pub use message::RawMessage;

#[cfg(test)]
#[cfg(feature = "cache")]
mod answers_tests;
#[cfg(test)]
mod hops_tests;
#[cfg(test)]
mod resources_tests;
#[cfg(test)]
mod tests;
