//! rmcp's results, errors and lists in the stack's own terms.

use ::rmcp::{
    ErrorData,
    model::{CallToolResult, ContentBlock, ErrorCode, ListPromptsResult, ListToolsResult, MetaObject, ServerResult, Tool},
};
use serde_json::Value;

use crate::{
    call::{Annotations, CallResult, ErrorObject, Method, ResultKind},
    catalogue::{Catalogue, Scope},
    rescue::META_KEY,
};

impl CallResult for ServerResult {
    fn kind(&self) -> ResultKind {
        match self {
            Self::CallToolResult(result) if result.is_error == Some(true) => ResultKind::ToolError,
            Self::InputRequiredResult(_) => ResultKind::InputRequired,
            Self::CreateTaskResult(_) => ResultKind::Task,
            _ => ResultKind::Complete,
        }
    }

    fn tool_error(text: String, meta: Value) -> Option<Self> {
        let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
        note(&mut result.meta, meta);
        Some(Self::CallToolResult(result))
    }

    fn add_notice(&mut self, text: &str, meta: Value) {
        if let Self::CallToolResult(result) = self {
            if !text.is_empty() {
                result.content.push(ContentBlock::text(text));
            }
            note(&mut result.meta, meta);
        }
    }
}

fn note(meta: &mut Option<MetaObject>, facts: Value) {
    meta.get_or_insert_default().0.insert(META_KEY.to_owned(), facts);
}

pub(super) fn error_object(error: ErrorData) -> ErrorObject {
    ErrorObject { code: error.code.0.into(), message: error.message, data: error.data }
}

pub(super) fn error_data(error: ErrorObject) -> ErrorData {
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

/// Learns the names in an answer that lists some.
///
/// As public, whatever its `cacheScope`: rmcp writes `private` wherever a handler says nothing, and a name of a handler in
/// this process is one tool, with one breaker and one limit, whoever may see it.
pub(super) fn learn(catalogue: &Catalogue, result: &ServerResult) {
    match result {
        ServerResult::ListToolsResult(ListToolsResult { tools, .. }) => {
            let listed = tools.iter().map(|tool| (&*tool.name, annotations(tool)));
            catalogue.learn(&Method::ToolsCall, Scope::Public, listed);
        }
        ServerResult::ListPromptsResult(ListPromptsResult { prompts, .. }) => {
            let listed = prompts.iter().map(|prompt| (&*prompt.name, Annotations::default()));
            catalogue.learn(&Method::PromptsGet, Scope::Public, listed);
        }
        _ => {}
    }
}
