use std::{future::Future, pin::Pin, time::Duration};

use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};

use super::{Deliver, RescueLayer};
use crate::{
    call::{
        CallResult, ErrorObject, Facts, Method, Notify, OUTCOME_KEY, Peer, Progress, Refusal, Request, Response, Served, Verdict,
    },
    catalogue::Catalogue,
    error::{Allowance, BoxError, Clock, Exhausted, HttpStatus, Panicked, Reason, Rejected, Scope, TimedOut, Transport},
    outcome::Word,
    testing::{safe_tool, tool},
};

/// A result that keeps what it was told.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    text: String,
    facts: Value,
}

impl CallResult for Told {
    fn tool_error(text: String, facts: &Facts) -> Result<Self, String> {
        Ok(Self { text, facts: facts.to_json() })
    }

    fn add_notice(&mut self, text: &str, facts: &Facts) {
        self.text.push_str(text);
        self.facts = facts.to_json();
    }
}

async fn rescued(
    layer: RescueLayer,
    target: std::sync::Arc<crate::call::Target>,
    outcome: Result<Response<Told>, BoxError>,
) -> Response<Told> {
    let mut outcome = Some(outcome);
    let handler = service_fn(move |_: Request<()>| std::future::ready(outcome.take().unwrap()));
    layer.layer(handler).oneshot(Request::new(target, ())).await.unwrap()
}

async fn told(error: impl Into<BoxError>) -> (String, Value, Option<Refusal>) {
    let response = rescued(RescueLayer::default(), tool("t"), Err(error.into())).await;
    let Told { text, facts } = response.result.unwrap();
    (text, facts, response.refusal)
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test]
async fn a_refusal_says_the_limit_and_when_to_come_back() {
    let rejected = Rejected::new("quota", Reason::Quota)
        .allowing(Allowance { calls: 30, per: seconds(60), scope: Scope::TenantAndTarget })
        .retry_after(Some(Duration::from_millis(11_001)));
    let (text, facts, refusal) = told(rejected).await;
    assert_eq!(
        text,
        "Rate limited: \"t\" on \"up\" allows you 30 calls a minute. Nothing was done. \
         Retry after 12 s; do not call it again before then."
    );
    assert_eq!(
        facts,
        json!({ "class": "local_reject", "retryable": true, "retryAfterMs": 11_001, "layer": "quota", "reason": "quota", "scope": "tenant_and_target" })
    );
    assert_eq!(refusal, Some(Refusal { status: 429, retry_after: Some(Duration::from_millis(11_001)) }));
}

#[tokio::test]
async fn a_limit_says_who_shares_it() {
    for (scope, expected) in [
        (Scope::TenantAndTarget, "\"t\" on \"up\" allows you 1 call an hour."),
        (Scope::Tenant, "\"up\" allows you 1 call an hour, all tools together."),
        (Scope::Target, "\"t\" on \"up\" allows 1 call an hour, all callers together."),
        (Scope::All, "\"up\" allows 1 call an hour, all tools and callers together."),
        (Scope::AgentAndTarget, "\"t\" on \"up\" allows you 1 call an hour."),
        (Scope::Agent, "\"up\" allows you 1 call an hour, all tools together."),
        (Scope::OwnAndTarget, "\"t\" on \"up\" allows 1 call an hour of this kind."),
        (Scope::Own, "\"up\" allows 1 call an hour of this kind, all tools together."),
    ] {
        let rejected = Rejected::new("quota", Reason::Quota).allowing(Allowance { calls: 1, per: seconds(3600), scope });
        let (text, ..) = told(rejected.retry_after(Some(seconds(1)))).await;
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn a_call_that_no_waiting_helps_is_not_asked_to_wait() {
    let (text, facts, _) = told(Rejected::new("quota", Reason::Quota).never()).await;
    assert!(text.ends_with("allows no call of this cost, ever. Nothing was done. Do not call it again like this."), "{text}");
    assert_eq!(facts["retryable"], false);
}

#[tokio::test]
async fn who_had_no_time_is_told_so() {
    for (target, class) in [(safe_tool("t"), "ambiguous"), (tool("t"), "outcome_unknown")] {
        let error = TimedOut { clock: Clock::Patience, after: seconds(1) }.into();
        let facts = rescued(RescueLayer::default(), target, Err(error)).await.result.unwrap().facts;
        assert_eq!((&facts["class"], &facts["hurried"]), (&json!(class), &json!(true)));
    }
    let (_, facts, _) = told(TimedOut { clock: Clock::Soft, after: seconds(1) }).await;
    assert_eq!(facts["hurried"], Value::Null);
}

/// Whoever trusts this stack would take it for its word.
#[tokio::test]
async fn what_a_next_hop_says_goes_on_where_it_is_trusted() {
    let catalogues = [(Catalogue::new("up"), false), (Catalogue::new("up").trust_next_hop(), true)];
    for (catalogue, goes_on) in catalogues {
        let target = catalogue.resolve(&Method::ToolsCall, Some("t"), None);
        let said = ErrorObject { data: Some(json!({ OUTCOME_KEY: { "class": "not_sent" } })), ..ErrorObject::new(1, "no") };
        let response = Response { verdict: Some(Verdict::ToolError), ..Response::from_error(said) };
        let error = rescued(RescueLayer::default(), target, Ok(response)).await.result.unwrap_err();
        assert_eq!(error.data.is_some_and(|data| data.get(OUTCOME_KEY).is_some()), goes_on);
    }
}

#[tokio::test]
async fn each_reason_has_its_words_and_its_status() {
    for (reason, begins, status) in [
        (Reason::Quota, "Rate limited: ", 429),
        (Reason::RateLimit, "Rate limited: ", 429),
        (Reason::BreakerOpen, "Unavailable: ", 503),
        (Reason::UpstreamOpen, "Unavailable: ", 503),
        (Reason::QueueFull, "Busy: ", 503),
        (Reason::NoSlot, "Busy: ", 503),
        (Reason::Shed, "Busy: ", 503),
        (Reason::Loop, "Repeated: ", 429),
        (Reason::Draining, "Unavailable: ", 503),
        (Reason::Unrecorded, "Unavailable: ", 503),
        (Reason::Deadline, "Too late: ", 504),
    ] {
        let (text, facts, refusal) = told(Rejected::new("some", reason)).await;
        assert!(text.starts_with(begins) && text.contains("Nothing was done."), "{text}");
        assert_eq!((facts["class"].as_str(), refusal.map(|refusal| refusal.status)), (Some("local_reject"), Some(status)));
    }
}

#[tokio::test]
async fn a_lost_call_says_whether_anything_can_have_happened() {
    let timed_out = || TimedOut { clock: Clock::Soft, after: seconds(10) };
    let (text, facts, refusal) = told(timed_out()).await;
    assert_eq!(
        text,
        "Outcome unknown: \"t\" on \"up\" gave no answer in 10 s, and the call may or may not have taken effect. \
         Do not repeat it; find out first whether it did."
    );
    assert_eq!(facts, json!({ "class": "outcome_unknown", "retryable": false }));
    assert_eq!(refusal.map(|refusal| refusal.status), Some(504));

    let safe = rescued(RescueLayer::default(), safe_tool("t"), Err(Exhausted::new(3, timed_out().into()).into())).await;
    let safe = safe.result.unwrap();
    assert!(safe.text.contains("Calling it again is safe."), "{}", safe.text);
    assert_eq!(safe.facts, json!({ "class": "ambiguous", "retryable": true, "attempts": 3 }));

    let (text, _, refusal) = told(tower::timeout::error::Elapsed::new()).await;
    assert!(text.starts_with("Outcome unknown: \"t\" on \"up\" gave no answer in time, "), "{text}");
    assert_eq!(refusal.map(|refusal| refusal.status), Some(504), "a timeout of tower's own is one");

    let (text, facts, _) = told(Transport::not_sent("refused by 10.0.0.7:443")).await;
    assert!(text.contains("could not be reached.") && text.contains("Nothing was done."), "{text}");
    assert_eq!((facts["class"].as_str(), facts["retryable"].as_bool()), (Some("not_sent"), Some(true)));
    let (text, ..) = told(Panicked).await;
    assert!(text.starts_with("Outcome unknown: "), "{text}");
}

/// What a model reads holds nothing of anybody's insides.
#[tokio::test]
async fn no_words_of_an_upstream_are_passed_on() {
    let secret = "postgres://root:hunter2@10.0.0.7/prod at /srv/app/main.rs:17";
    for error in [
        BoxError::from(secret),
        Transport::unknown(secret).into(),
        Transport::not_sent(secret).into(),
        Exhausted::new(2, secret.into()).into(),
        HttpStatus { code: 403, retry_after: None, in_session: false }.into(),
    ] {
        let (text, facts, _) = told(error).await;
        assert!(!format!("{text}{facts}").contains("hunter2") && !text.contains("10.0.0.7"), "{text}");
    }
}

#[tokio::test]
async fn a_handlers_own_answer_is_kept_and_only_doubt_is_added() {
    let said = |word: Word| {
        let mut response = Response::new(Told { text: "the handler's words. ".into(), facts: Value::Null }).with_word(word);
        response.verdict = Some(word.verdict());
        response
    };
    let layer = RescueLayer::default();
    let unsure = rescued(layer, tool("t"), Ok(said(Word::Ambiguous))).await.result.unwrap();
    assert!(unsure.text.starts_with("the handler's words. Outcome unknown: "), "{}", unsure.text);
    assert_eq!(unsure.facts["class"], "outcome_unknown");
    let safe = rescued(layer, safe_tool("t"), Ok(said(Word::Ambiguous))).await.result.unwrap();
    assert_eq!((&*safe.text, &safe.facts["class"]), ("the handler's words. ", &json!("ambiguous")));
    let throttled = rescued(layer, tool("t"), Ok(said(Word::Throttled { retry_after: Some(seconds(9)) }))).await;
    assert_eq!(throttled.result.unwrap().facts, json!({ "class": "throttled", "retryable": true, "retryAfterMs": 9000 }));

    let mut error = Response::from_error(ErrorObject::new(-32603, "it broke"));
    error.verdict = Some(Verdict::AMBIGUOUS);
    let error = rescued(layer, tool("t"), Ok(error)).await.result.unwrap_err();
    assert!(error.message.starts_with("it broke. Outcome unknown: "), "{error}");
    assert_eq!(error.code, -32603);
}

#[tokio::test]
async fn other_methods_and_who_asks_for_it_get_a_json_rpc_error() {
    let list = Catalogue::new("up").resolve(&Method::ResourcesList, None, None);
    let refused = || Err(Rejected::new("breaker", Reason::BreakerOpen).retry_after(Some(seconds(4))).into());
    for (layer, target) in [(RescueLayer::default(), list), (RescueLayer::new(Deliver::JsonRpcError), tool("t"))] {
        let response = rescued(layer, target, refused()).await;
        assert_eq!(response.facts.and_then(|facts| facts.retry_after), Some(seconds(4)));
        assert_eq!(response.result.unwrap_err().code, 503);
    }
}

/// What the layers behind this one could not find a handler for, by what it says.
#[tokio::test]
async fn each_verdict_has_its_words() {
    let status = |code, retry_after| HttpStatus { code, retry_after, in_session: true };
    let overloaded = || BoxError::from(tower::load_shed::error::Overloaded::new());
    let cases: [(BoxError, &str, &str, Option<u16>); 7] = [
        (status(429, Some(seconds(3))).into(), "Rate limited: \"t\" on \"up\" is over its limit", "Retry after 3 s.", Some(429)),
        (status(429, None).into(), "Rate limited: ", "Try again later.", Some(429)),
        (overloaded(), "Busy: \"t\" on \"up\"", "Try again later.", Some(503)),
        (status(403, None).into(), "Not allowed: ", "Do not call it again as you are.", None),
        (status(400, None).into(), "Refused: ", "Do not send it again unchanged.", None),
        (status(404, None).into(), "Session lost: ", "Connect again, and then call again.", None),
        (Transport::not_sent("refused").into(), "Unavailable: ", "Try again later.", Some(503)),
    ];
    for (error, begins, ends, refused) in cases {
        let (text, _, refusal) = told(error).await;
        assert!(text.starts_with(begins) && text.ends_with(&format!("Nothing was done. {ends}")), "{text}");
        assert_eq!(refusal.map(|refusal| refusal.status), refused, "{text}");
    }
    let (text, ..) = told(Rejected::new("quota", Reason::Quota)).await;
    assert_eq!(text, "Rate limited: \"t\" on \"up\" is over its limit for now. Nothing was done. Try again later.");
}

#[tokio::test]
async fn a_limit_says_its_time_in_words() {
    for (per, expected) in [
        (seconds(1), "a second"),
        (seconds(60), "a minute"),
        (seconds(3600), "an hour"),
        (seconds(90), "in 90 s"),
        (Duration::from_millis(1500), "in 1500 ms"),
        // Of thirds.
        (Duration::from_nanos(59_999_999_999), "a minute"),
    ] {
        let rejected = Rejected::new("quota", Reason::Quota).allowing(Allowance { calls: 7, per, scope: Scope::All });
        let (text, ..) = told(rejected.retry_after(Some(seconds(1)))).await;
        assert!(text.contains(&format!("\"up\" allows 7 calls {expected}, all tools")), "{text}");
    }
}

/// What is well, and what keeps the connection alive, passes as it is.
#[tokio::test]
async fn nothing_is_added_where_there_is_nothing_to_say() {
    let answer = |verdict| {
        let mut response = Response::new(Told { text: "well".into(), facts: Value::Null });
        response.verdict = Some(verdict);
        Ok(response)
    };
    let ping = Catalogue::new("up").resolve(&Method::Ping, None, None);
    for (target, verdict) in [(tool("t"), Verdict::Ok), (tool("t"), Verdict::ToolError), (ping, Verdict::AMBIGUOUS)] {
        let response = rescued(RescueLayer::default(), target, answer(verdict)).await;
        assert!(response.facts.is_none());
        assert_eq!(response.result, Ok(Told { text: "well".into(), facts: Value::Null }));
    }
    let mut error = Response::from_error(ErrorObject::new(7, "slow down"));
    error.verdict = Some(Verdict::Throttled { retry_after: None });
    let response = rescued(RescueLayer::default(), tool("t"), Ok(error)).await;
    assert_eq!(response.result.unwrap_err().message, "slow down");
    assert!(response.facts.is_some_and(|facts| facts.retryable));
}

#[tokio::test]
async fn an_answer_past_its_time_says_how_old_it_is() {
    let list = Catalogue::new("up").resolve(&Method::ToolsList, None, None);
    for (target, text) in [(tool("t"), "wellNot of now: this answer of \"t\" on \"up\" is 9 s old."), (list, "well")] {
        let mut response = Response::new(Told { text: "well".into(), facts: Value::Null });
        response.served = Served::Cache { age: seconds(9), stale: true };
        let response = rescued(RescueLayer::default(), target, Ok(response)).await;
        assert_eq!(response.facts.and_then(|facts| facts.age), Some(seconds(9)));
        assert_eq!(response.result.unwrap().text, text);
    }
}

struct Deaf;

impl Notify for Deaf {
    fn progress(&self, _progress: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// After the answer the caller hears nothing of its call any more.
#[tokio::test]
async fn a_call_that_has_ended_is_silent() {
    let peer = Peer::new(Deaf);
    let mut request = Request::new(tool("t"), ());
    request.head.peer = Some(peer.clone());
    let handler =
        service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(Told { text: "well".into(), facts: Value::Null })));
    RescueLayer::default().layer(handler).oneshot(request).await.unwrap();
    assert!(!peer.is_open());
}
