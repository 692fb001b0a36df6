//! What the rich server asks and serves.

use std::sync::Arc;

use rmcp::model::*;
use serde_json::json;

use super::SKILL;

pub fn form() -> ElicitRequestParams {
    let requested_schema = ElicitationSchema::builder().required_string("name").build().unwrap();
    ElicitRequestParams::FormElicitationParams { meta: None, message: "Who are you?".into(), requested_schema }
}

pub fn sample() -> CreateMessageRequestParams {
    CreateMessageRequestParams::new(vec![SamplingMessage::user_text("Say a word.")], 16).with_temperature(0.5)
}

/// What a tool, a prompt or a resource asks before it answers: one of each kind, and a state to be echoed to the byte.
pub fn ask() -> InputRequiredResult {
    let requests = [
        ("form".to_owned(), InputRequest::Elicitation(ElicitRequest::new(form()))),
        ("sample".to_owned(), InputRequest::CreateMessage(CreateMessageRequest::new(sample()))),
        ("roots".to_owned(), InputRequest::ListRoots(ListRootsRequest::default())),
    ];
    InputRequiredResult::new(Some(requests.into()), Some("half.way/+= \"quoted\"\n".into()))
}

/// What was answered, as text; `None` if nothing has been asked yet.
pub fn answered(inputs: Option<InputResponses>, state: Option<String>) -> Option<String> {
    Some(json!({ "inputs": inputs?, "state": state }).to_string())
}

pub fn skill() -> Skill {
    let files = vec![SkillResource::from_bytes(SKILL, b"# Knots")];
    Skill::new(SKILL, SkillFrontmatter::new("knots", "How to tie them."), SkillResources::Files(files))
}

/// Two fields of a tool's schema are enough for a call to be wrong in.
pub fn schema() -> Arc<JsonObject> {
    Arc::new(object(json!({
        "type": "object",
        "properties": { "city": { "type": "string", "x-mcp-header": "City" }, "days": { "type": "integer" } },
    })))
}
