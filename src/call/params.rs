//! What layers may ask of a call's parameters.

use std::borrow::Cow;

use bytes::Bytes;

use super::Digest;

/// The parameters of a call, for the few layers that must see them: those that tell whether two calls are the same call, and
/// those that write calls down.
///
/// An adapter implements it for its SDK's parameters. The defaults say nothing, and then those layers (cache, coalescing, loop
/// guard, idempotency's comparison) leave the call alone, and a record of it has no arguments.
///
/// A [`serde_json::Value`] is read as the `params` object of a request:
///
/// ```
/// use buttress::{BoxError, Stack, call::{Method, Request, Response}, catalogue::Catalogue};
/// use serde_json::{Value, json};
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let service = Stack::new().service(service_fn(async |call: Request<Value>| {
///     let city = call.params["arguments"]["city"].clone();
///     Ok::<_, BoxError>(Response::new(json!({ "content": [], "structuredContent": { "city": city, "sky": "clear" } })))
/// }));
/// let target = Catalogue::new("weather").resolve(&Method::ToolsCall, Some("forecast"), None);
/// let params = json!({ "name": "forecast", "arguments": { "city": "Porto" } });
/// let answer = service.oneshot(Request::new(target, params)).await?;
/// assert_eq!(answer.result.unwrap()["structuredContent"]["city"], "Porto");
/// # Ok(())
/// # }
/// ```
pub trait CallParams: Clone {
    /// A digest of the arguments, equal for two calls only if a server cannot tell their arguments apart. It covers the
    /// tool's name too, as names that are not known share one target. `None`: unknown.
    fn arguments(&self) -> Option<Digest> {
        None
    }

    /// A digest of all that an answer may hang on: the [arguments](Self::arguments), and what the client declares that it is
    /// capable of (`io.modelcontextprotocol/clientCapabilities` in `_meta`, from revision 2026-07-28 on). Two requests that
    /// differ in it are never given one answer. `None`: unknown. Default: the arguments are all there is.
    fn question(&self) -> Option<Digest> {
        self.arguments()
    }

    /// The name that is asked for: of the tool or the prompt, the URI of a resource that is read, or the method's own where no
    /// revision defines it. Also where nobody has listed it, and so always the same for the same call. `None`: unknown, and
    /// then it is the target's that counts.
    fn name(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// A digest of what continues an earlier call that was asked for more (`inputResponses` and `requestState` of the
    /// specification, Multi Round-Trip Requests). `None`: this is no continuation.
    fn continuation(&self) -> Option<Digest> {
        None
    }

    /// The arguments that a tool or a prompt is called with, as one JSON text. `None`: there are none, or they are not known.
    ///
    /// For those who write calls down; no layer decides by it.
    fn arguments_text(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// The id of the JSON-RPC request; a number by its digits. `None`: it has none, or it is not known.
    ///
    /// For those who write calls down; no layer decides by it.
    fn request_id(&self) -> Option<Cow<'_, str>> {
        None
    }
}

impl CallParams for () {
    fn arguments(&self) -> Option<Digest> {
        Some(Digest::of(&[]))
    }
}

impl CallParams for &'static str {
    fn arguments(&self) -> Option<Digest> {
        Some(Digest::of(self.as_bytes()))
    }
}

impl CallParams for String {
    fn arguments(&self) -> Option<Digest> {
        Some(Digest::of(self.as_bytes()))
    }
}

macro_rules! integers {
    ($($integer:ty)*) => {
        $(impl CallParams for $integer {
            fn arguments(&self) -> Option<Digest> {
                Some(Digest::of(&self.to_le_bytes()))
            }
        })*
    };
}

integers!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

/// Opaque bytes: equal only where every byte is.
impl CallParams for Bytes {
    fn arguments(&self) -> Option<Digest> {
        Some(Digest::of(self))
    }
}

/// For parameters that are shared so that copies are cheap.
impl<T: CallParams> CallParams for std::sync::Arc<T> {
    fn arguments(&self) -> Option<Digest> {
        T::arguments(self)
    }

    fn question(&self) -> Option<Digest> {
        T::question(self)
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        T::name(self)
    }

    fn continuation(&self) -> Option<Digest> {
        T::continuation(self)
    }

    fn arguments_text(&self) -> Option<Cow<'_, str>> {
        T::arguments_text(self)
    }

    fn request_id(&self) -> Option<Cow<'_, str>> {
        T::request_id(self)
    }
}
