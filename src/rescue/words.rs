//! The words.
//!
//! Each text says what happened, whether anything was done, and what to do instead, in that order. A model reads it, so it
//! holds nothing but the operator's name for the server and the tool's own name, which the model used: no paths, no addresses,
//! no words of an upstream or of a panic.

use std::{borrow::Cow, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};

use super::Deliver;
use crate::{
    call::{CallResult, ErrorObject, Method, OUTCOME_KEY, Peer, Refusal, Response, Target, Verdict},
    error::{Allowance, BoxError, Exhausted, Reason, Rejected, Scope, TimedOut, find},
};

// Never HTTP statuses of ours: clients take them for another protocol era or a lost session. As JSON-RPC codes they are free.
const BAD_REQUEST: u16 = 400;
const FORBIDDEN: u16 = 403;
const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;
const TOO_MANY_REQUESTS: u16 = 429;
const SERVICE_UNAVAILABLE: u16 = 503;
const GATEWAY_TIMEOUT: u16 = 504;

const NOTHING_DONE: &str = "Nothing was done.";
const NOT_YOUR_FAULT: &str = "Your arguments are not at fault.";
const LATER: &str = "Try again later.";

/// What has to be known of a call to word its end. Dropped with the call, it closes the caller's ear.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) target: Arc<Target>,
    pub(super) peer: Option<Peer>,
    pub(super) safe: bool,
    pub(super) deliver: Deliver,
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(peer) = &self.peer {
            peer.silence();
        }
    }
}

/// A refused or lost call, put into words.
struct Told {
    text: String,
    retry_after: Option<Duration>,
    status: u16,
}

impl Scene {
    pub(super) fn answer<R: CallResult>(&self, outcome: Result<Response<R>, BoxError>) -> Response<R> {
        let verdict = Verdict::of(&outcome);
        match outcome {
            Ok(response) => self.annotated(response, verdict),
            Err(error) => self.told(&error, verdict),
        }
    }

    /// Whether the caller has to be warned that the call may have happened and must not be repeated.
    fn is_unknown(&self, verdict: Verdict) -> bool {
        let committed = self.peer.as_ref().is_some_and(Peer::is_committed);
        matches!(verdict, Verdict::Ambiguous { .. }) && (!self.safe || committed)
    }

    /// The facts for machines.
    fn facts(&self, verdict: Verdict, retry_after: Option<Duration>, attempts: u32) -> Map<String, Value> {
        let retryable = match verdict {
            Verdict::Throttled { .. } | Verdict::NotSent | Verdict::LocalReject => true,
            Verdict::Ambiguous { .. } => !self.is_unknown(verdict),
            _ => false,
        };
        let mut facts = Map::new();
        let class = if self.is_unknown(verdict) { "outcome_unknown" } else { verdict.as_str() };
        facts.insert("class".into(), json!(class));
        facts.insert("retryable".into(), json!(retryable));
        if let Some(delay) = retry_after {
            facts.insert("retryAfterMs".into(), json!(u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)));
        }
        if attempts > 1 {
            facts.insert("attempts".into(), json!(attempts));
        }
        facts
    }

    /// A handler's own answer, with what it cannot know added where it matters.
    fn annotated<R: CallResult>(&self, mut response: Response<R>, verdict: Verdict) -> Response<R> {
        let worth_a_word = matches!(verdict, Verdict::Throttled { .. } | Verdict::NotSent | Verdict::Ambiguous { .. });
        // A handshake that failed is simply made again.
        if !worth_a_word || self.target.is_exempt() {
            return response;
        }
        let notice = if self.is_unknown(verdict) { self.unknown("failed") } else { String::new() };
        let facts = Value::Object(self.facts(verdict, verdict.retry_after(), response.attempts));
        match &mut response.result {
            Ok(result) => result.add_notice(&notice, facts),
            Err(error) => {
                if !notice.is_empty() {
                    error.message = Cow::Owned(format!("{}. {notice}", error.message));
                }
                error.data.get_or_insert_with(|| json!({ OUTCOME_KEY: facts }));
            }
        }
        response
    }

    /// The answer to a call that no handler answered.
    fn told<R: CallResult>(&self, error: &BoxError, verdict: Verdict) -> Response<R> {
        let attempts = find::<Exhausted>(&**error).map_or(1, |exhausted| exhausted.attempts);
        let rejected = find::<Rejected>(&**error).filter(|_| verdict == Verdict::LocalReject);
        let told = match rejected {
            Some(rejected) => self.refused(rejected),
            None => self.lost(error, verdict),
        };
        let mut facts = self.facts(verdict, told.retry_after, attempts);
        if let Some(rejected) = rejected {
            facts.insert("retryable".into(), json!(!rejected.is_final()));
            facts.insert("layer".into(), json!(rejected.layer()));
            facts.insert("reason".into(), json!(rejected.reason().as_str()));
            if let Some(allowance) = rejected.allowance() {
                facts.insert("scope".into(), json!(allowance.scope.as_str()));
            }
        }
        let facts = Value::Object(facts);
        let as_result = *self.target.method() == Method::ToolsCall && self.deliver == Deliver::ToolResult;
        let result = as_result.then(|| R::tool_error(told.text.clone(), facts.clone())).flatten();
        let mut response = Response::from_result(result.ok_or_else(|| ErrorObject {
            code: i64::from(told.status),
            message: told.text.into(),
            data: Some(json!({ OUTCOME_KEY: facts })),
        }));
        response.verdict = Some(verdict);
        response.attempts = attempts;
        response.refusal = matches!(told.status, TOO_MANY_REQUESTS | SERVICE_UNAVAILABLE | GATEWAY_TIMEOUT)
            .then_some(Refusal { status: told.status, retry_after: told.retry_after });
        response
    }

    fn refused(&self, rejected: &Rejected) -> Told {
        let (target, retry_after) = (&self.target, rejected.delay());
        let again = match retry_after {
            Some(delay) => format!("Retry after {}; do not call it again before then.", seconds(delay)),
            None if rejected.is_final() => "Do not call it again like this.".to_owned(),
            None => LATER.to_owned(),
        };
        let (what, status) = match rejected.reason() {
            Reason::Quota | Reason::RateLimit => {
                let what = match rejected.allowance() {
                    _ if rejected.is_final() => format!("{target} allows no call of this cost, ever"),
                    Some(allowance) => self.allows(allowance),
                    None => format!("{target} is over its limit for now"),
                };
                (format!("Rate limited: {what}."), TOO_MANY_REQUESTS)
            }
            Reason::BreakerOpen => {
                let what = format!("Unavailable: {target} has been failing and is left alone for a while. {NOT_YOUR_FAULT}");
                (what, SERVICE_UNAVAILABLE)
            }
            Reason::QueueFull | Reason::NoSlot | Reason::Shed => (self.busy(), SERVICE_UNAVAILABLE),
            Reason::Loop => {
                let what = format!(
                    "Repeated: this same call to {target} has ended in the same way again and again. \
                     Change the arguments or try something else."
                );
                (what, TOO_MANY_REQUESTS)
            }
            Reason::KeyReused => {
                let what = format!(
                    "Refused: the idempotency key of this call to {target} belongs to a call with other arguments. \
                     Use a new key for a new call."
                );
                (what, CONFLICT)
            }
            Reason::InProgress => {
                let what = format!("In progress: the first call to {target} under this idempotency key has no answer yet.");
                let again = "It may still take effect. Send it again later, under the same key, to learn its outcome.";
                return Told { text: format!("{what} {again}"), retry_after, status: CONFLICT };
            }
            Reason::Draining => {
                (format!("Unavailable: {target} takes no new calls for now. {NOT_YOUR_FAULT}"), SERVICE_UNAVAILABLE)
            }
            Reason::Deadline => {
                let what =
                    format!("Too late: the time for this call to {target} ran out before it could begin. {NOT_YOUR_FAULT}");
                (what, GATEWAY_TIMEOUT)
            }
        };
        Told { text: format!("{what} {NOTHING_DONE} {again}"), retry_after, status }
    }

    fn lost(&self, error: &BoxError, verdict: Verdict) -> Told {
        let (target, retry_after) = (&self.target, verdict.retry_after());
        let again = retry_after.map_or_else(|| LATER.to_owned(), |delay| format!("Retry after {}.", seconds(delay)));
        let (text, status) = match verdict {
            Verdict::Throttled { .. } => {
                (format!("Rate limited: {target} is over its limit for now. {NOTHING_DONE} {again}"), TOO_MANY_REQUESTS)
            }
            Verdict::NotSent => {
                let what = format!("Unavailable: {target} could not be reached. {NOT_YOUR_FAULT}");
                (format!("{what} {NOTHING_DONE} {again}"), SERVICE_UNAVAILABLE)
            }
            Verdict::LocalReject => (format!("{} {NOTHING_DONE} {again}", self.busy()), SERVICE_UNAVAILABLE),
            Verdict::Denied => {
                let what = format!("Not allowed: {target} refused this caller.");
                (format!("{what} {NOTHING_DONE} Do not call it again as you are."), FORBIDDEN)
            }
            Verdict::ClientFault => {
                let what = format!("Refused: {target} did not accept the request.");
                (format!("{what} {NOTHING_DONE} Do not send it again unchanged."), BAD_REQUEST)
            }
            Verdict::SessionLost => {
                let what = format!("Session lost: {target} does not know this session any more.");
                (format!("{what} {NOTHING_DONE} Connect again, and then call again."), NOT_FOUND)
            }
            _ => {
                let timed_out = find::<TimedOut>(&**error);
                let what = match timed_out {
                    Some(timed_out) => format!("gave no answer in {}", seconds(timed_out.after)),
                    None => "failed".to_owned(),
                };
                let text = if self.is_unknown(verdict) {
                    self.unknown(&what)
                } else {
                    format!("Unavailable: {target} {what}. Calling it again is safe. {again}")
                };
                (text, if timed_out.is_some() { GATEWAY_TIMEOUT } else { SERVICE_UNAVAILABLE })
            }
        };
        Told { text, retry_after, status }
    }

    /// Whose limit it is decides what a model should do instead: another tool helps only where the limit is the tool's own.
    fn allows(&self, Allowance { calls, per, scope }: Allowance) -> String {
        let (target, upstream) = (&self.target, self.target.upstream());
        let calls = if calls == 1 { format!("1 call {}", every(per)) } else { format!("{calls} calls {}", every(per)) };
        match scope {
            Scope::TenantAndTarget => format!("{target} allows you {calls}"),
            Scope::Tenant => format!("\"{upstream}\" allows you {calls}, all tools together"),
            Scope::Target => format!("{target} allows {calls}, all callers together"),
            Scope::All => format!("\"{upstream}\" allows {calls}, all tools and callers together"),
        }
    }

    fn busy(&self) -> String {
        format!("Busy: {} has more calls than it can take. {NOT_YOUR_FAULT}", self.target)
    }

    fn unknown(&self, what: &str) -> String {
        format!(
            "Outcome unknown: {} {what}, and the call may or may not have taken effect. \
             Do not repeat it; find out first whether it did.",
            self.target
        )
    }
}

/// A delay in words, rounded up: who comes back earlier is refused again.
fn seconds(delay: Duration) -> String {
    format!("{} s", delay.as_nanos().div_ceil(1_000_000_000))
}

/// `per` as in "30 calls a minute". Rounded: the time in which a burst is replenished is a sum of rounded intervals.
fn every(per: Duration) -> String {
    match (per.as_secs_f64() * 1000.0).round() {
        1_000.0 => "a second".to_owned(),
        60_000.0 => "a minute".to_owned(),
        3_600_000.0 => "an hour".to_owned(),
        ms if ms % 1_000.0 != 0.0 => format!("in {ms} ms"),
        _ => format!("in {}", seconds(per)),
    }
}
