//! Raw JSON-RPC: messages as the bytes they came in.
//!
//! For all that is not Rust. A typed model drops what it does not know; here a message goes on byte for byte, number
//! spelling, unknown members and `_meta` included. Only what layers need is read: the method, the name, and whether an
//! answer is a failure. An answer is written anew only where the stack itself has something to say (numbers may then be spelt
//! otherwise, but for the id).
//!
//! ```
//! use bytes::Bytes;
//! use buttress::{BoxError, Stack, call::{Caller, Request, Response}, catalogue::Catalogue, raw::{RawAnswer, RawCall, RawMessage}};
//! use tower::service_fn;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let upstream = service_fn(async |call: Request<RawMessage>| {
//!     // A real one would send `call.params.onward(&call.head)` and read the answer.
//!     assert!(call.params.bytes().ends_with(b"\"exact\":1.50}}"));
//!     let answer = Bytes::from_static(br#"{"jsonrpc":"2.0","id":7,"result":{"content":[],"exact":1.50}}"#);
//!     Ok::<_, BoxError>(Response::new(RawAnswer::parse(answer)?))
//! });
//! let (stack, catalogue) = (Stack::new().service(upstream), Catalogue::new("words"));
//!
//! let message = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"say","exact":1.50}}"#;
//! let call = RawCall::parse(Bytes::from_static(message))?;
//! let response = stack.answer(call.request(&catalogue, Caller::default())).await?;
//! assert_eq!(call.answer(response), br#"{"jsonrpc":"2.0","id":7,"result":{"content":[],"exact":1.50}}"#.as_slice());
//! # Ok(())
//! # }
//! ```

mod answer;
mod call;
mod message;
mod text;

pub use answer::RawAnswer;
pub use call::RawCall;
pub use message::RawMessage;

#[cfg(test)]
mod tests;
