//! The spans: what they are called, and what they say.

use std::fmt::{self, Display, Write};

use tracing::{Level, Span, field::Empty};

use super::{context, policy::Policy};
use crate::{
    call::{CallParams, CallResult, Head, Method, OTHER, Request, Response, Session, Target, TraceContext, Verdict, is_unsafe},
    classify::{attempts, refusal},
    error::BoxError,
    metrics::{ErrorType, RpcCode, Side, upstream},
};

/// The target of all spans of this module.
pub const TARGET: &str = "buttress::trace";

/// How much of a text of others' stands in a span.
const TEXT: usize = 256;

/// A span that somebody listens to, of what is not over yet.
#[derive(Debug)]
pub(super) struct Open {
    span: Span,
    side: Side,
}

impl Open {
    /// The span of a call. `None`: nobody listens.
    #[inline]
    pub(super) fn call<P: CallParams>(request: &Request<P>, policy: &Policy) -> Option<Self> {
        if !tracing::span_enabled!(target: TARGET, Level::INFO) {
            return None;
        }
        let (head, id) = (&request.head, request.params.request_id());
        let [operation, tool, prompt] = names(&head.target);
        let span = tracing::info_span!(
            target: TARGET,
            "call",
            otel.name = %Name(&head.target),
            otel.kind = policy.kind(),
            otel.status_code = Empty,
            otel.status_description = Empty,
            "error.type" = Empty,
            mcp.method.name = head.target.method().label(),
            mcp.protocol.version = head.revision.map(tracing::field::display),
            mcp.session.id = head.session_of_revision().map(Session::pseudonym),
            gen_ai.operation.name = operation,
            gen_ai.tool.name = tool,
            gen_ai.prompt.name = prompt,
            jsonrpc.request.id = id.as_deref().map(|id| tracing::field::display(Capped(id))),
            rpc.response.status_code = Empty,
            buttress.upstream = &*upstream(&head.target),
            buttress.verdict = Empty,
            buttress.attempts = Empty,
            buttress.served = Empty,
            buttress.refused.layer = Empty,
            buttress.refused.reason = Empty,
        );
        let open = Self::of(span, Side::Server)?;
        context::adopt(&open.span, policy.incoming, head.meta.as_ref().and_then(|meta| meta.trace.as_ref()));
        Some(open)
    }

    /// The span of an attempt, within the one that is open. `None`: nobody listens.
    #[inline]
    pub(super) fn attempt(head: &Head) -> Option<Self> {
        if !tracing::span_enabled!(target: TARGET, Level::INFO) {
            return None;
        }
        let [operation, tool, prompt] = names(&head.target);
        let span = tracing::info_span!(
            target: TARGET,
            "attempt",
            otel.name = %Name(&head.target),
            otel.kind = "client",
            otel.status_code = Empty,
            otel.status_description = Empty,
            "error.type" = Empty,
            mcp.method.name = head.target.method().label(),
            mcp.protocol.version = head.revision.map(tracing::field::display),
            gen_ai.operation.name = operation,
            gen_ai.tool.name = tool,
            gen_ai.prompt.name = prompt,
            rpc.response.status_code = Empty,
            buttress.upstream = &*upstream(&head.target),
            buttress.verdict = Empty,
            buttress.attempt = i64::from(head.attempt) + 1,
            buttress.refused.layer = Empty,
            buttress.refused.reason = Empty,
        );
        Self::of(span, Side::Client)
    }

    fn of(span: Span, side: Side) -> Option<Self> {
        (!span.is_disabled()).then_some(Self { span, side })
    }

    /// The ids that the span has, if somebody gives it some.
    pub(super) fn context(&self) -> Option<TraceContext> {
        context::of(&self.span)
    }

    /// Within the span.
    pub(super) fn inside<T>(&self, run: impl FnOnce() -> T) -> T {
        self.span.in_scope(run)
    }

    pub(super) fn close<R: CallResult>(self, outcome: &Result<Response<R>, BoxError>) {
        let span = &self.span;
        if self.side == Side::Server {
            span.record("buttress.attempts", i64::from(attempts(outcome)));
            if let Ok(response) = outcome {
                span.record("buttress.served", response.served.as_str());
            }
        }
        if let Some((layer, reason)) = refusal(outcome) {
            span.record("buttress.refused.layer", layer);
            span.record("buttress.refused.reason", reason.as_str());
        }
        // Also where it is the handler's word that names the error.
        if let Some(code) = outcome.as_ref().ok().and_then(Response::error_code) {
            span.record("rpc.response.status_code", RpcCode::of(code).as_str());
        }
        self.end(Verdict::of(outcome), ErrorType::of(outcome), || match outcome {
            Ok(response) => response.error_message().map(|message| Capped(&message).to_string()),
            Err(error) => Some(Capped(&error.to_string()).to_string()),
        });
    }

    /// Of what was dropped before it had an outcome.
    pub(super) fn cancelled(self) {
        self.end(Verdict::Cancelled, ErrorType::Cancelled, || None);
    }

    fn end(self, verdict: Verdict, error_type: ErrorType, said: impl FnOnce() -> Option<String>) {
        let span = &self.span;
        span.record("buttress.verdict", verdict.as_str());
        let [error_type, _] = error_type.labels(self.side);
        if !error_type.is_empty() {
            span.record("error.type", error_type);
            span.record("otel.status_code", "error");
            if let Some(said) = said() {
                span.record("otel.status_description", said);
            }
        }
    }
}

/// What the conventions say of the target, where it applies: the operation, the tool, the prompt. They have no word for
/// a resource template; it stands in the span's name.
fn names(target: &Target) -> [Option<&str>; 3] {
    match target.method() {
        Method::ToolsCall => [Some("execute_tool"), Some(target.label()), None],
        Method::PromptsGet => [None, None, Some(target.label())],
        _ => [None; 3],
    }
}

/// What a span is called: the method, and the target where the upstream has listed it. What callers make up is in none.
struct Name<'a>(&'a Target);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.method().label())?;
        match self.0.label() {
            "" | OTHER => Ok(()),
            label => write!(f, " {label}"),
        }
    }
}

/// The beginning of a text that others chose, on one line that reads as it is written.
struct Capped<'a>(&'a str);

impl Display for Capped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = TEXT;
        for c in self.0.chars() {
            let Some(rest) = left.checked_sub(c.len_utf8()) else { return f.write_char('…') };
            left = rest;
            f.write_char(if is_unsafe(c) { ' ' } else { c })?;
        }
        Ok(())
    }
}
