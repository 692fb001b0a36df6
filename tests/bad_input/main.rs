//! What callers and upstreams make up costs nothing: no memory, no series, no call of somebody else's; and it is counted.
//!
//! A hundred thousand invented names; the test that is ignored makes a million.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod exposition;

use std::{
    collections::BTreeSet,
    sync::{Mutex, OnceLock, PoisonError},
};

use buttress::{
    BoxError, Stack,
    admin::Metrics,
    call::{Caller, Method, Request, Response},
    catalogue::{Catalogue, DEFAULT_CAPACITY},
    raw::{RawAnswer, RawCall, RawMessage},
    stack::StackService,
};
use bytes::Bytes;
use exposition::Samples;
use serde_json::json;
use tower::service_fn;

/// A scrape of a megabyte is a lot.
const SCRAPE: usize = 1 << 20;

/// One recorder for the process, and one test at a time.
fn metrics() -> (impl Drop, &'static Metrics) {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    (TURN.lock().unwrap_or_else(PoisonError::into_inner), METRICS.get_or_init(|| Metrics::install().unwrap()))
}

/// What is scraped: how many bytes are of this upstream, and all that they say.
fn scrape(metrics: &Metrics, upstream: &str) -> (usize, Samples) {
    let (text, ours) = (metrics.render(), format!("upstream=\"{upstream}\""));
    let bytes = text.lines().filter(|line| line.contains(&ours)).map(|line| line.len() + 1).sum();
    (bytes, exposition::parse(&text).unwrap())
}

/// The sum over all series of a metric that have these labels.
fn sum(samples: &Samples, metric: &str, wanted: &[(&str, &str)]) -> f64 {
    let has = |labels: &[(String, String)], (name, value): &(&str, &str)| {
        labels.iter().any(|(n, v)| (n.as_str(), v.as_str()) == (*name, *value))
    };
    let series = samples.get(metric).into_iter().flatten().filter(|(labels, _)| wanted.iter().all(|one| has(labels, one)));
    series.map(|(_, value)| value).sum()
}

/// How many bytes of memory are resident. 0 where the system does not say.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok().and_then(|line| line.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

struct Server {
    service: StackService<RawMessage, RawAnswer>,
    catalogue: Catalogue,
}

impl Server {
    /// Answers every call; a list, with the tools of these names.
    fn new(upstream: &'static str, listed: &[String]) -> Self {
        let tools: Vec<_> = listed.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect();
        let list = Bytes::from(json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}).to_string());
        let done = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#);
        let handler = service_fn(move |call: Request<RawMessage>| {
            let answer = if *call.head.method() == Method::ToolsList { list.clone() } else { done.clone() };
            async move { Ok::<_, BoxError>(Response::new(RawAnswer::parse(answer)?)) }
        });
        Self { service: Stack::new().service(handler), catalogue: Catalogue::new(upstream) }
    }

    /// Whether a call is answered with a result.
    async fn call(&self, method: &str, name: &str) -> bool {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": name}}).to_string();
        let call = RawCall::parse(message.into()).unwrap();
        let caller = Caller::of_tenant("t");
        let response = self.service.answer(call.request(&self.catalogue, caller.clone())).await.unwrap();
        call.learn(&self.catalogue, &caller, &response);
        call.answer(response).windows(8).any(|bytes| bytes == b"\"result\"")
    }
}

/// The `n`-th name that nobody listed, or that is no name.
fn invented(n: u32) -> String {
    match n % 1000 {
        0 => format!("{n}{}", "x".repeat(10_000)),
        1 => format!("a\"b{n}"),
        2 => format!("a\nb{n}"),
        3 => format!("a\\{n}\\\""),
        4 => format!("\u{202e}\0{n}"),
        5 => format!("}} 1\nup{{x=\"{n}"),
        _ => format!("made_up_{n}"),
    }
}

async fn invent(names: u32, upstream: &'static str) {
    let (_turn, metrics) = metrics();
    let server = Server::new(upstream, &[]);
    let all = |from: u32, to: u32| {
        let server = &server;
        async move {
            for n in from..to {
                let method = if n % 50 == 0 { format!("{}/method", invented(n)) } else { "tools/call".to_owned() };
                assert!(server.call(&method, &invented(n)).await, "call {n}");
                // As often as a process scrapes and drains, if it makes some thousand calls a second.
                if n % 20_000 == 0 {
                    drop(metrics.render());
                }
            }
        }
    };
    all(0, names / 10).await;
    let ((before, _), memory) = (scrape(metrics, upstream), resident());
    all(names / 10, names).await;
    let (after, samples) = scrape(metrics, upstream);
    let grown = resident().saturating_sub(memory);
    println!("{names} names: {before} bytes of scrape, then {after}; {grown} bytes more are resident");
    // Counts have more digits by now, and that is all.
    assert!(after < before + before / 10 && after < SCRAPE, "{before} bytes of scrape have become {after}");
    assert!(grown < 16 << 20, "{grown} bytes have come to stay");
    let (tools, methods) = (f64::from(names - names / 50), f64::from(names / 50));
    let overflow = |label| sum(&samples, "buttress_metric_label_overflow_total", &[("upstream", upstream), ("label", label)]);
    assert_eq!((overflow("gen_ai_tool_name"), overflow("mcp_method_name")), (tools, methods));
    let calls = sum(&samples, "mcp_server_operation_duration_seconds_count", &[("upstream", upstream)]);
    assert_eq!(calls, f64::from(names), "every call is there, under some name");
    let in_flight = sum(&samples, "buttress_requests_in_flight", &[("upstream", upstream)]);
    assert_eq!(in_flight, 0.0);
}

#[tokio::test]
async fn a_hundred_thousand_invented_names_leave_nothing_behind() {
    invent(100_000, "some").await;
}

#[tokio::test]
#[ignore = "a million calls: whole, in release"]
async fn a_million_invented_names_leave_nothing_behind() {
    invent(1_000_000, "many").await;
}

/// A megabyte each of trace context and baggage that nobody can read: the call is made, nothing of it is kept, and nothing of it is sent
/// on where a layer says what is.
#[tokio::test]
async fn a_bomb_in_the_trace_of_a_call_goes_no_further() {
    let megabyte = |of: &str| of.repeat((1 << 20) / of.len());
    let handler = service_fn(async |call: Request<RawMessage>| {
        assert!(call.head.meta.is_none(), "{:?}", call.head.meta);
        let (traced, size) = (call.head.traced.is_some(), call.params.onward(&call.head, 7).len());
        assert!(if traced { size < 200 } else { size > 3 << 20 }, "{size} bytes go on");
        let answer = Bytes::from_static(br#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#);
        Ok::<_, BoxError>(Response::new(RawAnswer::parse(answer)?))
    });
    let (service, catalogue) = (Stack::new().service(handler), Catalogue::new("bombed"));
    let mut memory = 0;
    for n in 0..8 {
        let part = megabyte(["0", "a=1,", "\n", "\u{202e}\""][n % 4]);
        let said = json!({ "traceparent": part, "tracestate": part, "baggage": part });
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t", "_meta": said}});
        let call = RawCall::parse(message.to_string().into()).unwrap();
        let mut request = call.request(&catalogue, Caller::default());
        request.head.traced = (n % 8 < 4).then(Default::default);
        let answer = call.answer(service.answer(request).await.unwrap());
        assert_eq!(answer, br#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#.as_slice());
        if n == 4 {
            memory = resident();
        }
    }
    let grown = resident().saturating_sub(memory);
    assert!(grown < 32 << 20, "{grown} bytes have come to stay");
}

/// Most of ten thousand are plain names.
fn hostile() -> Vec<String> {
    (0..10_000).map(|n| if n % 10 == 0 { invented(n / 10) } else { format!("tool_{n}") }).collect()
}

/// How many series an upstream has.
fn series_of(samples: &Samples, upstream: &str) -> usize {
    let label = ("upstream".to_owned(), upstream.to_owned());
    samples.values().flat_map(|series| series.keys()).filter(|labels| labels.contains(&label)).count()
}

/// Names beyond the capacity share an entry, and so do those that are no labels.
#[tokio::test]
async fn a_hostile_list_fills_the_catalogue_and_no_more() {
    let (_turn, metrics) = metrics();
    for (upstream, capacity) in [("hostile", DEFAULT_CAPACITY), ("confined", 64)] {
        let mut server = Server::new(upstream, &hostile());
        server.catalogue = Catalogue::new(upstream).capacity(capacity);
        let memory = resident();
        assert!(server.call("tools/list", "").await);
        let listed = series_of(&scrape(metrics, upstream).1, upstream);
        assert!(listed <= SERIES_PER_TOOL + 20, "a list alone makes no series but its own: {listed}");

        for name in &hostile() {
            assert!(server.call("tools/call", name).await, "{name}");
        }
        let (size, samples) = scrape(metrics, upstream);
        let grown = resident().saturating_sub(memory);
        let counts = &samples["mcp_server_operation_duration_seconds_count"];
        let named = counts.keys().filter(|labels| labels.contains(&("upstream".to_owned(), upstream.to_owned())));
        let names: BTreeSet<_> = named.flatten().filter(|(name, _)| name == "gen_ai_tool_name").map(|(_, value)| value).collect();
        let fit = |name: &str| name.len() <= 64 && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_./-".contains(&c));
        assert!(names.iter().all(|name| fit(name)) && names.contains(&"_OTHER".to_owned()), "{names:?}");
        assert!(names.len() <= capacity + 1, "{} names", names.len());
        println!("10,000 listed and called, {capacity} learned: {} names, {size} bytes of scrape, {grown} resident", names.len());
        // The list itself is a target too, and a few series are the upstream's.
        assert!(series_of(&samples, upstream) <= (names.len() + 1) * SERIES_PER_TOOL + 20);
        assert!(capacity == DEFAULT_CAPACITY || size < SCRAPE, "{size} bytes of scrape");
        assert!(grown < 32 << 20, "{grown} bytes have come to stay");
        let calls = |tool| sum(&samples, "mcp_server_operation_duration_seconds_count", &[("upstream", upstream), tool]);
        let overflow = [("upstream", upstream), ("label", "gen_ai_tool_name")];
        assert_eq!(calls(("mcp_method_name", "tools/call")), 10_000.0);
        assert_eq!(sum(&samples, "buttress_metric_label_overflow_total", &overflow), calls(("gen_ai_tool_name", "_OTHER")));
    }
}

/// What a tool costs in the default stack once it has been called, if nothing goes wrong. The docs of `metrics` say so.
const SERIES_PER_TOOL: usize = 69;

/// An operator with two hundred tools, all of them in use; and a name for the server that is no label.
#[tokio::test]
async fn what_two_hundred_tools_cost() {
    let (_turn, metrics) = metrics();
    let names: Vec<String> = (0..200).map(|n| format!("get_forecast_{n}")).collect();
    let server = Server::new("weather \"1\"\n", &names);
    assert!(server.call("tools/list", "").await);
    for name in &names {
        assert!(server.call("tools/call", name).await);
    }
    let (size, samples) = scrape(metrics, "weather__1__");
    let one = ("gen_ai_tool_name".to_owned(), "get_forecast_7".to_owned());
    let each = samples.values().flat_map(|series| series.keys()).filter(|labels| labels.contains(&one)).count();
    println!("200 tools: {size} bytes of scrape, {each} series each");
    assert_eq!(each, SERIES_PER_TOOL, "what the docs of `metrics` say");
    assert!(size < 2 * SCRAPE, "{size} bytes");
}
