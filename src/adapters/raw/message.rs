use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::text::{Edits, object, present};
use crate::call::{ATTEMPT_KEY, CallParams, Digest, Head, Meta, Method, TIMEOUT_KEY, canonical};

/// A JSON-RPC request as it came: the parameters of a raw call. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage(Bytes);

#[derive(Deserialize)]
struct MessageView<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct ParamsView<'a> {
    #[serde(borrow, default, deserialize_with = "present", rename = "_meta")]
    meta: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct MetaView<'a> {
    #[serde(borrow, default, deserialize_with = "present", rename = "dev.buttress/attempt")]
    attempt: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present", rename = "dev.buttress/timeoutMs")]
    timeout: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct NameView<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContinuationView<'a> {
    #[serde(borrow)]
    input_responses: Option<&'a RawValue>,
    #[serde(borrow)]
    request_state: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ArgumentsView<'a> {
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// What a JSON string says.
fn string(json: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<String>(json.get()).ok().map(Cow::Owned)
}

/// A view of an object; of none that is not there. `None`: what is there cannot be read.
fn known<'a, T: Default + Deserialize<'a>>(there: Option<&'a RawValue>) -> Option<T> {
    there.map_or_else(|| Some(T::default()), |there| object(there.get()))
}

impl RawMessage {
    pub(super) const fn new(message: Bytes) -> Self {
        Self(message)
    }

    /// The whole message, byte for byte.
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The message for the next hop: the same, with what [`Meta::onward`] says put into its `_meta`; every other byte is as it
    /// came. The message as it came, where there is nothing to say, or no object to say it in: one that is not as it should be
    /// is for the server to judge.
    pub fn onward(&self, head: &Head) -> Bytes {
        let mut edits = Edits::of(&self.0);
        self.tell(&Meta::onward(head), &mut edits);
        edits.apply().unwrap_or_else(|| self.0.clone())
    }

    /// Either all that is said finds its place, or nothing does.
    fn tell(&self, said: &Map<String, Value>, edits: &mut Edits<'_>) -> Option<()> {
        let MessageView { params, .. } = self.view()?;
        let ParamsView { meta } = known(params)?;
        let there: MetaView<'_> = known(meta)?;
        let mut fresh = Vec::new();
        for (key, value) in said {
            let known = match key.as_str() {
                ATTEMPT_KEY => there.attempt,
                TIMEOUT_KEY => there.timeout,
                _ => None,
            };
            match known {
                Some(known) => edits.replace(known.get().as_bytes(), value.to_string()),
                None => fresh.push(format!("\"{key}\":{value}")),
            }
        }
        if !fresh.is_empty() {
            let fresh = fresh.join(",");
            match (params, meta) {
                (_, Some(meta)) => edits.open(meta.get().as_bytes(), &fresh),
                (Some(params), None) => edits.open(params.get().as_bytes(), &format!("\"_meta\":{{{fresh}}}")),
                (None, None) => edits.open(self.0.trim_ascii(), &format!("\"params\":{{\"_meta\":{{{fresh}}}}}")),
            }
        }
        Some(())
    }

    fn view(&self) -> Option<MessageView<'_>> {
        object(std::str::from_utf8(&self.0).ok()?)
    }
}

impl AsRef<[u8]> for RawMessage {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl CallParams for RawMessage {
    fn arguments(&self) -> Option<Digest> {
        let Some(params) = self.view()?.params else { return Some(Digest::of(b"{}")) };
        canonical::digest_of_members(params.get(), |name| !matches!(name, "_meta" | "inputResponses" | "requestState"))
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        let MessageView { method, params, .. } = self.view()?;
        let method = string(method?)?;
        match Method::from_wire(&method) {
            Method::Custom(_) => Some(method),
            Method::ToolsCall | Method::PromptsGet => string(object::<NameView<'_>>(params?.get())?.name?),
            _ => None,
        }
    }

    fn continuation(&self) -> Option<Digest> {
        let params = self.view()?.params?.get();
        let view: ContinuationView<'_> = object(params)?;
        if view.input_responses.is_none() && view.request_state.is_none() {
            return None;
        }
        canonical::digest_of_members(params, |name| matches!(name, "inputResponses" | "requestState"))
    }

    fn arguments_text(&self) -> Option<Cow<'_, str>> {
        let view: ArgumentsView<'_> = object(self.view()?.params?.get())?;
        Some(view.arguments?.get().into())
    }

    fn request_id(&self) -> Option<Cow<'_, str>> {
        let id = self.view()?.id?;
        Some(string(id).unwrap_or_else(|| id.get().into()))
    }
}
