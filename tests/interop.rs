//! The weather example, seen from outside: the official SDKs of other languages as its clients, Prometheus' own check of its
//! metrics, and a browser that looks at the admin page.
//!
//! What these tests need beside Rust is installed by `tests/interop/install.sh`.

#![cfg(feature = "admin")]
#![expect(clippy::expect_used, clippy::panic, reason = "clippy takes the functions that tests share for no tests")]

#[path = "interop/observability.rs"]
mod observability;
#[path = "interop/page.rs"]
mod page;
#[path = "interop/scrape.rs"]
mod scrape;
#[path = "interop/script.rs"]
mod script;
#[path = "interop/weather.rs"]
mod weather;

use std::sync::Arc;

use buttress::call::TIMEOUT_KEY;
use rmcp::{
    Peer, RoleClient, ServiceExt,
    model::{CallToolRequestParams, MetaObject, RequestMetaObject},
    service::RunningService,
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use serde_json::{Value, json};
use tokio::{sync::Mutex, task::JoinSet};

use weather::{Backend, Weather};

/// Calls of a tool that the TypeScript scripts make.
const CALLS_PER_TOOL: u64 = 36;

const TOOLS: [&str; 3] = ["get_forecast", "get_weather", "report_observation"];

#[tokio::test]
#[ignore = "interop: needs Python"]
async fn a_thousand_calls_from_python_with_a_handshake() {
    a_thousand_calls_from_python("2025-11-25").await;
}

#[tokio::test]
#[ignore = "interop: needs Python"]
async fn a_thousand_calls_from_python_without_a_session() {
    a_thousand_calls_from_python("2026-07-28").await;
}

/// The script itself holds every answer against what is on record; here its word is held against the stand-in's and the
/// server's own.
async fn a_thousand_calls_from_python(era: &str) {
    let weather = Weather::start().await;
    let seen = script::python("thousand.py", &[&weather.mcp, "--era", era]).await;
    let backend = weather.backend().await;
    let metrics = weather.metrics().await;
    println!("{seen}\n{backend:?}");

    assert_eq!(seen["violations"], json!([]));
    assert_eq!(seen["calls"], 1000);
    assert_eq!(seen["transportErrors"], 0);
    let reads = &seen["reads"];
    assert!(number(&reads["succeeded"]) * 100 >= number(&reads["attempted"]) * 99, "{reads}");

    // What the promises were kept against: without trouble they mean nothing.
    // Reading what is on record shares a path with the writes, but meets no faults; the script's last read is no call.
    let spared = number(&seen["asked"]["weather://observations"]) + 1;
    let raw = backend.requests(Backend::FORECAST) + backend.requests(Backend::OBSERVATIONS) - spared;
    let failed = backend.faults(Backend::FORECAST) + backend.faults(Backend::OBSERVATIONS);
    assert!(failed * 100 >= raw * 15, "only {failed} of {raw} requests failed");
    assert!(backend.doubtful(Backend::OBSERVATIONS) > 0, "no write was left in doubt");
    assert!(number(&seen["writes"]["unknown"]) > 0, "no caller was told of a doubt");
    assert_eq!(backend.effects(), number(&seen["effects"]));

    // The server counted what its callers did.
    for tool in TOOLS {
        let counted = metrics.sum("mcp_server_operation_duration_seconds_count", &[("gen_ai_tool_name", tool)]);
        assert_eq!(counted, number(&seen["asked"][tool]), "{tool}");
        assert!(metrics.sum("buttress_retries_total", &[("gen_ai_tool_name", tool)]) > 0, "{tool} was never repeated");
    }
}

#[tokio::test]
#[ignore = "interop: needs Node"]
async fn the_typescript_client_over_http() {
    typescript_over_http("modern.mjs", "2026-07-28").await;
}

#[tokio::test]
#[ignore = "interop: needs Node"]
async fn the_typescript_client_over_stdio() {
    typescript_over_stdio("modern.mjs", "2026-07-28").await;
}

#[tokio::test]
#[ignore = "interop: needs Node"]
async fn the_older_typescript_sdk_over_http() {
    typescript_over_http("handshake.mjs", "2025-11-25").await;
}

#[tokio::test]
#[ignore = "interop: needs Node"]
async fn the_older_typescript_sdk_over_stdio() {
    typescript_over_stdio("handshake.mjs", "2025-11-25").await;
}

async fn typescript_over_http(name: &str, era: &str) {
    let weather = Weather::start().await;
    let seen = script::node(&format!("typescript/{name}"), &["http", &weather.mcp]).await;
    check_typescript(&seen, era);
    assert_eq!(weather.backend().await.effects(), number(&seen["effects"]));
}

async fn typescript_over_stdio(name: &str, era: &str) {
    let _alone = weather::alone().await;
    let program = weather::program().to_str().expect("the path is UTF-8");
    let seen = script::node(&format!("typescript/{name}"), &["stdio", program, "--stdio", "--admin", "127.0.0.1:0"]).await;
    check_typescript(&seen, era);
}

fn check_typescript(seen: &Value, era: &str) {
    println!("{seen}");
    assert_eq!(seen["violations"], json!([]));
    assert_eq!(seen["transportErrors"], 0);
    assert_eq!(seen["era"], era);
    assert_eq!(seen["tools"], json!(TOOLS));
    for tool in TOOLS {
        let classes = seen["classes"][tool].as_object().expect("every tool is called");
        assert_eq!(classes.values().map(number).sum::<u64>(), CALLS_PER_TOOL, "{tool}");
    }
    let texts = seen["unknownCity"].as_array().expect("every tool is asked about a city that does not exist");
    assert_eq!(texts.len(), TOOLS.len());
    for text in texts {
        assert_eq!(text, "No city called \"Atlantis\" is known. Check the spelling, or try a larger city nearby.");
    }
}

#[tokio::test]
#[ignore = "interop: needs promtool"]
async fn prometheus_finds_no_fault_with_the_metrics() {
    let weather = Weather::start().await;
    let client = connect(&weather.mcp).await;
    let reads = tokio::spawn(crowd(client.peer().clone(), 120, forecast));
    let writes = tokio::spawn(crowd(client.peer().clone(), 120, report));
    let mut hurried = report(0);
    let meta = json!({ TIMEOUT_KEY: 0 }).as_object().cloned().unwrap_or_default();
    hurried.meta = Some(RequestMetaObject(MetaObject(meta)));
    let refused = client.call_tool(hurried).await.expect("a refusal is a result too");
    assert_eq!(refused.is_error, Some(true));
    reads.await.expect("all reads are answered");
    writes.await.expect("all writes are answered");

    let metrics = weather.metrics().await;
    assert_eq!(script::promtool(&["check", "metrics"], metrics.text()).await, "");

    let tool = ("gen_ai_tool_name", "get_forecast");
    assert_eq!(metrics.sum("mcp_server_operation_duration_seconds_bucket", &[tool, ("le", "+Inf")]), 120);
    assert!(metrics.sum("buttress_retries_total", &[tool]) > 0, "nothing was repeated");
    assert_eq!(metrics.sum("buttress_circuit_breaker_state", &[tool]), 1, "a breaker is in one state");
    let refusals = [("gen_ai_tool_name", "report_observation"), ("layer", "deadline"), ("reason", "deadline")];
    assert!(metrics.sum("buttress_rejections_total", &refusals) > 0, "no refusal was counted");
}

async fn connect(url: &str) -> RunningService<RoleClient, ()> {
    // No proxy of the environment's leads to this machine.
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let transport = StreamableHttpClientTransport::with_client(http, StreamableHttpClientTransportConfig::with_uri(url));
    ().serve(transport).await.expect("the client connects")
}

/// Makes that many calls, forty at a time. Each ends in a result, whichever.
async fn crowd(peer: Peer<RoleClient>, calls: u32, call: fn(u32) -> CallToolRequestParams) {
    let todo = Arc::new(Mutex::new(0..calls));
    let mut agents = JoinSet::new();
    for _ in 0..40 {
        let (peer, todo) = (peer.clone(), todo.clone());
        agents.spawn(async move {
            loop {
                let Some(number) = todo.lock().await.next() else { return };
                peer.call_tool(call(number)).await.expect("every call of a tool ends in a result");
            }
        });
    }
    agents.join_all().await;
}

fn forecast(_number: u32) -> CallToolRequestParams {
    call("get_forecast", json!({ "city": "Oslo", "days": 3 }))
}

fn report(number: u32) -> CallToolRequestParams {
    call("report_observation", json!({ "city": "Oslo", "temperature_c": 7.5, "note": number.to_string() }))
}

fn call(tool: &'static str, arguments: Value) -> CallToolRequestParams {
    CallToolRequestParams::new(tool).with_arguments(arguments.as_object().cloned().unwrap_or_default())
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a whole number")
}
