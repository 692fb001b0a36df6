//! How a call ended, in the words of the audit trail.

use serde::Serialize;

use crate::{
    call::{CallResult, Response, ResultKind, Verdict},
    classify::{Cause, cause},
    error::BoxError,
};

/// How a call ended: a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    ToolError,
    Error,
    Denied,
    Rejected,
    Timeout,
    Cancelled,
    InputRequired,
    Task,
    Panic,
    Unknown,
}

impl Outcome {
    pub(super) const ALL: [Self; 11] = [
        Self::Success,
        Self::ToolError,
        Self::Error,
        Self::Denied,
        Self::Rejected,
        Self::Timeout,
        Self::Cancelled,
        Self::InputRequired,
        Self::Task,
        Self::Panic,
        Self::Unknown,
    ];

    pub(super) fn of<R>(outcome: &Result<Response<R>, BoxError>, verdict: Verdict) -> Self {
        match verdict {
            Verdict::Ok => Self::Success,
            Verdict::ToolError => Self::ToolError,
            Verdict::InputRequired => Self::InputRequired,
            Verdict::Task => Self::Task,
            Verdict::Denied => Self::Denied,
            Verdict::LocalReject | Verdict::RemoteReject { .. } => Self::Rejected,
            Verdict::Cancelled => Self::Cancelled,
            Verdict::ClientFault | Verdict::SessionLost | Verdict::Throttled { .. } | Verdict::NotSent => Self::Error,
            Verdict::Ambiguous { .. } | Verdict::Hurried => match outcome {
                Ok(_) => Self::Error,
                Err(error) => match cause(&**error) {
                    Cause::Panic => Self::Panic,
                    Cause::Timeout(_) => Self::Timeout,
                    Cause::Other => Self::Unknown,
                },
            },
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ToolError => "tool_error",
            Self::Error => "error",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::InputRequired => "input_required",
            Self::Task => "task",
            Self::Panic => "panic",
            Self::Unknown => "unknown",
        }
    }
}

/// What is written down of an answer. Never what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Answered {
    is_error: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
}

impl Answered {
    pub(super) fn of<R: CallResult>(response: &Response<R>) -> Self {
        let (code, result) = (response.error_code(), response.result.as_ref().ok());
        let failed = result.is_some_and(|result| matches!(result.kind(), ResultKind::ToolError | ResultKind::Unrecognised));
        Self { is_error: code.is_some() || failed, code, bytes: result.and_then(CallResult::bytes) }
    }
}
