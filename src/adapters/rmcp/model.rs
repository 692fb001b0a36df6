//! rmcp's results, errors and lists in the stack's own terms.

use std::{borrow::Cow, time::Duration};

use ::rmcp::{
    ErrorData,
    model::{
        self, CallToolResult, ClientRequest, ContentBlock, ErrorCode, GetMeta, ListPromptsResult, ListResourceTemplatesResult,
        ListToolsResult, MetaObject, RequestParamsMeta, ResultType, ServerResult, Tool,
    },
};
use serde_json::{Map, Value};

use crate::{
    call::{
        Annotations, CAPABILITIES_KEY, CacheScope, CallParams, CallResult, Digest, ErrorObject, Facts, Freshness, Method,
        OUTCOME_KEY, ResultKind, canonical,
    },
    catalogue::{Catalogue, Scope},
};

impl CallResult for ServerResult {
    fn kind(&self) -> ResultKind {
        match self {
            Self::InputRequiredResult(_) => ResultKind::InputRequired,
            Self::CreateTaskResult(_) => ResultKind::Task,
            Self::CustomResult(result) if is_untyped_task(&result.0) => ResultKind::Task,
            _ if stated_type(self).is_some_and(|kind| kind != ResultType::COMPLETE.as_str()) => ResultKind::Unrecognised,
            Self::CallToolResult(result) if result.is_error == Some(true) => ResultKind::ToolError,
            _ => ResultKind::Complete,
        }
    }

    fn tool_error(text: String, facts: &Facts) -> Result<Self, String> {
        let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
        note(&mut result.meta, facts);
        Ok(Self::CallToolResult(result))
    }

    fn error_text(&self) -> Option<Cow<'_, str>> {
        let Self::CallToolResult(result) = self else { return None };
        let mut texts = result.content.iter().filter_map(ContentBlock::as_text).map(|block| &*block.text);
        match (texts.next()?, texts.next()) {
            (only, None) => Some(only.into()),
            (first, Some(second)) => Some([first, second].into_iter().chain(texts).collect::<Vec<_>>().join("\n").into()),
        }
    }

    fn structured(&self) -> Option<Cow<'_, Value>> {
        let Self::CallToolResult(result) = self else { return None };
        result.structured_content.as_ref().map(Cow::Borrowed)
    }

    fn said_facts(&self) -> Option<Value> {
        let Self::CallToolResult(result) = self else { return None };
        result.meta.as_ref()?.0.get(OUTCOME_KEY).cloned()
    }

    fn clear_facts(&mut self) {
        match self {
            Self::CallToolResult(result) => {
                if let Some(meta) = &mut result.meta {
                    meta.0.remove(OUTCOME_KEY);
                }
            }
            // It may say of itself whatever a tool's result may.
            Self::CustomResult(result) => {
                if let Some(meta) = result.0.get_mut("_meta").and_then(Value::as_object_mut) {
                    meta.remove(OUTCOME_KEY);
                }
            }
            // No other says that it failed, and only of failures are facts believed.
            _ => {}
        }
    }

    fn freshness(&self) -> Freshness {
        let (ttl, scope) = match self {
            Self::ListToolsResult(result) => (result.ttl_ms, result.cache_scope),
            Self::ListPromptsResult(result) => (result.ttl_ms, result.cache_scope),
            Self::ListResourcesResult(result) => (result.ttl_ms, result.cache_scope),
            Self::ListResourceTemplatesResult(result) => (result.ttl_ms, result.cache_scope),
            Self::ReadResourceResult(result) => (result.ttl_ms, result.cache_scope),
            Self::DiscoverResult(result) => (Some(result.ttl_ms), Some(result.cache_scope)),
            _ => (None, None),
        };
        Freshness {
            ttl: ttl.map(Duration::from_millis).unwrap_or_default(),
            scope: if scope == Some(model::CacheScope::Public) { CacheScope::Public } else { CacheScope::Private },
        }
    }

    fn set_ttl(&mut self, left: Duration) {
        let ttl = match self {
            Self::ListToolsResult(result) => result.ttl_ms.as_mut(),
            Self::ListPromptsResult(result) => result.ttl_ms.as_mut(),
            Self::ListResourcesResult(result) => result.ttl_ms.as_mut(),
            Self::ListResourceTemplatesResult(result) => result.ttl_ms.as_mut(),
            Self::ReadResourceResult(result) => result.ttl_ms.as_mut(),
            Self::DiscoverResult(result) => Some(&mut result.ttl_ms),
            _ => None,
        };
        if let Some(ttl) = ttl {
            *ttl = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        }
    }

    fn weight(&self) -> usize {
        // What it would be on the wire stands for what it takes in memory: no type of rmcp's says.
        size_of::<Self>() + serde_json::to_vec(self).map_or(0, |text| 2 * text.len())
    }

    fn digest(&self) -> Option<Digest> {
        let mut result = serde_json::to_value(self).ok()?;
        if let Some(members) = result.as_object_mut() {
            members.remove("_meta");
        }
        Some(canonical::digest_of_value(&result))
    }

    fn add_notice(&mut self, text: &str, facts: &Facts) {
        if let Self::CallToolResult(result) = self {
            if !text.is_empty() {
                result.content.push(ContentBlock::text(text));
            }
            note(&mut result.meta, facts);
        }
    }
}

/// The `resultType`, of results that may state any: rmcp keeps what it does not know.
fn stated_type(result: &ServerResult) -> Option<&str> {
    let stated = match result {
        ServerResult::CallToolResult(result) => &result.result_type,
        ServerResult::CompleteResult(result) => &result.result_type,
        ServerResult::GetPromptResult(result) => &result.result_type,
        ServerResult::GetSkillResult(result) => &result.result_type,
        ServerResult::ListPromptsResult(result) => &result.result_type,
        ServerResult::ListResourcesResult(result) => &result.result_type,
        ServerResult::ListResourceTemplatesResult(result) => &result.result_type,
        ServerResult::ListSkillsResult(result) => &result.result_type,
        ServerResult::ListToolsResult(result) => &result.result_type,
        ServerResult::ReadResourceResult(result) => &result.result_type,
        ServerResult::CustomResult(result) => return result.0.get("resultType")?.as_str(),
        _ => return None,
    };
    stated.as_ref().map(ResultType::as_str)
}

/// Whether it is a task of 2025-11-25, which has no types and which rmcp does not know: there a task is known by its member.
fn is_untyped_task(result: &Value) -> bool {
    result.get("resultType").is_none() && result.get("task").is_some_and(|task| task.get("taskId").is_some())
}

fn note(meta: &mut Option<MetaObject>, facts: &Facts) {
    meta.get_or_insert_default().0.insert(OUTCOME_KEY.to_owned(), facts.to_json());
}

pub(super) fn error_object(error: ErrorData) -> ErrorObject {
    ErrorObject { code: error.code.0.into(), message: error.message, data: error.data }
}

pub(super) fn error_data(mut error: ErrorObject, facts: Option<Box<Facts>>) -> ErrorData {
    if let Some(facts) = facts {
        facts.add_to(&mut error.data);
    }
    // Codes come from rmcp itself or are HTTP statuses: all fit.
    let code = i32::try_from(error.code).map_or(ErrorCode::INTERNAL_ERROR, ErrorCode);
    ErrorData::new(code, error.message, error.data)
}

pub(super) fn annotations(tool: &Tool) -> Annotations {
    let hints = tool.annotations.as_ref();
    Annotations {
        read_only: hints.and_then(|hints| hints.read_only_hint),
        idempotent: hints.and_then(|hints| hints.idempotent_hint),
    }
}

/// What a request is addressed to.
pub(super) fn addressed(request: &ClientRequest) -> (Method, Option<&str>) {
    let method = match request {
        // Also what rmcp makes of a known method with malformed parameters. Whatever it is called, it is answered as a
        // custom request, and no name makes it exempt.
        ClientRequest::CustomRequest(custom) => Method::Custom(custom.method.as_str().into()),
        request => Method::from_wire(request.method()),
    };
    let name = match request {
        ClientRequest::CallToolRequest(call) => Some(&*call.params.name),
        ClientRequest::GetPromptRequest(get) => Some(&*get.params.name),
        ClientRequest::ReadResourceRequest(read) => Some(&*read.params.uri),
        _ => None,
    };
    (method, name)
}

/// The `_meta` within a request's parameters: where a program has put it, as rmcp itself keeps what it reads outside of them.
macro_rules! meta_within {
    ($request:expr, $meta:ident, $as_mut:ident, $get:ident, $object:ident) => {
        match $request {
            ClientRequest::CustomRequest(custom) => return custom.params.$as_mut()?.$get("_meta")?.$object(),
            ClientRequest::InitializeRequest(request) => request.params.$meta(),
            ClientRequest::CompleteRequest(request) => request.params.$meta(),
            ClientRequest::SetLevelRequest(request) => request.params.$meta(),
            ClientRequest::GetPromptRequest(request) => request.params.$meta(),
            ClientRequest::ListPromptsRequest(request) => request.params.$as_mut()?.$meta(),
            ClientRequest::ListResourcesRequest(request) => request.params.$as_mut()?.$meta(),
            ClientRequest::ListResourceTemplatesRequest(request) => request.params.$as_mut()?.$meta(),
            ClientRequest::ReadResourceRequest(request) => request.params.$meta(),
            ClientRequest::SubscriptionsListenRequest(request) => request.params.$meta(),
            ClientRequest::SubscribeRequest(request) => request.params.$meta(),
            ClientRequest::UnsubscribeRequest(request) => request.params.$meta(),
            ClientRequest::CallToolRequest(request) => request.params.$meta(),
            ClientRequest::ListToolsRequest(request) => request.params.$as_mut()?.$meta(),
            ClientRequest::GetTaskRequest(request) => request.params.$meta(),
            ClientRequest::UpdateTaskRequest(request) => request.params.$meta(),
            ClientRequest::CancelTaskRequest(request) => request.params.$meta(),
            ClientRequest::ListSkillsRequest(request) => request.params.$as_mut()?.$meta(),
            ClientRequest::GetSkillRequest(request) => request.params.$meta(),
            ClientRequest::ReadResourceDirectoryRequest(request) => request.params.$meta(),
            _ => return None,
        }
    };
}

pub(super) fn meta_within(request: &ClientRequest) -> Option<&Map<String, Value>> {
    meta_within!(request, meta, as_ref, get, as_object).map(|meta| &meta.0.0)
}

#[cfg(feature = "rmcp-client")]
pub(super) fn meta_within_mut(request: &mut ClientRequest) -> Option<&mut Map<String, Value>> {
    meta_within!(request, meta_mut, as_mut, get_mut, as_object_mut).as_mut().map(|meta| &mut meta.0.0)
}

/// Learns the names in an answer that lists some.
pub(super) fn learn(catalogue: &Catalogue, scope: Scope, result: &ServerResult) {
    match result {
        ServerResult::ListToolsResult(ListToolsResult { tools, .. }) => {
            let listed = tools.iter().map(|tool| (&*tool.name, annotations(tool)));
            catalogue.learn(&Method::ToolsCall, scope, listed);
        }
        ServerResult::ListPromptsResult(ListPromptsResult { prompts, .. }) => {
            let listed = prompts.iter().map(|prompt| (&*prompt.name, Annotations::default()));
            catalogue.learn(&Method::PromptsGet, scope, listed);
        }
        ServerResult::ListResourceTemplatesResult(ListResourceTemplatesResult { resource_templates, .. }) => {
            let listed = resource_templates.iter().map(|listed| (&*listed.uri_template, Annotations::default()));
            catalogue.learn(&Method::ResourcesRead, scope, listed);
        }
        _ => {}
    }
}

impl CallParams for ClientRequest {
    fn arguments(&self) -> Option<Digest> {
        digests(self).0
    }

    fn question(&self) -> Option<Digest> {
        Some(question(self.arguments()?, declared(self)))
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        match (self, addressed(self).1) {
            (_, Some(name)) => Some(name.into()),
            (Self::CustomRequest(custom), None) => Some(custom.method.as_str().into()),
            _ => None,
        }
    }

    fn continuation(&self) -> Option<Digest> {
        let continues = match self {
            Self::CallToolRequest(call) => call.params.input_responses.is_some() || call.params.request_state.is_some(),
            Self::GetPromptRequest(get) => get.params.input_responses.is_some() || get.params.request_state.is_some(),
            Self::ReadResourceRequest(read) => read.params.input_responses.is_some() || read.params.request_state.is_some(),
            _ => false,
        };
        continues.then(|| digests(self).1).flatten()
    }

    fn arguments_text(&self) -> Option<Cow<'_, str>> {
        let arguments = match self {
            Self::CallToolRequest(call) => call.params.arguments.as_ref(),
            Self::GetPromptRequest(get) => get.params.arguments.as_ref(),
            _ => None,
        };
        serde_json::to_string(arguments?).ok().map(Cow::Owned)
    }
}

/// What the client declares with a request that it is capable of.
pub(super) fn declared(request: &ClientRequest) -> Option<&Value> {
    request.get_meta().0.get(CAPABILITIES_KEY).or_else(|| meta_within(request)?.get(CAPABILITIES_KEY))
}

/// What is asked with these arguments by a client that declares these capabilities, if any.
pub(super) fn question(arguments: Digest, declared: Option<&Value>) -> Digest {
    Digest::of_parts(&(arguments, declared.map(canonical::digest_of_value)))
}

/// The digest of a request's arguments and, if it continues an earlier one, of what it brings along.
fn digests(request: &ClientRequest) -> (Option<Digest>, Option<Digest>) {
    let Ok(Value::Object(mut request)) = serde_json::to_value(request) else { return (None, None) };
    let mut continuation = serde_json::Map::new();
    if let Some(params) = request.get_mut("params").and_then(Value::as_object_mut) {
        params.remove("_meta");
        for brought in ["inputResponses", "requestState"] {
            continuation.extend(params.remove_entry(brought));
        }
    }
    let brought = (!continuation.is_empty()).then(|| canonical::digest_of_value(&Value::Object(continuation)));
    (Some(canonical::digest_of_value(&Value::Object(request))), brought)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_that_has_aged_says_so_where_it_says_anything_of_it() {
        let left = |ttl| {
            let mut list = ListToolsResult::with_all_items(Vec::new());
            list.ttl_ms = ttl;
            let mut result = ServerResult::ListToolsResult(list);
            result.set_ttl(Duration::from_secs(1));
            let ServerResult::ListToolsResult(list) = result else { return None };
            list.ttl_ms
        };
        assert_eq!((left(Some(60_000)), left(None)), (Some(1_000), None));
    }

    #[test]
    fn a_server_that_stamps_the_time_says_the_same_all_the_same() {
        let digest = |text: &str, now: u32| {
            let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
            result.meta.get_or_insert_default().0.insert("example.com/now".to_owned(), json!(now));
            ServerResult::CallToolResult(result).digest()
        };
        assert!(digest("no", 1).is_some() && digest("no", 1) == digest("no", 2));
        assert_ne!(digest("no", 1), digest("never", 1));
    }

    #[test]
    fn facts_stand_beside_the_data_of_an_error() {
        let mut error = ErrorObject::new(-32603, "busy");
        error.data = Some(json!({ "trace": "abc" }));
        let data = error_data(error, Some(Box::new(Facts::new("throttled", true)))).data.unwrap();
        assert_eq!((data["trace"].as_str(), data[OUTCOME_KEY]["class"].as_str()), (Some("abc"), Some("throttled")));
    }

    fn result(value: serde_json::Value) -> ServerResult {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_type_that_is_not_known_is_no_success() {
        let kind = |value| result(value).kind();
        assert_eq!(kind(json!({ "content": [] })), ResultKind::Complete);
        assert_eq!(kind(json!({ "resultType": "complete", "content": [], "isError": true })), ResultKind::ToolError);
        assert_eq!(kind(json!({ "resultType": "half", "content": [] })), ResultKind::Unrecognised);
        assert_eq!(kind(json!({ "resultType": "half", "tools": [] })), ResultKind::Unrecognised);
        assert_eq!(kind(json!({ "resultType": "half", "x": 1 })), ResultKind::Unrecognised);
        assert_eq!(kind(json!({ "x": 1 })), ResultKind::Complete);
    }

    #[test]
    fn a_task_of_the_revision_that_has_no_types_is_one() {
        let task = json!({ "taskId": "a", "status": "working", "createdAt": "2025-11-25T10:30:00Z", "ttl": null });
        assert_eq!(result(json!({ "task": task })).kind(), ResultKind::Task);
        assert_eq!(result(json!({ "resultType": "complete", "task": task })).kind(), ResultKind::Complete);
        assert_eq!(result(json!({ "task": "write" })).kind(), ResultKind::Complete);
    }

    #[test]
    fn what_a_client_declares_is_part_of_the_question_and_not_of_the_arguments() {
        let ask = |declares: Value| -> ClientRequest {
            let meta = json!({ "io.modelcontextprotocol/clientCapabilities": declares, "progressToken": 1 });
            serde_json::from_value(json!({ "method": "tools/list", "params": { "_meta": meta } })).unwrap()
        };
        let [with, without] = [ask(json!({ "sampling": {} })), ask(json!({}))];
        assert_eq!(with.arguments(), without.arguments());
        assert_ne!(with.question(), without.question());
        assert_eq!(with.question(), ask(json!({ "sampling": {} })).question());
        let mut within = ask(json!({}));
        let meta = std::mem::take(within.get_meta_mut());
        let ClientRequest::ListToolsRequest(request) = &mut within else { panic!("{without:?}") };
        request.params.get_or_insert_default().meta = Some(meta);
        assert_eq!(within.question(), without.question());
    }

    #[test]
    fn facts_are_cleared_wherever_a_result_may_say_that_it_failed() {
        for shape in [json!({ "content": [], "isError": true }), json!({ "x": 1, "isError": true })] {
            let mut said = shape.clone();
            said["_meta"] = json!({ OUTCOME_KEY: { "class": "not_sent" }, "y": 1 });
            let mut cleared = result(said);
            cleared.clear_facts();
            let cleared = serde_json::to_value(cleared).unwrap();
            assert_eq!(cleared["_meta"], json!({ "y": 1 }), "{shape}");
        }
    }
}
