//! How a call ended, as its caller can tell.

use buttress::call::{OUTCOME_KEY, Verdict};
use rmcp::{ServiceError, model::CallToolResult};
use serde_json::Value;

use super::ledger::Claim;

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was answered, and well.
    Ok,
    /// It was answered with an error of this class.
    Error(String),
    /// Not at all.
    None,
}

impl Answer {
    /// The answer to a tool call.
    pub fn of_tool(answer: Result<CallToolResult, ServiceError>) -> Self {
        match answer {
            Ok(result) if result.is_error == Some(true) => {
                let facts = result.meta.as_ref().and_then(|meta| meta.0.get(OUTCOME_KEY));
                // No facts: the handler spoke for itself, and the stack had nothing to add.
                Self::Error(class(facts).unwrap_or("tool_error").to_owned())
            }
            answer => Self::of(answer),
        }
    }

    /// Any other answer.
    pub fn of<T>(answer: Result<T, ServiceError>) -> Self {
        match answer {
            Ok(_) => Self::Ok,
            Err(ServiceError::McpError(error)) => {
                let facts = error.data.as_ref().and_then(|data| data.get(OUTCOME_KEY));
                // No facts: the code speaks for itself.
                let code = Verdict::of_code(error.code.0.into());
                Self::Error(class(facts).unwrap_or(code.as_str()).to_owned())
            }
            Err(error) => {
                tracing::warn!(%error, "a call had no answer");
                Self::None
            }
        }
    }

    /// What the caller of a write may claim after it.
    pub fn claim(&self) -> Claim {
        match self {
            Self::Ok => Claim::Made,
            Self::Error(class) => match &**class {
                "tool_error" | "throttled" | "not_sent" | "local_reject" | "client_fault" | "denied" => Claim::Refused,
                _ => Claim::Unknown,
            },
            Self::None => Claim::Unknown,
        }
    }
}

fn class(facts: Option<&Value>) -> Option<&str> {
    facts?.get("class")?.as_str()
}
