//! What callers see of a refusal, and of what a handler says to the stack: to the byte.

use std::time::Duration;

use buttress::{
    Stack, outcome,
    rmcp::{ServerLayer, wrap},
};
use rmcp::{ServerHandler, transport::streamable_http_server::StreamableHttpServerConfig};
use serde_json::{Value, json};
use tower::Layer;

use crate::{
    probe::{Probe, TOOL, failed, good, one_an_hour, touchy},
    raw::{Pipe, Poster, Reply, legacy, modern},
    road::Site,
};

const FACTS: &str = "dev.buttress/outcome";

fn quick() -> Probe {
    Probe::new(async |_, _| good())
}

async fn site<H: ServerHandler + Clone>(handler: H, stack: &Stack) -> Site {
    let layer = ServerLayer::new("rich", stack);
    Site::open(move || layer.layer(handler.clone())).await
}

fn call(id: u32) -> Value {
    legacy(id, "tools/call", json!({ "name": TOOL, "arguments": {} }))
}

fn modern_call(id: u32) -> Value {
    modern(id, "tools/call", json!({ "name": TOOL, "arguments": {} }))
}

/// A refused tool call, whoever carried it: a result that a model can read.
fn assert_refused(message: &Value, id: u32) {
    assert_eq!(message["id"], id, "{message}");
    let result = &message["result"];
    assert_eq!(result["isError"], true, "{message}");
    let text = result["content"][0]["text"].as_str().unwrap();
    let words = "Rate limited: \"rich\" allows you 1 call an hour, all tools together. Nothing was done. Retry after ";
    let delay = text.strip_prefix(words).and_then(|rest| rest.strip_suffix(" s; do not call it again before then."));
    assert!(delay.is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{text}");
    assert_eq!(result["content"], json!([{ "type": "text", "text": text }]));
    let facts = result["_meta"][FACTS].as_object().unwrap();
    let rest = json!({ "class": "local_reject", "layer": "quota", "reason": "quota", "retryable": true, "scope": "tenant" });
    let delay = facts["retryAfterMs"].as_u64().unwrap();
    assert!((1..=3_600_000).contains(&delay), "{delay}");
    assert!(facts.iter().all(|(key, value)| key == "retryAfterMs" || rest[key] == *value) && facts.len() == 6, "{facts:?}");
    assert_eq!(result["_meta"].as_object().unwrap().len(), 1, "nothing but our facts: {message}");
}

#[tokio::test]
async fn a_refused_tool_call_is_a_result_that_says_so() {
    let site = site(quick(), &one_an_hour()).await;
    let poster = Poster::modern(&site);
    assert_eq!(poster.post(&modern_call(1)).await.message()["result"]["content"][0]["text"], "done");
    let refused = poster.post(&modern_call(2)).await;
    assert_eq!(refused.status, 200, "{refused:?}");
    assert_refused(&refused.message(), 2);

    // The same tenant in a session of the older revision, and no status either.
    let refused = Poster::session(&site).await.post(&call(3)).await;
    assert_eq!(refused.status, 200, "{refused:?}");
    assert_refused(&refused.message(), 3);
}

#[tokio::test]
async fn a_refused_tool_call_over_a_pipe_says_the_same() {
    let mut pipe = Pipe::open(ServerLayer::new("rich", &one_an_hour()).layer(quick())).await;
    pipe.ask(&call(1)).await;
    assert_refused(&serde_json::from_str(&pipe.ask(&call(2)).await).unwrap(), 2);
}

/// The refusal of a method that has no tool result: `code` is the HTTP status too, where there is one.
fn assert_error(reply: &Reply, status: u16, id: &Value, (code, words): (i64, &str)) {
    assert_eq!(reply.status, status, "{reply:?}");
    let message = reply.message();
    assert_eq!((&message["jsonrpc"], &message["id"]), (&json!("2.0"), id), "{message}");
    assert_eq!(message["error"]["code"], code, "{message}");
    assert!(message["error"]["message"].as_str().unwrap().starts_with(words), "{message}");
    assert_eq!(message["error"]["data"][FACTS]["class"], "local_reject", "{message}");
}

fn retry_after(reply: &Reply) -> Option<u64> {
    reply.headers.get("retry-after")?.to_str().ok()?.parse().ok()
}

/// What the headers say of the limit, and of what is left of it.
fn standing(reply: &Reply) -> [String; 2] {
    ["ratelimit-policy", "ratelimit"].map(|name| reply.headers[name].to_str().unwrap().to_owned())
}

#[tokio::test]
async fn other_refused_methods_have_a_status_in_the_modern_era() {
    let site = site(quick(), &one_an_hour()).await;
    let poster = Poster::modern(&site);
    let counted = poster.post(&modern(1, "resources/list", json!({}))).await;
    assert_eq!(counted.status, 200);
    assert_eq!(standing(&counted), [r#""tenant";q=1;w=3600"#, r#""tenant";r=0;t=3600"#]);
    for id in [json!(2), json!("two")] {
        let refused = poster.post(&modern(id.clone(), "resources/list", json!({}))).await;
        assert_error(&refused, 429, &id, (429, "Rate limited: \"rich\" allows you 1 call"));
        let seconds = retry_after(&refused).unwrap_or_default();
        assert!((1..=3600).contains(&seconds), "{refused:?}");
        assert_eq!(standing(&refused), [r#""tenant";q=1;w=3600"#.to_owned(), format!(r#""tenant";r=0;t={seconds}"#)]);
        assert_eq!(refused.headers["content-type"], "application/json");
    }
    // A good call over the same connection: the response that was replaced has left nothing behind.
    let discovered = poster.post(&modern(3, "server/discover", json!({}))).await;
    assert_eq!(discovered.status, 200, "{discovered:?}");
}

#[tokio::test]
async fn an_open_breaker_is_a_503() {
    let probe = quick();
    let site = site(probe.clone(), &touchy()).await;
    let poster = Poster::modern(&site);
    let read = |id: u32| modern(id, "resources/read", json!({ "uri": "probe://x" }));
    let failed = poster.post(&read(1)).await;
    assert_eq!((failed.status, &failed.message()["error"]["code"]), (200, &json!(-32603)), "{failed:?}");
    let refused = poster.post(&read(2)).await;
    assert_error(&refused, 503, &json!(2), (503, "Unavailable: resources/read on \"rich\" has been failing"));
    assert!(retry_after(&refused).is_some_and(|seconds| (1..=5).contains(&seconds)), "{refused:?}");
    assert_eq!(probe.calls(), 1);
    assert!(!refused.body.contains("disk"), "one caller's failure is not another's business: {refused:?}");
}

#[tokio::test]
async fn in_a_session_of_the_older_revisions_http_has_already_said_200() {
    let site = site(quick(), &one_an_hour()).await;
    let poster = Poster::session(&site).await;
    assert!(poster.post(&legacy(1, "resources/list", json!({}))).await.message()["result"].is_object());
    let refused = poster.post(&legacy(2, "resources/list", json!({}))).await;
    assert_error(&refused, 200, &json!(2), (429, "Rate limited: "));
    assert_eq!((retry_after(&refused), &refused.headers["content-type"]), (None, &"text/event-stream".parse().unwrap()));
}

#[tokio::test]
async fn sessionless_json_of_the_older_revisions_has_a_status() {
    let config = StreamableHttpServerConfig::default().with_legacy_session_mode(false).with_json_response(true);
    let layer = ServerLayer::new("rich", &one_an_hour());
    let site = Site::with(config, move || layer.layer(quick())).await;
    let poster = Poster::sessionless(&site);
    assert_eq!(poster.post(&legacy(1, "resources/list", json!({}))).await.status, 200);
    let refused = poster.post(&legacy(2, "resources/list", json!({}))).await;
    assert_error(&refused, 429, &json!(2), (429, "Rate limited: "));
    assert!(retry_after(&refused).is_some());
}

#[tokio::test]
async fn what_keeps_a_connection_alive_is_never_refused() {
    let site = site(quick(), &one_an_hour()).await;
    let modern_poster = Poster::modern(&site);
    modern_poster.post(&modern_call(1)).await;
    assert_refused(&modern_poster.post(&modern_call(2)).await.message(), 2);
    for id in 3..6 {
        let discovered = modern_poster.post(&modern(id, "server/discover", json!({}))).await;
        assert!(discovered.message()["result"]["supportedVersions"].is_array(), "{discovered:?}");
        // Each opens a session anew, so `initialize` goes through too.
        let pong = Poster::session(&site).await.post(&legacy(id, "ping", json!({}))).await;
        assert_eq!(pong.message(), json!({ "jsonrpc": "2.0", "id": id, "result": {} }));
    }
    // A ping is not free for others to pay: the quota is as used up as it was.
    assert_refused(&modern_poster.post(&modern_call(7)).await.message(), 7);

    let layer = ServerLayer::new("rich", &one_an_hour());
    Pipe::open(layer.layer(quick())).await.ask(&call(1)).await;
    let mut pipe = Pipe::open(layer.layer(quick())).await;
    for id in 2..5 {
        let pong: Value = serde_json::from_str(&pipe.ask(&legacy(id, "ping", json!({}))).await).unwrap();
        assert_eq!(pong["result"], json!({}), "{pong}");
    }
}

/// The whole result of a tool that says `word` and fails, over HTTP and over a pipe, which must agree.
async fn worded(word: fn()) -> Value {
    let probe = Probe::new(move |_, _| async move {
        word();
        failed()
    });
    let no_retries = Stack::new().retry(buttress::retry::RetryLayer::off());
    let site = site(probe.clone(), &no_retries).await;
    let over_http = Poster::session(&site).await.post(&call(1)).await.message();
    let mut pipe = Pipe::open(ServerLayer::new("rich", &no_retries).layer(probe)).await;
    let over_a_pipe: Value = serde_json::from_str(&pipe.ask(&call(1)).await).unwrap();
    assert_eq!(over_http, over_a_pipe);
    over_a_pipe["result"].clone()
}

fn result(texts: &[&str], facts: &Value) -> Value {
    let blocks: Vec<_> = texts.iter().map(|text| json!({ "type": "text", "text": text })).collect();
    json!({ "content": blocks, "isError": true, "_meta": { FACTS: facts } })
}

#[tokio::test]
async fn a_handlers_word_is_on_the_wire_as_our_facts_and_nothing_else() {
    const OWN: &str = "the backend said no";
    let throttled = worded(|| outcome::throttled(Duration::from_millis(2500))).await;
    assert_eq!(throttled, result(&[OWN], &json!({ "class": "throttled", "retryable": true, "retryAfterMs": 2500 })));
    let not_sent = worded(outcome::not_sent).await;
    assert_eq!(not_sent, result(&[OWN], &json!({ "class": "not_sent", "retryable": true })));
    // The tool is not safe to repeat, so its caller is told what the tool itself cannot know.
    let ambiguous = worded(outcome::ambiguous).await;
    let notice = "Outcome unknown: \"probe\" on \"rich\" failed, and the call may or may not have taken effect. \
                  Do not repeat it; find out first whether it did.";
    assert_eq!(ambiguous, result(&[OWN, notice], &json!({ "class": "outcome_unknown", "retryable": false })));
    let silent = worded(|| ()).await;
    assert_eq!(silent, json!({ "content": [{ "type": "text", "text": OWN }], "isError": true }));
}

#[tokio::test]
async fn no_text_of_ours_holds_what_a_panic_said() {
    let secret = || Probe::new(async |_, _| panic!("token=hunter2 at /srv/secrets/key.pem"));
    let mut pipe = Pipe::open(wrap("rich", secret())).await;
    let site = site(secret(), &Stack::new()).await;
    let over_http = Poster::modern(&site).post(&modern_call(1)).await.body;
    for line in [pipe.ask(&call(1)).await, over_http] {
        assert!(line.contains("Outcome unknown: \\\"probe\\\" on \\\"rich\\\" failed"), "{line}");
        for leak in ["hunter2", "/srv", "panic", ".rs", "Panicked", "buttress::"] {
            assert!(!line.contains(leak), "{leak} in {line}");
        }
    }
}
