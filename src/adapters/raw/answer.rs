use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::text::Edits;
use crate::{
    call::{CacheScope, CallResult, Digest, ErrorObject, Facts, Freshness, OUTCOME_KEY, ResultKind, canonical},
    classify::code,
};

/// A JSON-RPC response: as it came, or made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawAnswer {
    pub(super) body: Body,
    kind: ResultKind,
}

/// What is known of a message that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// The whole message.
    AsItCame(Bytes),
    /// The `result` of a message that is still to be written, under the id of the caller's own spelling.
    Result(Bytes),
    /// The `error` of such a message.
    Error(Bytes),
}

/// The text of a body that is made here.
pub(super) fn made(body: &Value) -> Bytes {
    body.to_string().into()
}

#[derive(Deserialize)]
struct ResponseView<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<ErrorView>,
}

#[derive(Deserialize)]
struct ErrorView {
    code: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResultView<'a> {
    is_error: Option<bool>,
    #[serde(borrow)]
    result_type: Option<Cow<'a, str>>,
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
struct ContentView<'a> {
    #[serde(borrow)]
    content: Vec<BlockView<'a>>,
}

#[derive(Deserialize)]
struct BlockView<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct FactsView {
    #[serde(rename = "_meta")]
    meta: Option<OutcomeView>,
    data: Option<OutcomeView>,
}

#[derive(Deserialize)]
struct OutcomeView {
    #[serde(rename = "dev.buttress/outcome")]
    outcome: Option<Value>,
}

#[derive(Deserialize)]
struct BodyView<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl RawAnswer {
    /// Reads a response.
    ///
    /// # Errors
    ///
    /// -32603, if it is neither a result nor an error: what the upstream did is then not known.
    pub fn parse(message: Bytes) -> Result<Self, ErrorObject> {
        let view: Option<ResponseView<'_>> = serde_json::from_slice(&message).ok();
        let kind = match view {
            Some(ResponseView { error: Some(error), .. }) => ResultKind::Error(error.code),
            Some(ResponseView { result: Some(result), .. }) => result_kind(result.get()),
            _ => return Err(ErrorObject::new(code::INTERNAL_ERROR, "the upstream's answer is not a JSON-RPC response")),
        };
        Ok(Self { body: Body::AsItCame(message), kind })
    }
}

impl RawAnswer {
    /// The text of the `result` or `error` member.
    fn text(&self) -> Option<&str> {
        let bytes = match &self.body {
            Body::Result(body) | Body::Error(body) => return std::str::from_utf8(body).ok(),
            Body::AsItCame(message) => message,
        };
        let view: BodyView<'_> = serde_json::from_slice(bytes).ok()?;
        view.error.or(view.result).map(RawValue::get)
    }

    fn view<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.text()?).ok()
    }
}

fn result_kind(result: &str) -> ResultKind {
    let view: Option<ResultView<'_>> = serde_json::from_str(result).ok();
    match view {
        Some(ResultView { result_type: Some(kind), .. }) if kind == "input_required" => ResultKind::InputRequired,
        Some(ResultView { result_type: Some(kind), .. }) if kind == "task" => ResultKind::Task,
        Some(ResultView { is_error: Some(true), .. }) => ResultKind::ToolError,
        _ => ResultKind::Complete,
    }
}

impl CallResult for RawAnswer {
    fn kind(&self) -> ResultKind {
        self.kind
    }

    fn tool_error(text: String, facts: &Facts) -> Result<Self, String> {
        let result = json!({ "content": [{ "type": "text", "text": text }], "isError": true, "_meta": { OUTCOME_KEY: facts } });
        Ok(Self { body: Body::Result(made(&result)), kind: ResultKind::ToolError })
    }

    fn error_text(&self) -> Option<Cow<'_, str>> {
        let ContentView { content } = self.view()?;
        let texts: Vec<_> = content.into_iter().filter_map(|block| block.text).collect();
        match <[_; 1]>::try_from(texts) {
            Ok([only]) => Some(only),
            Err(texts) => Some(texts.join("\n").into()),
        }
    }

    fn said_facts(&self) -> Option<Value> {
        let FactsView { meta, data } = self.view()?;
        meta.or(data)?.outcome
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
        let (Body::AsItCame(bytes) | Body::Result(bytes) | Body::Error(bytes)) = &self.body;
        let mut edits = Edits::of(bytes);
        if let Some(TtlView { ttl_ms }) = self.view() {
            edits.replace(ttl_ms.get().as_bytes(), left.as_millis().to_string());
        }
        let edited = edits.apply();
        if let (Some(edited), Body::AsItCame(bytes) | Body::Result(bytes) | Body::Error(bytes)) = (edited, &mut self.body) {
            *bytes = edited;
        }
    }

    fn weight(&self) -> usize {
        let (Body::AsItCame(bytes) | Body::Result(bytes) | Body::Error(bytes)) = &self.body;
        size_of::<Self>() + bytes.len()
    }

    fn bytes(&self) -> Option<usize> {
        let (Body::AsItCame(bytes) | Body::Result(bytes) | Body::Error(bytes)) = &self.body;
        Some(bytes.len())
    }

    fn digest(&self) -> Option<Digest> {
        // Members that no two answers share say nothing of what was answered.
        canonical::digest_of_members(self.text()?, |name| name != "_meta")
    }

    fn detached(&self) -> Self {
        let Body::AsItCame(message) = &self.body else { return self.clone() };
        let body = self.text().map(|text| message.slice_ref(text.as_bytes()));
        match (body, self.kind) {
            (Some(body), ResultKind::Error(_)) => Self { body: Body::Error(body), kind: self.kind },
            (Some(body), _) => Self { body: Body::Result(body), kind: self.kind },
            (None, _) => self.clone(),
        }
    }

    fn add_notice(&mut self, text: &str, facts: &Facts) {
        // Facts alone are no reason to touch the upstream's bytes; a warning is.
        if text.is_empty() {
            return;
        }
        let Some(mut body) = self.view::<Value>() else { return };
        let Some(members) = body.as_object_mut() else { return };
        if matches!(self.kind, ResultKind::Error(_)) {
            let said = members.get("message").and_then(Value::as_str).unwrap_or_default();
            members.insert("message".to_owned(), json!(format!("{said}. {text}")));
            members.entry("data").or_insert_with(|| facts.to_data());
            self.body = Body::Error(made(&body));
        } else {
            if let Some(content) = members.entry("content").or_insert_with(|| json!([])).as_array_mut() {
                content.push(json!({ "type": "text", "text": text }));
            }
            if let Some(known) = members.entry("_meta").or_insert_with(|| json!({})).as_object_mut() {
                known.insert(OUTCOME_KEY.to_owned(), facts.to_json());
            }
            self.body = Body::Result(made(&body));
        }
    }
}
