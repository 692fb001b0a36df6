//! What an outcome means: the one classifier.
//!
//! Every other layer reads the [`Verdict`] that is decided here, and none looks at error types, codes or statuses itself. The
//! innermost layer, [`attempt`](crate::attempt), classifies answers; [`Verdict::of`] reads the verdict from either side of a
//! `Result`, from anywhere in the stack.

use std::{
    borrow::Cow,
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    call::{CallResult, ErrorObject, Facts, Failure, OUTCOME_KEY, Response, ResultKind, Served, Target, Verdict, Word},
    error::{BoxError, Clock, Delivery, Exhausted, HttpStatus, Panicked, Reason, Rejected, TimedOut, Transport, find},
    logs::Sparingly,
};

/// The JSON-RPC codes that have a meaning of their own, from the specification of all revisions.
pub mod code {
    /// The message is not JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// The message is not a request.
    pub const INVALID_REQUEST: i64 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// No such tool, resource or prompt, or arguments that do not fit.
    pub const INVALID_PARAMS: i64 = -32602;
    /// The server failed.
    pub const INTERNAL_ERROR: i64 = -32603;
    /// No such resource (revisions up to 2025-11-25).
    pub const RESOURCE_NOT_FOUND: i64 = -32002;
    /// The caller has to visit a URL first (2025-11-25 only).
    pub const URL_ELICITATION_REQUIRED: i64 = -32042;
    /// HTTP headers and body disagree.
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The request needs a capability that the client did not declare.
    pub const MISSING_REQUIRED_CLIENT_CAPABILITY: i64 = -32021;
    /// The revision is not spoken here.
    pub const UNSUPPORTED_PROTOCOL_VERSION: i64 = -32022;
}

impl Verdict {
    /// The verdict on an outcome, from either side. An answer that no classifier has seen is judged by its JSON-RPC code
    /// alone, since its result type is not known here.
    pub fn of<R>(outcome: &Result<Response<R>, BoxError>) -> Self {
        match outcome {
            Ok(response) => response.verdict.unwrap_or_else(|| match &response.result {
                Ok(_) => Self::Ok,
                Err(error) => Self::of_error_object(error),
            }),
            Err(error) => Self::of_error(&**error),
        }
    }

    /// The verdict on an answer: the handler's word if it gave one, else what the answer looks like. A result that says that it
    /// is a success outranks an earlier *throttled* or *not sent*.
    pub fn of_answer<R: CallResult>(response: &Response<R>) -> Self {
        let kind = response.result.as_ref().map(CallResult::kind);
        let success = matches!(kind, Ok(ResultKind::Complete | ResultKind::InputRequired | ResultKind::Task));
        match response.word {
            // A call that worked out in the end has happened, whatever was said on the way: to repeat it would be a second
            // effect. Doubt stays.
            Some(Word::Throttled { .. } | Word::NotSent) if success => {}
            Some(word) => return word.verdict(),
            None => {}
        }
        match kind {
            Ok(ResultKind::Complete | ResultKind::Unstated) => Self::Ok,
            Ok(ResultKind::ToolError | ResultKind::Unrecognised) => Self::ToolError,
            Ok(ResultKind::InputRequired) => Self::InputRequired,
            Ok(ResultKind::Task) => Self::Task,
            Ok(ResultKind::Error(code)) => {
                Self::of_code(code).delayed(|| response.result.as_ref().ok().and_then(CallResult::retry_after))
            }
            Err(error) => Self::of_error_object(error),
        }
    }

    fn of_error_object(error: &ErrorObject) -> Self {
        Self::of_code(error.code).delayed(|| error.retry_after())
    }

    /// A doubt with the delay that the server names.
    fn delayed(self, named: impl FnOnce() -> Option<Duration>) -> Self {
        match self {
            Self::Ambiguous { retry_after: None, overload } => Self::Ambiguous { retry_after: named(), overload },
            settled => settled,
        }
    }

    /// The verdict on an answer to a call of `target`: as [`of_answer`](Self::of_answer) says, but the operator may have said
    /// what the tool's own error texts mean, or that the next hop is to be believed of calls that failed. `hurries`: the caller
    /// gives the call less time than the operator would, so a hop that had no time for it has that from him.
    pub(crate) fn of_answer_to<R: CallResult>(target: &Target, response: &Response<R>, hurries: bool) -> Self {
        let plain = Self::of_answer(response);
        if response.word.is_some() || matches!(plain, Self::Ok | Self::InputRequired | Self::Task) {
            return plain;
        }
        let believed = || if target.trusts_next_hop() { next_hop(&response.result, hurries) } else { None };
        let judged = || judged(target, &response.result).map(Word::verdict);
        believed().or_else(judged).unwrap_or(plain)
    }

    /// The verdict on a JSON-RPC error code. Codes outside -32768..-32000 are the application's own: it has answered.
    /// Reserved codes that say nothing about the outcome leave it in doubt.
    pub const fn of_code(code: i64) -> Self {
        match code {
            code::PARSE_ERROR
            | code::INVALID_REQUEST
            | code::METHOD_NOT_FOUND
            | code::INVALID_PARAMS
            | code::RESOURCE_NOT_FOUND
            | code::HEADER_MISMATCH
            | code::MISSING_REQUIRED_CLIENT_CAPABILITY
            | code::UNSUPPORTED_PROTOCOL_VERSION => Self::ClientFault,
            code::URL_ELICITATION_REQUIRED => Self::InputRequired,
            -32768..=-32000 => Self::AMBIGUOUS,
            _ => Self::ToolError,
        }
    }

    /// The verdict on a call that no handler answered, read from the first error in the chain that says anything.
    ///
    /// tower's own [`Overloaded`](tower::load_shed::error::Overloaded) and
    /// [`Elapsed`](tower::timeout::error::Elapsed) are known; an error of any other origin says nothing about whether the
    /// call had an effect, so it is [`Ambiguous`](Verdict::Ambiguous).
    pub fn of_error(error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<Rejected>() || error.is::<tower::load_shed::error::Overloaded>() {
                return Self::LocalReject;
            }
            if let Some(transport) = error.downcast_ref::<Transport>() {
                return match transport.delivery() {
                    Delivery::NotSent => Self::NotSent,
                    Delivery::Unknown => Self::AMBIGUOUS,
                };
            }
            if error.downcast_ref::<TimedOut>().is_some_and(|timed_out| timed_out.clock == Clock::Patience) {
                return Self::Hurried;
            }
            if error.is::<TimedOut>() || error.is::<tower::timeout::error::Elapsed>() {
                return Self::Ambiguous { retry_after: None, overload: true };
            }
            if let Some(status) = error.downcast_ref::<HttpStatus>() {
                return Self::of_status(*status);
            }
            next = error.source();
        }
        Self::AMBIGUOUS
    }

    /// The verdict on an HTTP status that came instead of an MCP message.
    pub const fn of_status(status: HttpStatus) -> Self {
        let HttpStatus { code, retry_after, in_session } = status;
        match code {
            429 => Self::Throttled { retry_after },
            401 | 403 => Self::Denied,
            404 if in_session => Self::SessionLost,
            425 => Self::NotSent,
            408 | 500..=599 => Self::Ambiguous { retry_after, overload: matches!(code, 408 | 503 | 504) },
            400..=499 => Self::ClientFault,
            // Neither an answer nor an error that HTTP knows: what it did is anybody's guess.
            _ => Self::AMBIGUOUS,
        }
    }
}

/// What the operator's judge says of an answer. It is asked outside of the panic guard, and has said nothing where it panics.
fn judged<R: CallResult>(target: &Target, result: &Result<R, ErrorObject>) -> Option<Word> {
    static TOLD: Sparingly = Sparingly::new();
    let judge = target.policy().judge_errors?;
    catch_unwind(AssertUnwindSafe(|| judge.judge(&failure(result)))).unwrap_or_else(|_| {
        if let Some(unsaid) = TOLD.happens(Instant::now()) {
            let (upstream, tool) = (target.upstream(), target.label());
            tracing::error!(upstream, tool, unsaid, "a judge of errors panicked: its word is missing");
        }
        None
    })
}

/// What the answer to a call that failed says.
fn failure<R: CallResult>(result: &Result<R, ErrorObject>) -> Failure<'_> {
    match result {
        Ok(result) => {
            let code = if let ResultKind::Error(code) = result.kind() { Some(code) } else { None };
            Failure { code, text: result.error_text().unwrap_or_default(), structured: result.structured() }
        }
        Err(ErrorObject { code, message, data }) => {
            Failure { code: Some(*code), text: Cow::Borrowed(message), structured: data.as_ref().map(Cow::Borrowed) }
        }
    }
}

/// What a stack like this one behind the next hop says became of the call. Only its facts count, since it states them with
/// whatever it has to say: a bare code may be that of a server behind it, which nobody vouches for.
fn next_hop<R: CallResult>(result: &Result<R, ErrorObject>, hurries: bool) -> Option<Verdict> {
    let (facts, code) = match result {
        Ok(result) => match result.kind() {
            ResultKind::Error(code) => (Facts::read(&result.said_facts()?)?, Some(code)),
            _ => (Facts::read(&result.said_facts()?)?, None),
        },
        Err(error) => (Facts::read(error.data.as_ref()?.get(OUTCOME_KEY)?)?, Some(error.code)),
    };
    let (class, Facts { retry_after, hurried, .. }) = facts;
    Some(match class {
        Verdict::LocalReject => refused(&facts.1, hurries),
        Verdict::Throttled { .. } => Verdict::Throttled { retry_after },
        Verdict::Ambiguous { .. } if hurried && hurries => Verdict::Hurried,
        Verdict::Ambiguous { .. } => Verdict::Ambiguous { retry_after, overload: hurried || code == Some(504) },
        class => class,
    })
}

/// What a refusal by a layer of the next hop's says of the target here. Nothing has happened in any case.
fn refused(facts: &Facts, hurries: bool) -> Verdict {
    let Facts { retry_after, reason, scope, .. } = *facts;
    match reason {
        _ if !facts.retryable => Verdict::RemoteReject { retry_after: None },
        // A repetition would be refused too, or be held against the agent, who knows nothing of it.
        Some(Reason::Loop | Reason::KeyReused | Reason::InProgress) => Verdict::RemoteReject { retry_after: None },
        Some(Reason::Deadline) if hurries => Verdict::RemoteReject { retry_after: None },
        // It had all the time that there was to give.
        Some(Reason::Deadline) => Verdict::Throttled { retry_after: None },
        // An agent's budget says of nobody that he shares it.
        Some(Reason::Quota) if scope.is_none() => Verdict::RemoteReject { retry_after },
        _ if scope.is_some_and(|scope| !scope.is_shared_by_all()) => Verdict::RemoteReject { retry_after },
        // With a delay it is a request for less, else it is no service.
        _ if retry_after.is_some() => Verdict::Throttled { retry_after },
        _ => Verdict::NotSent,
    }
}

/// What became of a call that no handler answered, where its error says more than the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Panic,
    /// After so long, if it is known.
    Timeout(Option<Duration>),
    Other,
}

/// Read from the first error in the chain that says anything.
pub(crate) fn cause(error: &(dyn Error + 'static)) -> Cause {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<Panicked>() {
            return Cause::Panic;
        }
        if let Some(timed_out) = error.downcast_ref::<TimedOut>() {
            return Cause::Timeout(Some(timed_out.after));
        }
        if error.is::<tower::timeout::error::Elapsed>() {
            return Cause::Timeout(None);
        }
        next = error.source();
    }
    Cause::Other
}

/// What a handler's error says, given its word: an error of the handler's own stack further in, or one that follows a doubt, says
/// nothing about whether this call had an effect.
pub(crate) fn handlers(error: BoxError, word: Option<Word>) -> BoxError {
    let doubt = match Verdict::of_error(&*error) {
        Verdict::Ambiguous { .. } | Verdict::Hurried => false,
        Verdict::LocalReject => find::<Rejected>(&*error).is_some() || word == Some(Word::Ambiguous),
        _ => word == Some(Word::Ambiguous),
    };
    if doubt { Transport::unknown(error).into() } else { error }
}

/// The outcome of a call of which another attempt ended in doubt, by the outcome of an attempt: what that one denies may still
/// have been done.
pub(crate) fn in_doubt<R>(outcome: Result<Response<R>, BoxError>) -> Result<Response<R>, BoxError> {
    if !Verdict::of(&outcome).denies() {
        return outcome;
    }
    match outcome {
        Ok(mut response) => {
            response.verdict = Some(Verdict::AMBIGUOUS);
            Ok(response)
        }
        Err(error) => Err(Transport::unknown(error).into()),
    }
}

/// Which layer refused the call, and why. `None`: none did. Another crate's layer has no name that is known here.
pub(crate) fn refusal<R>(outcome: &Result<Response<R>, BoxError>) -> Option<(&'static str, Reason)> {
    let error = outcome.as_ref().err().filter(|error| Verdict::of_error(&***error) == Verdict::LocalReject)?;
    let rejected = find::<Rejected>(&**error).map(|rejected| (rejected.layer(), rejected.reason()));
    Some(rejected.unwrap_or(("load_shed", Reason::Shed)))
}

/// How many attempts of this very call reached for the handler: none where it was refused, or answered from elsewhere.
pub(crate) fn attempts<R>(outcome: &Result<Response<R>, BoxError>) -> u32 {
    match outcome {
        Ok(response) if response.served == Served::Attempt => response.attempts,
        Ok(_) => 0,
        Err(error) => match find::<Exhausted>(&**error) {
            Some(exhausted) => exhausted.attempts,
            None => u32::from(refusal(outcome).is_none()),
        },
    }
}

/// When a call, or an attempt, ended: its answer knows, and an error is read as it comes.
#[inline]
pub(crate) fn ended<R>(outcome: &Result<Response<R>, BoxError>) -> Instant {
    outcome.as_ref().ok().and_then(|response| response.completed).unwrap_or_else(Instant::now)
}

/// The same outcome, which its caller does not get at once: that it has come says no longer that the call has ended.
pub(crate) fn held_back<R>(mut outcome: Result<Response<R>, BoxError>) -> Result<Response<R>, BoxError> {
    if let Ok(response) = &mut outcome {
        response.completed = None;
    }
    outcome
}

/// What a service that failed to become ready says of the call that waited for it: whatever the error, nothing was sent.
pub(crate) fn unsent(error: impl Into<BoxError>) -> BoxError {
    let error = error.into();
    match Verdict::of_error(&*error) {
        verdict if verdict.is_in_doubt() => Transport::not_sent(error).into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        call::{ErrorObject, Method, TargetPolicy, Upstream},
        error::Panicked,
    };

    const OVERLOAD: Verdict = Verdict::Ambiguous { retry_after: None, overload: true };

    #[derive(Clone)]
    struct Answer(ResultKind);

    impl CallResult for Answer {
        fn kind(&self) -> ResultKind {
            self.0
        }
    }

    #[test]
    fn answers() {
        let of = |kind| Verdict::of_answer(&Response::new(Answer(kind)));
        assert_eq!(of(ResultKind::Complete), Verdict::Ok);
        assert_eq!(of(ResultKind::ToolError), Verdict::ToolError);
        assert_eq!(of(ResultKind::InputRequired), Verdict::InputRequired);
        assert_eq!(of(ResultKind::Task), Verdict::Task);
        assert_eq!(of(ResultKind::Unrecognised), Verdict::ToolError);
        assert_eq!(of(ResultKind::Error(-32602)), Verdict::ClientFault);
    }

    #[test]
    fn codes() {
        for code in [-32700, -32600, -32601, -32602, -32002, -32020, -32021, -32022] {
            assert_eq!(Verdict::of_code(code), Verdict::ClientFault, "{code}");
        }
        assert_eq!(Verdict::of_code(-32042), Verdict::InputRequired);
        for code in [-32603, -32000, -32001, -32019, -32023, -32099, -32500, -32768] {
            assert_eq!(Verdict::of_code(code), Verdict::AMBIGUOUS, "{code}");
        }
        assert_eq!(code::INTERNAL_ERROR, -32603);
        for code in [0, 1, 429, 503, -1, -31999, -32769] {
            assert_eq!(Verdict::of_code(code), Verdict::ToolError, "{code}");
        }
        let of = |code, data| {
            let response = Response::<Answer>::from_error(ErrorObject { data: Some(data), ..ErrorObject::new(code, "no") });
            let verdict = Verdict::of_answer(&response);
            assert_eq!(Verdict::of(&Ok(response)), verdict);
            verdict
        };
        let delayed = Verdict::Ambiguous { retry_after: Some(Duration::from_secs(3)), overload: false };
        assert_eq!(of(-32000, json!({ "retryAfterMs": 3000 })), delayed);
        for odd in [json!({ "retryAfterMs": "3000" }), json!({ "retryAfterMs": -1 }), json!([3000]), json!(null)] {
            assert_eq!(of(-32000, odd), Verdict::AMBIGUOUS);
        }
        assert_eq!(of(-32602, json!({ "retryAfterMs": 3000 })), Verdict::ClientFault, "a delay mends no fault of the caller's");
        let response = Response::<Answer>::from_error(ErrorObject::new(-32603, "failed"));
        assert_eq!(Verdict::of_answer(&response), Verdict::AMBIGUOUS);
        assert_eq!(Verdict::of(&Ok(response)), Verdict::AMBIGUOUS);
    }

    #[test]
    fn statuses() {
        let of = |code, retry_after, in_session| Verdict::of_status(HttpStatus { code, retry_after, in_session });
        let after = Some(Duration::from_secs(3));
        assert_eq!(of(429, after, false), Verdict::Throttled { retry_after: after });
        assert_eq!(of(503, after, false), Verdict::Ambiguous { retry_after: after, overload: true });
        for code in [408, 504] {
            assert_eq!(of(code, None, false), OVERLOAD, "{code}");
        }
        for code in [500, 501, 502, 599, 302, 199] {
            assert_eq!(of(code, None, false), Verdict::AMBIGUOUS, "{code}");
        }
        assert_eq!(of(425, None, false), Verdict::NotSent);
        assert_eq!((of(401, None, false), of(403, None, true)), (Verdict::Denied, Verdict::Denied));
        assert_eq!((of(404, None, true), of(404, None, false)), (Verdict::SessionLost, Verdict::ClientFault));
        for code in [400, 405, 413, 415, 422] {
            assert_eq!(of(code, None, true), Verdict::ClientFault, "{code}");
        }
    }

    #[test]
    fn errors_are_read_through_whatever_wraps_them() {
        let of = |error: BoxError| Verdict::of_error(&*error);
        assert_eq!(of(Rejected::new("quota", Reason::Quota).into()), Verdict::LocalReject);
        assert_eq!(of(tower::load_shed::error::Overloaded::new().into()), Verdict::LocalReject);
        assert_eq!(of(Transport::not_sent("refused").into()), Verdict::NotSent);
        assert_eq!(of(Transport::unknown("reset").into()), Verdict::AMBIGUOUS);
        let timed_out = TimedOut { clock: Clock::Attempt, after: Duration::ZERO };
        assert_eq!(of(timed_out.into()), OVERLOAD);
        assert_eq!(of(TimedOut { clock: Clock::Patience, ..timed_out }.into()), Verdict::Hurried);
        assert_eq!(of(tower::timeout::error::Elapsed::new().into()), OVERLOAD);
        assert_eq!(of(Panicked.into()), Verdict::AMBIGUOUS);
        assert_eq!(of("anything else".into()), Verdict::AMBIGUOUS);
        assert_eq!(of(Exhausted::new(3, Transport::not_sent("refused").into()).into()), Verdict::NotSent);
        // What the handler's transport says outranks a status further down.
        assert_eq!(
            of(Transport::unknown(HttpStatus { code: 429, retry_after: None, in_session: false }).into()),
            Verdict::AMBIGUOUS
        );
    }

    #[test]
    fn what_lost_a_call_is_read_through_whatever_wraps_it() {
        let of = |error: BoxError| cause(&*error);
        let timed_out = || TimedOut::new(Clock::Attempt, Duration::from_secs(7));
        assert_eq!(of(Panicked.into()), Cause::Panic);
        assert_eq!(of(timed_out().into()), Cause::Timeout(Some(Duration::from_secs(7))));
        assert_eq!(of(Exhausted::new(2, timed_out().into()).into()), Cause::Timeout(Some(Duration::from_secs(7))));
        assert_eq!(of(tower::timeout::error::Elapsed::new().into()), Cause::Timeout(None));
        assert_eq!(of(Transport::unknown("reset").into()), Cause::Other);
    }

    #[test]
    fn the_handlers_word_outranks_the_look_of_its_answer() {
        let answered = |kind, word| Verdict::of_answer(&Response::new(Answer(kind)).with_word(word));
        let says = |word| answered(ResultKind::ToolError, word);
        let retry_after = Some(Duration::from_secs(1));
        assert_eq!(says(Word::Throttled { retry_after }), Verdict::Throttled { retry_after });
        assert_eq!(says(Word::NotSent), Verdict::NotSent);
        assert_eq!(says(Word::Ambiguous), Verdict::AMBIGUOUS);
        assert_eq!(answered(ResultKind::Unstated, Word::NotSent), Verdict::NotSent);
        assert_eq!(answered(ResultKind::Complete, Word::NotSent), Verdict::Ok);
        assert_eq!(answered(ResultKind::Task, Word::Throttled { retry_after }), Verdict::Task);
        assert_eq!(answered(ResultKind::Complete, Word::Ambiguous), Verdict::AMBIGUOUS);
    }

    #[test]
    fn a_handlers_error_cannot_say_that_nothing_happened_after_a_doubt() {
        let of = |error: BoxError, word| Verdict::of_error(&*handlers(error, word));
        let not_sent = || Transport::not_sent("refused").into();
        assert_eq!(of(not_sent(), None), Verdict::NotSent);
        assert_eq!(of(not_sent(), Some(Word::Ambiguous)), Verdict::AMBIGUOUS);
        // A refusal by a stack that the handler itself calls through is not this stack's.
        assert_eq!(of(Rejected::new("quota", Reason::Quota).into(), None), Verdict::AMBIGUOUS);
        assert_eq!(of(tower::load_shed::error::Overloaded::new().into(), None), Verdict::LocalReject);
        // What is in doubt already keeps what else it says.
        let timed_out = TimedOut { clock: Clock::Attempt, after: Duration::ZERO };
        assert_eq!(of(timed_out.into(), Some(Word::Ambiguous)), OVERLOAD);
        assert_eq!(of(TimedOut { clock: Clock::Patience, ..timed_out }.into(), Some(Word::Ambiguous)), Verdict::Hurried);
    }

    #[test]
    fn a_service_that_does_not_become_ready_was_sent_nothing() {
        let of = |error: BoxError| Verdict::of_error(&*unsent(error));
        assert_eq!(of("out of order".into()), Verdict::NotSent);
        assert_eq!(of(Transport::unknown("reset").into()), Verdict::NotSent);
        assert_eq!(of(Rejected::new("concurrency", Reason::NoSlot).into()), Verdict::LocalReject);
    }

    /// A result that says something to a model, and something to machines.
    #[derive(Clone)]
    struct Telling(&'static str, Value);

    impl CallResult for Telling {
        fn kind(&self) -> ResultKind {
            ResultKind::ToolError
        }

        fn error_text(&self) -> Option<std::borrow::Cow<'_, str>> {
            Some(self.0.into())
        }

        fn said_facts(&self) -> Option<Value> {
            Some(self.1.clone())
        }
    }

    fn target(policy: TargetPolicy, next_hop: bool) -> Target {
        let upstream = Upstream::new("up");
        if next_hop {
            upstream.trust_next_hop();
        }
        let target = Target::new(upstream, Method::ToolsCall, Some("t".into()));
        target.set_policy(policy);
        target
    }

    #[test]
    fn the_operator_may_say_what_a_tools_own_text_means() {
        let judge = |failure: &Failure<'_>| {
            let structured = failure.structured.as_ref().and_then(|said| said.get("throttled")).is_some();
            let told = failure.text.contains("busy") || failure.code == Some(1001) || structured;
            told.then_some(Word::NotSent)
        };
        let judges = TargetPolicy::default().judge_errors(judge);
        let of = |policy: &TargetPolicy, text| {
            Verdict::of_answer_to(&target(policy.clone(), false), &Response::new(Telling(text, json!({}))), false)
        };
        assert_eq!(of(&judges, "too busy"), Verdict::NotSent);
        assert_eq!(of(&judges, "no such city"), Verdict::ToolError);
        // As a panic, but without a word on stderr.
        let panics = TargetPolicy::default().judge_errors(|_: &Failure<'_>| std::panic::resume_unwind(Box::new("as always")));
        assert_eq!(of(&panics, "no such city"), Verdict::ToolError, "who judges it has said nothing");
        assert_eq!(of(&TargetPolicy::default(), "too busy"), Verdict::ToolError);
        let of_error = |code, data| {
            let error = ErrorObject { code, message: "no".into(), data };
            Verdict::of_answer_to(&target(judges.clone(), false), &Response::<Telling>::from_error(error), false)
        };
        assert_eq!((of_error(1001, None), of_error(1002, None)), (Verdict::NotSent, Verdict::ToolError));
        assert_eq!(of_error(-32603, Some(json!({ "throttled": true }))), Verdict::NotSent);
        assert_eq!((of_error(-32603, None), of_error(-32602, None)), (Verdict::AMBIGUOUS, Verdict::ClientFault));
        // The handler knows better.
        let said = Response::new(Telling("too busy", json!({}))).with_word(Word::Ambiguous);
        assert_eq!(Verdict::of_answer_to(&target(judges, false), &said, false), Verdict::AMBIGUOUS);
    }

    #[test]
    fn a_next_hop_is_believed_where_the_operator_says_so() {
        let of = |facts: Value| {
            let [trusted, other] = [true, false].map(|next_hop| target(TargetPolicy::default(), next_hop));
            let answer = Response::new(Telling("refused", facts.clone()));
            assert_eq!(Verdict::of_answer_to(&other, &answer, true), Verdict::ToolError);
            let error = ErrorObject { code: 503, message: "".into(), data: Some(json!({ OUTCOME_KEY: facts })) };
            let as_error = Verdict::of_answer_to(&trusted, &Response::<Telling>::from_error(error), true);
            let verdict = Verdict::of_answer_to(&trusted, &answer, true);
            assert_eq!(as_error, verdict);
            verdict
        };
        let after = Some(Duration::from_millis(1500));
        assert_eq!(of(json!({ "class": "throttled", "retryAfterMs": 1500 })), Verdict::Throttled { retry_after: after });
        assert_eq!(of(json!({ "class": "local_reject", "retryAfterMs": 1500 })), Verdict::Throttled { retry_after: after });
        assert_eq!(of(json!({ "class": "local_reject", "reason": "queue_full" })), Verdict::NotSent);
        assert_eq!(of(json!({ "class": "outcome_unknown" })), Verdict::AMBIGUOUS);
        assert_eq!(
            of(json!({ "class": "ambiguous", "retryAfterMs": 1500 })),
            Verdict::Ambiguous { retry_after: after, overload: false }
        );
        assert_eq!(of(json!({ "class": "outcome_unknown", "hurried": true })), Verdict::Hurried);
        assert_eq!(of(json!({ "class": "not_sent" })), Verdict::NotSent);
        assert_eq!(of(json!({ "class": "denied" })), Verdict::Denied);
        assert_eq!(of(json!({ "class": "session_lost" })), Verdict::SessionLost);
        assert_eq!(of(json!({ "class": "client_fault" })), Verdict::ClientFault);
        // The handler here knows better.
        let said = Response::new(Telling("refused", json!({ "class": "denied" }))).with_word(Word::NotSent);
        assert_eq!(Verdict::of_answer_to(&target(TargetPolicy::default(), true), &said, true), Verdict::NotSent);
    }

    /// What a hop's refusal with these facts means.
    fn refusal_by_next_hop(mut facts: Value, hurries: bool) -> Verdict {
        facts["class"] = "local_reject".into();
        Verdict::of_answer_to(&target(TargetPolicy::default(), true), &Response::new(Telling("refused", facts)), hurries)
    }

    #[test]
    fn what_a_next_hop_refuses_for_what_its_caller_does_says_nothing_of_the_target() {
        let of = |facts| refusal_by_next_hop(facts, false);
        let rejected = |retry_after| Verdict::RemoteReject { retry_after };
        for reason in ["loop", "key_reused", "in_progress"] {
            assert_eq!(of(json!({ "reason": reason, "retryable": true })), rejected(None), "{reason}");
            assert_eq!(of(json!({ "reason": reason, "retryAfterMs": 1500 })), rejected(None), "{reason}");
        }
        assert_eq!(of(json!({ "reason": "quota", "scope": "target", "retryable": false })), rejected(None));
        let after = Some(Duration::from_millis(1500));
        for scope in ["tenant", "tenant_and_target", "agent", "principal_and_target", "client", "own", "own_and_target"] {
            for reason in ["quota", "rate_limit"] {
                assert_eq!(of(json!({ "reason": reason, "scope": scope, "retryAfterMs": 1500 })), rejected(after), "{scope}");
            }
        }
        assert_eq!(of(json!({ "reason": "quota", "retryAfterMs": 1500 })), rejected(after), "an agent's budget");
        for scope in ["target", "all"] {
            let throttled = Verdict::Throttled { retry_after: after };
            assert_eq!(of(json!({ "reason": "quota", "scope": scope, "retryAfterMs": 1500 })), throttled, "all share it");
        }
        assert_eq!(of(json!({ "reason": "rate_limit", "retryAfterMs": 1500 })), Verdict::Throttled { retry_after: after });
        assert_eq!(of(json!({ "reason": "draining", "retryable": true })), Verdict::NotSent);
    }

    #[test]
    fn a_next_hop_had_too_little_time_only_where_its_caller_gave_no_more() {
        let late = |hurries| refusal_by_next_hop(json!({ "reason": "deadline" }), hurries);
        assert_eq!(late(true), Verdict::RemoteReject { retry_after: None });
        assert_eq!(late(false), Verdict::Throttled { retry_after: None });
        let trusted = target(TargetPolicy::default(), true);
        let cut = Response::new(Telling("lost", json!({ "class": "outcome_unknown", "hurried": true })));
        assert_eq!(Verdict::of_answer_to(&trusted, &cut, true), Verdict::Hurried);
        assert_eq!(Verdict::of_answer_to(&trusted, &cut, false), OVERLOAD, "it had all the time that there was");
    }

    /// A server behind an honest hop can say all this, and so can the application itself.
    #[test]
    fn neither_a_bare_code_nor_a_success_can_say_that_nothing_happened() {
        let trusted = target(TargetPolicy::default(), true);
        for code in [429, 503, 504] {
            let error = Response::<Telling>::from_error(ErrorObject::new(code, "no"));
            assert_eq!(Verdict::of_answer_to(&trusted, &error, false), Verdict::ToolError, "{code}");
        }
        let error = |data| ErrorObject { code: 504, message: "".into(), data: Some(data) };
        let doubt = Response::<Telling>::from_error(error(json!({ OUTCOME_KEY: { "class": "outcome_unknown" } })));
        assert_eq!(Verdict::of_answer_to(&trusted, &doubt, false), OVERLOAD);

        #[derive(Clone)]
        struct Goes(ResultKind, &'static str);
        impl CallResult for Goes {
            fn kind(&self) -> ResultKind {
                self.0
            }
            fn said_facts(&self) -> Option<Value> {
                Some(json!({ "class": self.1 }))
            }
        }
        for (kind, class, verdict) in [
            (ResultKind::Complete, "not_sent", Verdict::Ok),
            (ResultKind::InputRequired, "not_sent", Verdict::InputRequired),
            (ResultKind::Task, "not_sent", Verdict::Task),
            (ResultKind::ToolError, "not_sent", Verdict::NotSent),
            (ResultKind::Error(504), "outcome_unknown", OVERLOAD),
            (ResultKind::Error(500), "outcome_unknown", Verdict::AMBIGUOUS),
        ] {
            assert_eq!(Verdict::of_answer_to(&trusted, &Response::new(Goes(kind, class)), false), verdict);
        }
    }

    fn answered(served: Served, verdict: Verdict) -> Result<Response<Answer>, BoxError> {
        let answer = Response::new(Answer(ResultKind::Complete));
        Ok(Response { served, verdict: Some(verdict), attempts: 3, ..answer })
    }

    #[test]
    fn after_a_doubt_only_what_denies_it_is_in_doubt() {
        let of = |outcome| Verdict::of(&in_doubt::<Answer>(outcome));
        assert_eq!(of(answered(Served::Attempt, Verdict::Ok)), Verdict::Ok);
        assert_eq!(of(answered(Served::Attempt, Verdict::NotSent)), Verdict::AMBIGUOUS);
        assert_eq!(of(Err(Transport::not_sent("down").into())), Verdict::AMBIGUOUS);
    }

    #[test]
    fn who_refused_is_told_and_how_many_attempts_there_were() {
        let of = |outcome| (refusal::<Answer>(&outcome), attempts(&outcome));
        assert_eq!(of(answered(Served::Attempt, Verdict::Ok)), (None, 3));
        assert_eq!(of(answered(Served::Replay, Verdict::Ok)), (None, 0));
        assert_eq!(of(Err(Rejected::new("quota", Reason::Quota).into())), (Some(("quota", Reason::Quota)), 0));
        let elsewhere = tower::load_shed::error::Overloaded::new();
        assert_eq!(of(Err(elsewhere.into())), (Some(("load_shed", Reason::Shed)), 0));
        assert_eq!(of(Err(Transport::not_sent("down").into())), (None, 1));
        assert_eq!(of(Err(Exhausted::new(4, Transport::not_sent("down").into()).into())), (None, 4));
    }
}
