//! The words.
//!
//! Each text says what happened, whether anything was done, and what to do instead, in that order. A model reads it, so it
//! holds nothing but the operator's name for the server and the tool's own name, which the model used: no paths, no addresses,
//! no words of an upstream or of a panic.

use std::{
    borrow::Cow,
    fmt::{self, Arguments, Display, Write},
    sync::Arc,
    time::Duration,
};

use super::Deliver;
use crate::{
    call::{CallResult, ErrorObject, Facts, Method, OUTCOME_UNKNOWN, Peer, Refusal, Response, Served, Standing, Target, Verdict},
    classify::{Cause, cause},
    error::{Allowance, BoxError, Exhausted, Reason, Rejected, Scope, find},
};

// Never HTTP statuses of ours: clients take them for another protocol era or a lost session. As JSON-RPC codes they are free.
const BAD_REQUEST: u16 = 400;
const FORBIDDEN: u16 = 403;
const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;
const TOO_MANY_REQUESTS: u16 = 429;
const SERVICE_UNAVAILABLE: u16 = 503;
const GATEWAY_TIMEOUT: u16 = 504;

const NOTHING_DONE: &str = " Nothing was done. ";
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

impl Told {
    /// What happened, that nothing was done, and what to do instead. One text, written once: a storm of refusals is no time to
    /// be slow.
    fn nothing_done(status: u16, retry_after: Option<Duration>, what: Arguments<'_>, instead: Arguments<'_>) -> Self {
        let mut said = text(what);
        said.push_str(NOTHING_DONE);
        let _infallible = said.write_fmt(instead);
        Self { text: said, retry_after, status }
    }
}

/// Longer than nearly all that is said here.
const LENGTH: usize = 256;

fn text(words: Arguments<'_>) -> String {
    let mut text = String::with_capacity(LENGTH);
    // A `String` takes whatever is written to it.
    let _infallible = text.write_fmt(words);
    text
}

impl Scene {
    /// Makes an answer of whatever became of the call.
    #[inline]
    pub(super) fn answer<R: CallResult>(&self, outcome: &mut Result<Response<R>, BoxError>) {
        let verdict = Verdict::of(outcome);
        match outcome {
            Ok(response) => {
                // Whoever trusts this stack takes what stands there for its word.
                if !self.target.trusts_next_hop() {
                    match &mut response.result {
                        Ok(result) => result.clear_facts(),
                        Err(error) => error.clear_facts(),
                    }
                }
                self.annotate(response, verdict);
            }
            Err(error) => *outcome = Ok(self.told(error, verdict)),
        }
    }

    /// Whether the caller has to be warned that the call may have happened and must not be repeated.
    fn is_unknown(&self, verdict: Verdict) -> bool {
        let committed = self.peer.as_ref().is_some_and(Peer::is_committed);
        verdict.is_in_doubt() && (!self.safe || committed)
    }

    /// The facts for machines.
    fn facts(&self, verdict: Verdict, retry_after: Option<Duration>, attempts: u32) -> Facts {
        let retryable = match verdict {
            Verdict::Throttled { .. } | Verdict::NotSent | Verdict::LocalReject => true,
            Verdict::Ambiguous { .. } | Verdict::Hurried => !self.is_unknown(verdict),
            _ => false,
        };
        let class = match verdict {
            _ if self.is_unknown(verdict) => OUTCOME_UNKNOWN,
            Verdict::Hurried => Verdict::AMBIGUOUS.as_str(),
            _ => verdict.as_str(),
        };
        Facts { retry_after, attempts, hurried: verdict == Verdict::Hurried, ..Facts::new(class, retryable) }
    }

    /// Adds what its handler cannot know to an answer, where it matters.
    fn annotate<R: CallResult>(&self, response: &mut Response<R>, verdict: Verdict) {
        if let Served::Cache { age, stale: true } = response.served {
            self.date(response, age);
            return;
        }
        let worth_a_word = verdict.is_in_doubt() || matches!(verdict, Verdict::Throttled { .. } | Verdict::NotSent);
        // A handshake that failed is simply made again.
        if !worth_a_word || self.target.is_exempt() {
            return;
        }
        let notice = if self.is_unknown(verdict) { self.unknown(format_args!("failed")) } else { String::new() };
        let facts = self.facts(verdict, verdict.retry_after(), response.attempts);
        response.facts = Some(Box::new(facts));
        match &mut response.result {
            Ok(result) => result.add_notice(&notice, &facts),
            Err(error) if !notice.is_empty() => error.message = Cow::Owned(format!("{}. {notice}", error.message)),
            Err(_) => {}
        }
    }

    /// An answer that is past its time. A tool's says so to the model; of any other, the facts are for the adapter.
    fn date<R: CallResult>(&self, response: &mut Response<R>, age: Duration) {
        let facts = Facts { age: Some(age), ..self.facts(Verdict::Ok, None, response.attempts) };
        response.facts = Some(Box::new(facts));
        if let (Ok(result), Method::ToolsCall) = (&mut response.result, self.target.method()) {
            let notice = format!("Not of now: this answer of {} is {} old.", self.target, Seconds(age));
            result.add_notice(&notice, &facts);
        }
    }

    /// The answer to a call that no handler answered.
    fn told<R: CallResult>(&self, error: &BoxError, verdict: Verdict) -> Response<R> {
        let attempts = find::<Exhausted>(&**error).map_or(1, |exhausted| exhausted.attempts);
        let rejected = find::<Rejected>(&**error).filter(|_| verdict == Verdict::LocalReject);
        let Told { text, retry_after, status } = match rejected {
            Some(rejected) => self.refused(rejected),
            None => self.lost(error, verdict),
        };
        let mut facts = self.facts(verdict, retry_after, attempts);
        if let Some(rejected) = rejected {
            facts.retryable = !rejected.is_final();
            facts.layer = Some(rejected.layer());
            facts.reason = Some(rejected.reason());
            facts.scope = rejected.allowance().map(|allowance| allowance.scope);
        }
        let code = i64::from(status);
        let result = if *self.target.method() == Method::ToolsCall && self.deliver == Deliver::ToolResult {
            R::tool_error(text, &facts).map_err(|text| ErrorObject::new(code, text))
        } else {
            Err(ErrorObject::new(code, text))
        };
        let mut response = Response::from_result(result);
        response.verdict = Some(verdict);
        response.attempts = attempts;
        response.facts = Some(Box::new(facts));
        // What is left may be something, but not enough for this call.
        let refused_for_now = rejected.and_then(|rejected| rejected.delay().zip(rejected.allowance()));
        response.standing = refused_for_now.map(|(delay, Allowance { calls, per, scope })| Standing {
            scope,
            quota: calls,
            window: per,
            remaining: 0,
            reset: delay,
        });
        response.refusal = matches!(status, TOO_MANY_REQUESTS | SERVICE_UNAVAILABLE | GATEWAY_TIMEOUT)
            .then_some(Refusal { status, retry_after });
        response
    }

    fn refused(&self, rejected: &Rejected) -> Told {
        let (target, retry_after) = (&self.target, rejected.delay());
        let tell = |status, what: Arguments<'_>| match retry_after {
            Some(delay) => {
                let instead = format_args!("Retry after {}; do not call it again before then.", Seconds(delay));
                Told::nothing_done(status, retry_after, what, instead)
            }
            None if rejected.is_final() => {
                Told::nothing_done(status, None, what, format_args!("Do not call it again like this."))
            }
            None => Told::nothing_done(status, None, what, format_args!("{LATER}")),
        };
        match rejected.reason() {
            Reason::Quota | Reason::RateLimit => match rejected.allowance() {
                _ if rejected.is_final() => {
                    tell(TOO_MANY_REQUESTS, format_args!("Rate limited: {target} allows no call of this cost, ever."))
                }
                Some(allowance) => tell(TOO_MANY_REQUESTS, format_args!("Rate limited: {}.", Allows { target, allowance })),
                None => tell(TOO_MANY_REQUESTS, format_args!("Rate limited: {target} is over its limit for now.")),
            },
            Reason::BreakerOpen => tell(
                SERVICE_UNAVAILABLE,
                format_args!("Unavailable: {target} has been failing and is left alone for a while. {NOT_YOUR_FAULT}"),
            ),
            Reason::UpstreamOpen => tell(
                SERVICE_UNAVAILABLE,
                format_args!(
                    "Unavailable: \"{}\" has been failing and is left alone for a while, with all its tools. {NOT_YOUR_FAULT}",
                    target.upstream()
                ),
            ),
            Reason::QueueFull | Reason::NoSlot | Reason::Shed => {
                tell(SERVICE_UNAVAILABLE, format_args!("Busy: {target} has more calls than it can take. {NOT_YOUR_FAULT}"))
            }
            Reason::Loop => tell(
                TOO_MANY_REQUESTS,
                format_args!(
                    "Repeated: this same call to {target} has been made again and again, and brings nothing new. \
                     Change the arguments or try something else."
                ),
            ),
            Reason::KeyReused => tell(
                CONFLICT,
                format_args!(
                    "Refused: the idempotency key of this call to {target} belongs to a call with other arguments. \
                     Use a new key for a new call."
                ),
            ),
            // This request has done nothing; but who reads that might take it for the call.
            Reason::InProgress => Told {
                text: text(format_args!(
                    "In progress: the first call to {target} under this idempotency key has no answer yet, and may still take \
                     effect. Send it again later, under the same key, to learn its outcome."
                )),
                retry_after,
                status: CONFLICT,
            },
            Reason::Draining => {
                tell(SERVICE_UNAVAILABLE, format_args!("Unavailable: {target} takes no new calls for now. {NOT_YOUR_FAULT}"))
            }
            Reason::Unrecorded => tell(
                SERVICE_UNAVAILABLE,
                format_args!(
                    "Unavailable: calls to {target} have to be put on record, and for now they cannot be. {NOT_YOUR_FAULT}"
                ),
            ),
            Reason::Deadline => tell(
                GATEWAY_TIMEOUT,
                format_args!("Too late: the time for this call to {target} ran out before it could begin. {NOT_YOUR_FAULT}"),
            ),
        }
    }

    fn lost(&self, error: &BoxError, verdict: Verdict) -> Told {
        let (target, retry_after) = (&self.target, verdict.retry_after());
        let again = Again(retry_after);
        let nothing_done = |status, what: Arguments<'_>| Told::nothing_done(status, retry_after, what, format_args!("{again}"));
        match verdict {
            Verdict::Throttled { .. } => {
                nothing_done(TOO_MANY_REQUESTS, format_args!("Rate limited: {target} is over its limit for now."))
            }
            Verdict::NotSent => {
                nothing_done(SERVICE_UNAVAILABLE, format_args!("Unavailable: {target} could not be reached. {NOT_YOUR_FAULT}"))
            }
            Verdict::LocalReject => nothing_done(
                SERVICE_UNAVAILABLE,
                format_args!("Busy: {target} has more calls than it can take. {NOT_YOUR_FAULT}"),
            ),
            Verdict::Denied => Told::nothing_done(
                FORBIDDEN,
                retry_after,
                format_args!("Not allowed: {target} refused this caller."),
                format_args!("Do not call it again as you are."),
            ),
            Verdict::ClientFault => Told::nothing_done(
                BAD_REQUEST,
                retry_after,
                format_args!("Refused: {target} did not accept the request."),
                format_args!("Do not send it again unchanged."),
            ),
            Verdict::SessionLost => Told::nothing_done(
                NOT_FOUND,
                retry_after,
                format_args!("Session lost: {target} does not know this session any more."),
                format_args!("Connect again, and then call again."),
            ),
            _ => {
                let tell = |status, what: Arguments<'_>| Told { text: self.doubted(verdict, again, what), retry_after, status };
                match cause(&**error) {
                    Cause::Timeout(Some(after)) => tell(GATEWAY_TIMEOUT, format_args!("gave no answer in {}", Seconds(after))),
                    Cause::Timeout(None) => tell(GATEWAY_TIMEOUT, format_args!("gave no answer in time")),
                    Cause::Panic | Cause::Other => tell(SERVICE_UNAVAILABLE, format_args!("failed")),
                }
            }
        }
    }

    fn doubted(&self, verdict: Verdict, again: Again, what: Arguments<'_>) -> String {
        if self.is_unknown(verdict) {
            return self.unknown(what);
        }
        text(format_args!("Unavailable: {} {what}. Calling it again is safe. {again}", self.target))
    }

    fn unknown(&self, what: Arguments<'_>) -> String {
        text(format_args!(
            "Outcome unknown: {} {what}, and the call may or may not have taken effect. \
             Do not repeat it; find out first whether it did.",
            self.target
        ))
    }
}

/// What a limit allows. Whose limit it is decides what a model should do instead: another tool helps only where the limit is
/// the tool's own.
struct Allows<'a> {
    target: &'a Target,
    allowance: Allowance,
}

impl Display for Allows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, allowance: Allowance { calls, per, scope } } = self;
        match scope {
            Scope::Agent | Scope::Client | Scope::Principal | Scope::Tenant | Scope::Own | Scope::All => {
                ["\"", target.upstream(), "\""].into_iter().try_for_each(|part| f.write_str(part))?;
            }
            Scope::AgentAndTarget
            | Scope::ClientAndTarget
            | Scope::PrincipalAndTarget
            | Scope::TenantAndTarget
            | Scope::OwnAndTarget
            | Scope::Target => target.fmt(f)?,
        }
        f.write_str(match scope {
            Scope::OwnAndTarget | Scope::Target | Scope::Own | Scope::All => " allows ",
            _ => " allows you ",
        })?;
        calls.fmt(f)?;
        f.write_str(if *calls == 1 { " call " } else { " calls " })?;
        Every(*per).fmt(f)?;
        f.write_str(match scope {
            Scope::AgentAndTarget | Scope::ClientAndTarget | Scope::PrincipalAndTarget | Scope::TenantAndTarget => "",
            Scope::Agent | Scope::Client | Scope::Principal | Scope::Tenant => ", all tools together",
            Scope::OwnAndTarget => " of this kind",
            Scope::Own => " of this kind, all tools together",
            Scope::Target => ", all callers together",
            Scope::All => ", all tools and callers together",
        })
    }
}

/// When a lost call may be made again.
#[derive(Clone, Copy)]
struct Again(Option<Duration>);

impl Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(delay) => write!(f, "Retry after {}.", Seconds(delay)),
            None => f.write_str(LATER),
        }
    }
}

/// A delay in words, rounded up: who comes back earlier is refused again.
struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_secs().saturating_add((self.0.subsec_nanos() > 0).into()).fmt(f)?;
        f.write_str(" s")
    }
}

/// As in "30 calls a minute". Rounded: the time in which a burst is replenished is a sum of rounded intervals.
struct Every(Duration);

impl Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.as_secs_f64() * 1000.0).round() {
            1_000.0 => f.write_str("a second"),
            60_000.0 => f.write_str("a minute"),
            3_600_000.0 => f.write_str("an hour"),
            ms if ms % 1_000.0 != 0.0 => write!(f, "in {ms} ms"),
            _ => write!(f, "in {}", Seconds(self.0)),
        }
    }
}
