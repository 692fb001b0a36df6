//! What a client asks, and the answer as it can tell.

use buttress::call::OUTCOME_KEY;
use rmcp::{
    ServiceError,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest, ErrorData, GetPromptRequestParams, JsonObject,
        ReadResourceRequestParams, ServerResult, object,
    },
};
use serde_json::{Value, json};

use crate::{client::Client, patience::within, weather::OBSERVATIONS};

pub const WEATHER: &str = "get_weather";
pub const FORECAST: &str = "get_forecast";
pub const REPORT: &str = "report_observation";
pub const PACKING_LIST: &str = "packing_list";

/// Nobody listed this one.
pub const INVENTED: &str = "invent_weather";

pub const TOOLS: [&str; 3] = [WEATHER, FORECAST, REPORT];

/// One call, ready to be made.
#[derive(Debug, Clone)]
pub struct Ask {
    pub target: Target,
    arguments: JsonObject,
    /// The note of a report.
    pub note: Option<String>,
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Tool(&'static str),
    Prompt(&'static str),
    Observations,
}

impl Target {
    /// The labels under which its calls are to be found in the metrics.
    pub fn labels(self) -> [(&'static str, &'static str); 3] {
        let (method, tool, prompt) = match self {
            Self::Tool(INVENTED) => ("tools/call", "_OTHER", ""),
            Self::Tool(name) => ("tools/call", name, ""),
            Self::Prompt(name) => ("prompts/get", "", name),
            Self::Observations => ("resources/read", "", ""),
        };
        [("mcp_method_name", method), ("gen_ai_tool_name", tool), ("gen_ai_prompt_name", prompt)]
    }
}

/// How a call ended, as its caller can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `ok`; the class that the stack names; `tool_error` where it had nothing to add; or the code of a JSON-RPC error.
    pub class: String,
    /// Why the stack refused, if it did.
    pub reason: Option<String>,
    pub text: String,
}

impl Ask {
    fn new(target: Target, arguments: Value) -> Self {
        Self { target, arguments: object(arguments), note: None }
    }

    pub fn weather(city: &str) -> Self {
        Self::new(Target::Tool(WEATHER), json!({ "city": city, "units": "imperial" }))
    }

    pub fn forecast(city: &str) -> Self {
        Self::new(Target::Tool(FORECAST), json!({ "city": city, "days": 3 }))
    }

    /// A forecast with arguments that the handler cannot read. rmcp tells that as a result with `isError`.
    pub fn misfit() -> Self {
        Self::new(Target::Tool(FORECAST), json!({ "city": "Oslo", "days": "many" }))
    }

    pub fn report(city: &str, note: String) -> Self {
        let ask = Self::new(Target::Tool(REPORT), json!({ "city": city, "temperature_c": 4.5, "note": note }));
        Self { note: Some(note), ..ask }
    }

    pub fn packing_list(city: &str) -> Self {
        Self::new(Target::Prompt(PACKING_LIST), json!({ "city": city }))
    }

    pub fn observations() -> Self {
        Self::new(Target::Observations, json!({}))
    }

    /// A tool that does not exist.
    pub fn invented() -> Self {
        Self::new(Target::Tool(INVENTED), json!({}))
    }

    /// The request behind a tool call, for who wants to take it back.
    pub fn request(&self) -> ClientRequest {
        match self.target {
            Target::Tool(name) => ClientRequest::CallToolRequest(CallToolRequest::new(self.tool(name))),
            other => panic!("{other:?} is no tool"),
        }
    }

    fn tool(&self, name: &'static str) -> CallToolRequestParams {
        CallToolRequestParams::new(name).with_arguments(self.arguments.clone())
    }

    /// Makes the call. Each has to end, in an answer or an error that can be read.
    pub async fn put(&self, client: &Client) -> Answer {
        within(&format!("the answer to {self:?}"), async {
            match self.target {
                Target::Tool(name) => Answer::of_tool(client.call_tool(self.tool(name)).await),
                Target::Prompt(name) => {
                    let get = GetPromptRequestParams::new(name).with_arguments(self.arguments.clone());
                    Answer::of(client.get_prompt(get).await)
                }
                Target::Observations => Answer::of(client.read_resource(ReadResourceRequestParams::new(OBSERVATIONS)).await),
            }
        })
        .await
    }
}

impl Answer {
    /// The answer to a tool call that was sent by hand.
    pub fn of_response(answer: Result<ServerResult, ServiceError>) -> Self {
        Self::of_tool(answer.map(|result| match result {
            ServerResult::CallToolResult(result) => result,
            other => panic!("not an answer to a tool call: {other:?}"),
        }))
    }

    fn of_tool(answer: Result<CallToolResult, ServiceError>) -> Self {
        match answer {
            Ok(result) if result.is_error == Some(true) => {
                let text = result.content.iter().filter_map(|block| Some(&*block.as_text()?.text)).collect::<Vec<_>>().join("\n");
                let facts = result.meta.as_ref().and_then(|meta| meta.0.get(OUTCOME_KEY));
                Self::error(facts, "tool_error", text)
            }
            answer => Self::of(answer),
        }
    }

    fn of<T>(answer: Result<T, ServiceError>) -> Self {
        match answer {
            Ok(_) => Self { class: "ok".to_owned(), reason: None, text: String::new() },
            Err(ServiceError::McpError(ErrorData { code, message, data, .. })) => {
                let facts = data.as_ref().and_then(|data| data.get(OUTCOME_KEY));
                Self::error(facts, &code.0.to_string(), message.into_owned())
            }
            Err(error) => panic!("neither an answer nor an error of the server's: {error:?}"),
        }
    }

    fn error(facts: Option<&Value>, otherwise: &str, text: String) -> Self {
        let fact = |name: &str| Some(facts?.get(name)?.as_str()?.to_owned());
        assert!(text.len() > 10 && text.contains(' '), "not readable: {text:?}");
        Self { class: fact("class").unwrap_or_else(|| otherwise.to_owned()), reason: fact("reason"), text }
    }

    pub fn is(&self, class: &str) -> bool {
        self.class == class
    }
}
