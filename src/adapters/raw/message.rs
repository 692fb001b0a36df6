use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::call::{ATTEMPT_KEY, CallParams, Digest, Head, Meta, Method, TIMEOUT_KEY, canonical};

/// A JSON-RPC request as it came: the parameters of a raw call. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage(Bytes);

#[derive(Deserialize)]
struct MessageView<'a> {
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct NamedView<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct NameView<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ParamsView<'a> {
    #[serde(borrow)]
    input_responses: Option<&'a RawValue>,
    #[serde(borrow)]
    request_state: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OnwardView<'a> {
    #[serde(borrow, rename = "dev.buttress/attempt")]
    attempt: Option<&'a RawValue>,
    #[serde(borrow, rename = "dev.buttress/timeoutMs")]
    timeout: Option<&'a RawValue>,
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
    /// came. The message as it came, where there is nothing to say or no place to say it.
    pub fn onward(&self, head: &Head) -> Bytes {
        self.with(&Meta::onward(head)).unwrap_or_else(|| self.0.clone())
    }

    fn with(&self, said: &serde_json::Map<String, serde_json::Value>) -> Option<Bytes> {
        let (mut edits, mut fresh) = (Vec::new(), Vec::new());
        let params = self.params();
        let meta = params.and_then(|params| serde_json::from_str::<ParamsView<'_>>(params.get()).ok()?.meta);
        let known = meta.and_then(|meta| serde_json::from_str::<OnwardView<'_>>(meta.get()).ok());
        for (key, value) in said {
            let there = known.as_ref().and_then(|known| match key.as_str() {
                ATTEMPT_KEY => known.attempt,
                TIMEOUT_KEY => known.timeout,
                _ => None,
            });
            match there {
                Some(there) => edits.push((self.offset(there.get())?, there.get().len(), value.to_string())),
                None => fresh.push(format!("\"{key}\":{value}")),
            }
        }
        if !fresh.is_empty() {
            let fresh = fresh.join(",");
            edits.push(match (params, meta) {
                (_, Some(meta)) => self.opening(meta.get(), &fresh)?,
                (Some(params), None) => self.opening(params.get(), &format!("\"_meta\":{{{fresh}}}"))?,
                (None, None) => self
                    .opening(std::str::from_utf8(&self.0).ok()?.trim_ascii(), &format!("\"params\":{{\"_meta\":{{{fresh}}}}}"))?,
            });
        }
        if edits.is_empty() {
            return None;
        }
        edits.sort_unstable_by_key(|(at, ..)| *at);
        let (mut message, mut copied) = (Vec::with_capacity(self.0.len() + 128), 0);
        for (at, length, text) in edits {
            message.extend_from_slice(&self.0[copied..at]);
            message.extend_from_slice(text.as_bytes());
            copied = at + length;
        }
        message.extend_from_slice(&self.0[copied..]);
        Some(message.into())
    }

    /// The edit that puts `members` first into an object, which is a part of this message.
    fn opening(&self, object: &str, members: &str) -> Option<(usize, usize, String)> {
        let inside = object.strip_prefix('{')?;
        let comma = if inside.trim_ascii_start().starts_with('}') { "" } else { "," };
        Some((self.offset(object)? + 1, 0, format!("{members}{comma}")))
    }

    /// Where a part of this message begins.
    fn offset(&self, part: &str) -> Option<usize> {
        (part.as_ptr() as usize).checked_sub(self.0.as_ptr() as usize)
    }

    fn params(&self) -> Option<&RawValue> {
        serde_json::from_slice::<MessageView<'_>>(&self.0).ok()?.params
    }
}

impl AsRef<[u8]> for RawMessage {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl CallParams for RawMessage {
    fn arguments(&self) -> Option<Digest> {
        let Some(params) = self.params() else { return Some(Digest::of(b"{}")) };
        canonical::digest_of_members(params.get(), |name| !matches!(name, "_meta" | "inputResponses" | "requestState"))
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        let NamedView { method, params } = serde_json::from_slice(&self.0).ok()?;
        match Method::from_wire(&method) {
            Method::Custom(_) => Some(method),
            Method::ToolsCall | Method::PromptsGet => Some(serde_json::from_str::<NameView<'_>>(params?.get()).ok()?.name),
            _ => None,
        }
    }

    fn continuation(&self) -> Option<Digest> {
        let params: ParamsView<'_> = serde_json::from_str(self.params()?.get()).ok()?;
        if params.input_responses.is_none() && params.request_state.is_none() {
            return None;
        }
        canonical::digest_of_members(self.params()?.get(), |name| matches!(name, "inputResponses" | "requestState"))
    }
}
