use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::text::{Edits, Members, object, present};
use crate::{
    call::{CacheScope, CallResult, Digest, ErrorObject, Facts, Freshness, OUTCOME_KEY, ResultKind, canonical},
    classify::code,
};

/// A JSON-RPC response: as it came, or made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawAnswer {
    pub(super) body: Body,
    kind: ResultKind,
    /// Whether there is something under our own key.
    states_facts: bool,
}

/// What is known of a message that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// The whole message, and its id as it stands there.
    AsItCame { message: Bytes, id: Option<Bytes> },
    /// The `result` of a message that is still to be written, under the id of the caller's own spelling.
    Result(Bytes),
}

/// The text of a body that is made here.
pub(super) fn made(body: &Value) -> Bytes {
    body.to_string().into()
}

#[derive(Deserialize)]
struct ResponseView<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ErrorView<'a> {
    code: i64,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResultView<'a> {
    is_error: Option<bool>,
    #[serde(borrow)]
    result_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    task: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskView<'a> {
    #[serde(borrow)]
    task_id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FreshnessView<'a> {
    ttl_ms: Option<i64>,
    #[serde(borrow)]
    cache_scope: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TtlView<'a> {
    #[serde(borrow)]
    ttl_ms: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DelayView<'a> {
    #[serde(borrow)]
    retry_after_ms: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ContentView<'a> {
    #[serde(borrow)]
    content: Vec<BlockView<'a>>,
}

#[derive(Deserialize)]
struct MessageView<'a> {
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct StructuredView<'a> {
    #[serde(borrow, rename = "structuredContent")]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct BlockView<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

impl RawAnswer {
    /// Reads a response.
    ///
    /// # Errors
    ///
    /// -32603, if it is not either a result or an error: what the upstream did is then not known.
    pub fn parse(message: Bytes) -> Result<Self, ErrorObject> {
        let broken = || ErrorObject::new(code::INTERNAL_ERROR, "the upstream's answer is not a JSON-RPC response");
        let view: Option<ResponseView<'_>> = std::str::from_utf8(&message).ok().and_then(object);
        let ResponseView { id, result, error } = view.ok_or_else(broken)?;
        let (kind, holder) = match (result, error) {
            (Some(result), None) => result_kind(result.get()),
            (None, Some(error)) => {
                let ErrorView { code, data } = object(error.get()).ok_or_else(broken)?;
                (ResultKind::Error(code), data)
            }
            _ => return Err(broken()),
        };
        let states_facts = holder.is_some_and(|holder| facts(holder).is_some());
        let id = id.map(|id| message.slice_ref(id.get().as_bytes()));
        Ok(Self { body: Body::AsItCame { message, id }, kind, states_facts })
    }

    /// The number that the upstream answered to: the one that the request [went on](super::RawMessage::onward) under. `None`: it
    /// answered to something else, or did not say to what.
    pub fn id(&self) -> Option<u64> {
        let Body::AsItCame { id, .. } = &self.body else { return None };
        serde_json::from_slice(id.as_ref()?).ok()
    }

    /// The text of the `result` or `error` member.
    pub(super) fn text(&self) -> Option<&str> {
        let (Body::AsItCame { message: bytes, .. } | Body::Result(bytes)) = &self.body;
        let text = std::str::from_utf8(bytes).ok()?;
        if !matches!(self.body, Body::AsItCame { .. }) {
            return Some(text);
        }
        let ResponseView { result, error, .. } = object(text)?;
        error.or(result).map(RawValue::get)
    }

    fn view<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        object(self.text()?)
    }

    /// Puts another text in the place of what it was made from.
    fn set_text(&mut self, text: Bytes) {
        match &mut self.body {
            Body::Result(body) => {
                *body = text;
                self.states_facts = self.holder().is_some_and(|holder| facts(holder).is_some());
            }
            // What else is known of the message stands elsewhere now.
            Body::AsItCame { .. } => {
                if let Ok(answer) = Self::parse(text) {
                    *self = answer;
                }
            }
        }
    }

    /// The object that facts stand in: the `_meta` of a result, the `data` of an error.
    fn holder(&self) -> Option<&RawValue> {
        match self.kind {
            ResultKind::Error(_) => self.view::<ErrorView<'_>>()?.data,
            _ => self.view::<ResultView<'_>>()?.meta,
        }
    }
}

/// What stands under our own key.
fn facts(holder: &RawValue) -> Option<&RawValue> {
    object::<Members<'_>>(holder.get())?.get(OUTCOME_KEY)
}

/// What kind a result is, and its `_meta`. A type that is not known makes a result that is not valid; and what has a member
/// twice, or one of another type, is read by nobody alike.
fn result_kind(result: &str) -> (ResultKind, Option<&RawValue>) {
    let Some(ResultView { is_error, result_type, task, meta }) = object(result) else { return (ResultKind::Unrecognised, None) };
    // 2025-11-25 has tasks and no types: there a task is known by its member.
    let is_task = || task.and_then(|task| object::<TaskView<'_>>(task.get())?.task_id).is_some();
    (ResultKind::stated(result_type.as_deref(), is_error, is_task), meta)
}

impl CallResult for RawAnswer {
    fn kind(&self) -> ResultKind {
        self.kind
    }

    fn tool_error(text: String, facts: &Facts) -> Result<Self, String> {
        let result = Value::tool_error(text, facts)?;
        Ok(Self { body: Body::Result(made(&result)), kind: ResultKind::ToolError, states_facts: true })
    }

    fn error_text(&self) -> Option<Cow<'_, str>> {
        if let ResultKind::Error(_) = self.kind {
            return self.view::<MessageView<'_>>()?.message;
        }
        let ContentView { content } = self.view()?;
        let texts: Vec<_> = content.into_iter().filter_map(|block| block.text).collect();
        match <[_; 1]>::try_from(texts) {
            Ok([only]) => Some(only),
            Err(texts) => Some(texts.join("\n").into()),
        }
    }

    fn structured(&self) -> Option<Cow<'_, Value>> {
        let said = match self.kind {
            ResultKind::Error(_) => self.view::<ErrorView<'_>>()?.data,
            _ => self.view::<StructuredView<'_>>()?.content,
        };
        serde_json::from_str(said?.get()).ok().map(Cow::Owned)
    }

    fn said_facts(&self) -> Option<Value> {
        serde_json::from_str(facts(self.holder()?)?.get()).ok()
    }

    fn retry_after(&self) -> Option<Duration> {
        let DelayView { retry_after_ms } = object(self.view::<ErrorView<'_>>()?.data?.get())?;
        serde_json::from_str(retry_after_ms?.get()).ok().map(Duration::from_millis)
    }

    fn clear_facts(&mut self) {
        if !self.states_facts {
            return;
        }
        let (Body::AsItCame { message: bytes, .. } | Body::Result(bytes)) = &self.body;
        let mut edits = Edits::of(bytes);
        if let Some(holder) = self.holder()
            && let Some(members) = object::<Members<'_>>(holder.get())
        {
            edits.replace(holder.get().as_bytes(), members.without(|name| name == OUTCOME_KEY));
        }
        if let Some(cleared) = edits.apply() {
            self.set_text(cleared);
        }
    }

    fn freshness(&self) -> Freshness {
        let Some(FreshnessView { ttl_ms, cache_scope }) = self.view() else { return Freshness::default() };
        Freshness {
            ttl: ttl_ms.and_then(|ttl| u64::try_from(ttl).ok()).map(Duration::from_millis).unwrap_or_default(),
            scope: if cache_scope.as_deref() == Some("public") { CacheScope::Public } else { CacheScope::Private },
        }
    }

    fn set_ttl(&mut self, left: Duration) {
        let said = self.freshness().ttl;
        if said.as_millis() == left.as_millis() {
            return;
        }
        let (Body::AsItCame { message: bytes, .. } | Body::Result(bytes)) = &self.body;
        let mut edits = Edits::of(bytes);
        if let Some(TtlView { ttl_ms }) = self.view() {
            edits.replace(ttl_ms.get().as_bytes(), left.as_millis().to_string());
        }
        if let Some(edited) = edits.apply() {
            self.set_text(edited);
        }
    }

    fn weight(&self) -> usize {
        let (Body::AsItCame { message: bytes, .. } | Body::Result(bytes)) = &self.body;
        size_of::<Self>() + bytes.len()
    }

    fn bytes(&self) -> Option<usize> {
        let (Body::AsItCame { message: bytes, .. } | Body::Result(bytes)) = &self.body;
        Some(bytes.len())
    }

    fn digest(&self) -> Option<Digest> {
        // Members that no two answers share say nothing of what was answered.
        canonical::digest_of_members(self.text()?, |name| name != "_meta")
    }

    fn add_notice(&mut self, text: &str, facts: &Facts) {
        let (Body::AsItCame { message: bytes, .. } | Body::Result(bytes)) = &self.body;
        let Some((whole, members)) = self.text().and_then(|whole| Some((whole, object::<Members<'_>>(whole)?))) else { return };
        let is_error = matches!(self.kind, ResultKind::Error(_));
        let (mut edits, mut fresh) = (Edits::of(bytes), Vec::new());
        let block = || format!(r#"{{"type":"text","text":{}}}"#, json!(text));
        match members.get(if is_error { "message" } else { "content" }) {
            // Facts alone.
            _ if text.is_empty() => {}
            Some(message) if is_error => {
                let said: String = serde_json::from_str(message.get()).unwrap_or_default();
                edits.replace(message.get().as_bytes(), json!(format!("{said}. {text}")).to_string());
            }
            Some(content) => edits.push(content.get().as_bytes(), &block()),
            None if is_error => fresh.push(format!("\"message\":{}", json!(text))),
            None => fresh.push(format!("\"content\":[{}]", block())),
        }
        let (holder, stated) = (if is_error { "data" } else { "_meta" }, facts.to_json());
        match members.get(holder).map(|there| (there, self::facts(there))) {
            // Somebody who is believed has said it already: see `Facts::add_to`.
            Some((_, Some(_))) if is_error => {}
            Some((_, Some(known))) => edits.replace(known.get().as_bytes(), stated.to_string()),
            Some((there, None)) => edits.open(there.get().as_bytes(), &format!("\"{OUTCOME_KEY}\":{stated}")),
            None => fresh.push(format!("\"{holder}\":{{\"{OUTCOME_KEY}\":{stated}}}")),
        }
        if !fresh.is_empty() {
            edits.open(whole.as_bytes(), &fresh.join(","));
        }
        if let Some(noted) = edits.apply() {
            self.set_text(noted);
        }
    }
}
