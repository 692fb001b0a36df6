//! The tools of the rich server: one for each thing that a tool can do.

use std::fmt::Display;

use rmcp::{ErrorData, RoleServer, model::*, service::RequestContext};
use serde_json::{Value, json};

use super::parts::{answered, ask, form, sample, schema};
use crate::tape::{Tape, Who};

/// Every tool, in the order of the list.
pub const TOOLS: [&str; 16] = [
    "echo",
    "structured",
    "list",
    "fails",
    "refuses",
    "own_code",
    "progress",
    "logs",
    "changes",
    "samples",
    "elicits",
    "roots",
    "calls_back",
    "ask",
    "task",
    "waits",
];

pub fn all() -> Vec<Tool> {
    let tool = |name| Tool::new(name, "One thing that a tool can do.", schema());
    let hints = ToolAnnotations::new().read_only(true);
    TOOLS.into_iter().map(|name| if name == "echo" { tool(name).with_annotations(hints.clone()) } else { tool(name) }).collect()
}

/// A notification that could not be sent.
pub fn lost(error: impl Display) -> ErrorData {
    ErrorData::invalid_request(format!("lost: {error}"), None)
}

pub fn task() -> Task {
    Task::new("task-1", TaskStatus::Working, "2026-07-28T00:00:00Z", "2026-07-28T00:00:01Z").with_poll_interval_ms(10)
}

fn text(text: impl Display) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(text.to_string())]).into()
}

/// What a client answered, or why it could not be asked.
fn told<T: serde::Serialize>(answer: Result<T, impl Display>) -> CallToolResponse {
    answer.map_or_else(|error| text(format!("could not ask: {error}")), |answer| text(json!(answer)))
}

pub async fn call(
    params: CallToolRequestParams,
    context: RequestContext<RoleServer>,
    tape: &Tape,
) -> Result<CallToolResponse, ErrorData> {
    let peer = &context.peer;
    match &*params.name {
        "echo" => {
            let content = vec![ContentBlock::text(json!(params.arguments).to_string()), ContentBlock::image("AAAA", "image/png")];
            let meta = json!({ "rich/own": [1, null, "two"] });
            Ok(CallToolResult::success(content).with_meta(serde_json::from_value(meta).ok()).into())
        }
        "structured" => Ok(CallToolResult::structured(json!({ "celsius": 21.5, "big": u64::MAX })).into()),
        // Not an object: rmcp rewrites it for clients of the older revisions.
        "list" => Ok(CallToolResult::structured(json!(["a", "b"])).into()),
        "fails" => Ok(CallToolResult::error(vec![ContentBlock::text("no such city")]).into()),
        "refuses" => Err(ErrorData::invalid_params("days must be a number", Some(json!({ "field": "days" })))),
        "own_code" => Err(ErrorData::new(ErrorCode(4711), "out of stock", Some(json!({ "left": 0 })))),
        "progress" => {
            let token = context.meta.get_progress_token().ok_or_else(|| lost("no token"))?;
            for step in [1.0, 2.0] {
                let param = ProgressNotificationParam::new(token.clone(), step).with_total(2.0).with_message("going");
                peer.notify_progress(param).await.map_err(lost)?;
            }
            Ok(text("went"))
        }
        "logs" => {
            for level in [LoggingLevel::Debug, LoggingLevel::Emergency] {
                let word = LoggingMessageNotificationParam::new(level, json!({ "word": 1 }));
                peer.notify_logging_message(word).await.map_err(lost)?;
            }
            Ok(text("logged"))
        }
        "changes" => {
            peer.notify_tool_list_changed().await.map_err(lost)?;
            peer.notify_prompt_list_changed().await.map_err(lost)?;
            peer.notify_resource_list_changed().await.map_err(lost)?;
            let working = DetailedTask::new(task(), TaskPayload::Working);
            let status = TaskStatusNotification::new(TaskStatusNotificationParams::new(working));
            peer.send_notification(ServerNotification::TaskStatusNotification(status)).await.map_err(lost)?;
            let own = CustomNotification::new("notifications/rich/own", Some(json!({ "n": 1 })));
            peer.send_notification(ServerNotification::CustomNotification(own)).await.map_err(lost)?;
            Ok(text("changed"))
        }
        "samples" => Ok(told(peer.create_message(sample()).await)),
        "elicits" => Ok(told(peer.create_elicitation(form()).await)),
        "roots" => Ok(told(peer.list_roots().await)),
        "calls_back" => {
            let ping = peer.send_request(ServerRequest::PingRequest(PingRequest::default())).await;
            let own = CustomRequest::new("client/own", Some(json!({ "n": 2 })));
            let own = peer.send_request(ServerRequest::CustomRequest(own)).await;
            let said = |answer: Result<ClientResult, _>| match answer {
                Ok(answer) => json!(answer),
                Err(error) => Value::from(rmcp::service::ServiceError::to_string(&error)),
            };
            Ok(text(json!([said(ping), said(own)])))
        }
        "ask" => Ok(answered(params.input_responses, params.request_state).map_or_else(|| ask().into(), text)),
        "task" => Ok(CreateTaskResult::new(task()).into()),
        "waits" => {
            // However its future ends, by the token or by being dropped, the tape says so once.
            let _left = Left(tape.clone());
            context.ct.cancelled().await;
            Ok(text("nobody reads this"))
        }
        name => Err(ErrorData::invalid_params(format!("no such tool: {name}"), None)),
    }
}

struct Left(Tape);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.write(Who::Handler, &json!({ "method": "left" }));
    }
}
