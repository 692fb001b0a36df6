use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::text::{Edits, Members, object, present};
use crate::call::{
    ATTEMPT_KEY, BAGGAGE_KEY, CallParams, Digest, HARD_TIMEOUT_KEY, Head, Meta, Method, Onward, REPEATS_KEY, TIMEOUT_KEY,
    TRACEPARENT_KEY, TRACESTATE_KEY, canonical,
};

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
    #[serde(borrow, default, deserialize_with = "present", rename = "dev.buttress/repeats")]
    repeats: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present", rename = "dev.buttress/timeoutMs")]
    timeout: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present", rename = "dev.buttress/hardTimeoutMs")]
    hard_timeout: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    traceparent: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    tracestate: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    baggage: Option<&'a RawValue>,
    #[serde(borrow, rename = "progressToken")]
    token: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present", rename = "io.modelcontextprotocol/clientCapabilities")]
    capabilities: Option<&'a RawValue>,
}

impl<'a> MetaView<'a> {
    fn get(&self, key: &str) -> Option<&'a RawValue> {
        match key {
            ATTEMPT_KEY => self.attempt,
            REPEATS_KEY => self.repeats,
            TIMEOUT_KEY => self.timeout,
            HARD_TIMEOUT_KEY => self.hard_timeout,
            TRACEPARENT_KEY => self.traceparent,
            TRACESTATE_KEY => self.tracestate,
            BAGGAGE_KEY => self.baggage,
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct NameView<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
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
    /// came, but for the space within a `_meta` that something is taken out of. Nothing is put where there is no object to say it
    /// in: one that is not as it should be is for the server to judge.
    ///
    /// `id` is what the message goes on under, and its progress token, if it has one; `None` leaves both to the caller. A request
    /// must not bear the id of another that has no answer yet, nor the token of one that is under way, and attempts of one call
    /// may well be under way together, as calls of two callers may have one id. So:
    ///
    /// * on a connection that several attempts share (stdio, a session, HTTP upstreams that look at ids), give each a number that
    ///   the connection has not seen. Answers say it again ([`RawAnswer::id`](super::RawAnswer::id)), and so does progress;
    ///   [`RawCall::answer`](super::RawCall::answer) gives each caller its own id back.
    /// * on a connection of the attempt's own, `None` will do.
    pub fn onward(&self, head: &Head, id: impl Into<Option<u64>>) -> Bytes {
        let said = Meta::onward(head);
        let rest = self.without(&said);
        let message = rest.as_ref().unwrap_or(self);
        let mut edits = Edits::of(&message.0);
        message.edit(&said, id.into().map(|id| id.to_string()), &mut edits);
        edits.apply().unwrap_or_else(|| message.0.clone())
    }

    /// The message without what is not to go on. `None`: there is nothing of it.
    fn without(&self, said: &Onward) -> Option<Self> {
        let gone = |name: &str| said.iter().any(|(key, value)| value.is_none() && key == name);
        said.iter().find(|(_, value)| value.is_none())?;
        let meta = known::<ParamsView<'_>>(self.view()?.params)?.meta?;
        let members: Members<'_> = object(meta.get())?;
        members.0.iter().find(|(name, _)| gone(name))?;
        let mut edits = Edits::of(&self.0);
        edits.replace(meta.get().as_bytes(), members.without(gone));
        edits.apply().map(Self)
    }

    /// Either all that is said finds its place in the `_meta`, or nothing does.
    fn edit(&self, said: &Onward, own: Option<String>, edits: &mut Edits<'_>) -> Option<()> {
        let MessageView { id, params, .. } = self.view()?;
        if let (Some(id), Some(own)) = (id, &own) {
            edits.replace(id.get().as_bytes(), own.clone());
        }
        let ParamsView { meta } = known(params)?;
        let there: MetaView<'_> = known(meta)?;
        if let (Some(token), Some(own)) = (there.token, own) {
            edits.replace(token.get().as_bytes(), own);
        }
        let mut fresh = Vec::new();
        for (key, value) in said.iter().filter_map(|(key, value)| Some((key, value?))) {
            match there.get(key) {
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

    fn question(&self) -> Option<Digest> {
        let ParamsView { meta } = known(self.view()?.params)?;
        let MetaView { capabilities, .. } = known(meta)?;
        let declared = match capabilities {
            Some(capabilities) => Some(canonical::digest_of_text(capabilities.get())?),
            None => None,
        };
        Some(Digest::of_parts(&(self.arguments()?, declared)))
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        let MessageView { method, params, .. } = self.view()?;
        let method = string(method?)?;
        match Method::from_wire(&method) {
            Method::Custom(_) => Some(method),
            Method::ToolsCall | Method::PromptsGet => string(object::<NameView<'_>>(params?.get())?.name?),
            Method::ResourcesRead => string(object::<NameView<'_>>(params?.get())?.uri?),
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
