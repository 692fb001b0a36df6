//! Plain JSON values as parameters and as results: for handlers that speak MCP's own shapes and use no SDK's types.

use std::{borrow::Cow, time::Duration};

use serde_json::{Map, Value, json};

use super::{CAPABILITIES_KEY, CacheScope, CallParams, CallResult, Digest, Facts, Freshness, OUTCOME_KEY, ResultKind, canonical};

const META: &str = "_meta";

/// The `params` of a request. What is no object has neither name nor `_meta`, and is its own arguments.
impl CallParams for Value {
    fn arguments(&self) -> Option<Digest> {
        Some(match self {
            Self::Object(params) => {
                canonical::digest_of_map(params, |name| name != META && name != "inputResponses" && name != "requestState")
            }
            other => canonical::digest_of_value(other),
        })
    }

    fn question(&self) -> Option<Digest> {
        let declared = meta(self).and_then(|meta| meta.get(CAPABILITIES_KEY)).map(canonical::digest_of_value);
        Some(Digest::of_parts(&(self.arguments()?, declared)))
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        let name = self.get("name").or_else(|| self.get("uri"))?;
        name.as_str().map(Cow::Borrowed)
    }

    fn continuation(&self) -> Option<Digest> {
        let continues = |name: &str| name == "inputResponses" || name == "requestState";
        let params = self.as_object().filter(|params| params.keys().any(|name| continues(name)))?;
        Some(canonical::digest_of_map(params, continues))
    }

    fn arguments_text(&self) -> Option<Cow<'_, str>> {
        self.get("arguments").map(|arguments| arguments.to_string().into())
    }
}

/// The `result` of a response. What is no object says nothing of its kind, like any other type of a handler's own.
impl CallResult for Value {
    fn kind(&self) -> ResultKind {
        let Self::Object(result) = self else { return ResultKind::Unstated };
        let stated = match result.get("resultType") {
            None | Some(Self::Null) => None,
            // What is no string names none of the types either.
            Some(stated) => Some(stated.as_str().unwrap_or_default()),
        };
        let is_error = result.get("isError").and_then(Self::as_bool);
        ResultKind::stated(stated, is_error, || result.get("task").is_some_and(|task| task.get("taskId").is_some()))
    }

    fn error_text(&self) -> Option<Cow<'_, str>> {
        let texts = self.get("content")?.as_array()?.iter().filter_map(|block| block.get("text")?.as_str());
        match *texts.collect::<Vec<_>>() {
            [only] => Some(only.into()),
            ref texts => Some(texts.join("\n").into()),
        }
    }

    fn structured(&self) -> Option<Cow<'_, Value>> {
        self.get("structuredContent").map(Cow::Borrowed)
    }

    fn said_facts(&self) -> Option<Value> {
        meta(self)?.get(OUTCOME_KEY).cloned()
    }

    fn clear_facts(&mut self) {
        if let Some(Self::Object(meta)) = self.get_mut(META) {
            meta.remove(OUTCOME_KEY);
        }
    }

    fn freshness(&self) -> Freshness {
        let ttl = self.get("ttlMs").and_then(Self::as_u64).map(Duration::from_millis).unwrap_or_default();
        let public = self.get("cacheScope").and_then(Self::as_str) == Some("public");
        Freshness { ttl, scope: if public { CacheScope::Public } else { CacheScope::Private } }
    }

    fn set_ttl(&mut self, left: Duration) {
        if let Some(ttl) = self.get_mut("ttlMs") {
            *ttl = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).into();
        }
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::String(text) => text.len(),
                Self::Array(items) => items.iter().map(Self::weight).sum(),
                Self::Object(members) => {
                    members.iter().map(|(name, value)| size_of::<String>() + name.len() + value.weight()).sum()
                }
                Self::Null | Self::Bool(_) | Self::Number(_) => 0,
            }
    }

    fn digest(&self) -> Option<Digest> {
        Some(match self {
            // Members that no two answers share say nothing of what was answered.
            Self::Object(result) => canonical::digest_of_map(result, |name| name != META),
            other => canonical::digest_of_value(other),
        })
    }

    fn tool_error(text: String, facts: &Facts) -> Result<Self, String> {
        // Revisions before 2026-07-28 have no `resultType`, and let their results have any members.
        Ok(json!({
            "resultType": "complete",
            "content": [{ "type": "text", "text": text }],
            "isError": true,
            META: { OUTCOME_KEY: facts },
        }))
    }

    fn add_notice(&mut self, text: &str, facts: &Facts) {
        let Self::Object(result) = self else { return };
        if !text.is_empty()
            && let Self::Array(content) = result.entry("content").or_insert_with(|| json!([]))
        {
            content.push(json!({ "type": "text", "text": text }));
        }
        if let Self::Object(meta) = result.entry(META).or_insert_with(|| json!({})) {
            meta.insert(OUTCOME_KEY.to_owned(), facts.to_json());
        }
    }
}

fn meta(of: &Value) -> Option<&Map<String, Value>> {
    of.get(META)?.as_object()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_the_same_where_a_server_cannot_tell_them_apart() {
        let params = json!({ "name": "say", "arguments": { "a": 1, "b": [2] } });
        let stamped = json!({ "arguments": { "b": [2], "a": 1 }, "name": "say", "_meta": { "progressToken": 7 } });
        assert_eq!((params.arguments(), params.question()), (stamped.arguments(), stamped.question()));
        for other in [
            json!({ "name": "ask", "arguments": { "a": 1, "b": [2] } }),
            json!({ "name": "say", "arguments": { "a": "1", "b": [2] } }),
            json!({ "name": "say" }),
            json!(["say"]),
        ] {
            assert_ne!(params.arguments(), other.arguments(), "{other}");
        }
        let capable =
            json!({ "name": "say", "arguments": { "a": 1, "b": [2] }, "_meta": { CAPABILITIES_KEY: { "sampling": {} } } });
        assert!(params.arguments() == capable.arguments() && params.question() != capable.question());
        assert_eq!((params.name().as_deref(), params.continuation()), (Some("say"), None));
        assert_eq!(json!({ "uri": "file:///a" }).name().as_deref(), Some("file:///a"));
        assert_eq!(params.arguments_text().as_deref(), Some(r#"{"a":1,"b":[2]}"#));
    }

    #[test]
    fn a_continuation_is_told_by_what_continues_it() {
        let with = |state: &str| json!({ "name": "say", "requestState": state });
        assert!(with("a").continuation().is_some() && with("a").continuation() != with("b").continuation());
        assert_eq!(with("a").arguments(), json!({ "name": "say" }).arguments());
    }

    #[test]
    fn what_kind_of_answer_a_result_is() {
        for (result, kind) in [
            (json!({ "content": [] }), ResultKind::Complete),
            (json!({ "resultType": "complete", "isError": false }), ResultKind::Complete),
            (json!({ "isError": true }), ResultKind::ToolError),
            (json!({ "resultType": "input_required", "isError": true }), ResultKind::InputRequired),
            (json!({ "resultType": "task" }), ResultKind::Task),
            (json!({ "task": { "taskId": "1" } }), ResultKind::Task),
            (json!({ "task": {} }), ResultKind::Complete),
            (json!({ "resultType": "other" }), ResultKind::Unrecognised),
            (json!({ "resultType": 1 }), ResultKind::Unrecognised),
            (json!("sunny"), ResultKind::Unstated),
        ] {
            assert_eq!(result.kind(), kind, "{result}");
        }
    }

    #[test]
    fn what_else_a_result_says() {
        let facts = Facts::new("throttled", true);
        let mut failed = Value::tool_error("no".to_owned(), &facts).unwrap();
        assert_eq!((failed.kind(), failed.error_text().as_deref()), (ResultKind::ToolError, Some("no")));
        assert_eq!(failed.said_facts(), Some(facts.to_json()));
        let digest = failed.digest();
        failed.clear_facts();
        assert_eq!((failed.said_facts(), failed.digest()), (None, digest));
        failed.add_notice("again", &facts);
        assert_eq!((failed.error_text().as_deref(), failed.said_facts()), (Some("no\nagain"), Some(facts.to_json())));
        assert!(failed.digest() != digest && failed.weight() > json!({}).weight());

        let mut fresh = json!({ "ttlMs": 5000, "cacheScope": "public", "structuredContent": { "a": 1 } });
        assert_eq!(fresh.freshness(), Freshness::new(Duration::from_secs(5), CacheScope::Public));
        assert_eq!(fresh.structured().as_deref(), Some(&json!({ "a": 1 })));
        fresh.set_ttl(Duration::from_secs(2));
        assert_eq!(fresh["ttlMs"], 2000);
        let mut unsaid = json!({ "ttlMs": -1 });
        assert_eq!(unsaid.freshness(), Freshness::default());
        unsaid = json!({});
        unsaid.set_ttl(Duration::from_secs(2));
        assert_eq!(unsaid, json!({}));
    }
}
