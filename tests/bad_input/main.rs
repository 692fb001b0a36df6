//! What callers and upstreams make up costs nothing: no memory, no series, no call of somebody else's; and it is counted.
//!
//! A hundred thousand invented names; the test that is ignored makes a million.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod exposition;
#[path = "../interop/script.rs"]
#[expect(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    reason = "shared with the tests against other SDKs, which run more than promtool"
)]
mod script;
mod server;
mod trace;
mod worst;

use std::{
    collections::BTreeSet,
    sync::{Mutex, OnceLock, PoisonError},
};

use buttress::{
    admin::Metrics,
    catalogue::{Catalogue, DEFAULT_CAPACITY},
};
use exposition::Samples;
use server::{Server, hostile, invented};

/// No upstream's part of a scrape is longer.
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

fn have(labels: &[(String, String)], wanted: &[(&str, &str)]) -> bool {
    wanted.iter().all(|wanted| labels.iter().any(|(name, value)| (name.as_str(), value.as_str()) == *wanted))
}

/// The sum over all series of a metric that have these labels.
fn sum(samples: &Samples, metric: &str, wanted: &[(&str, &str)]) -> f64 {
    let series = samples.get(metric).into_iter().flatten().filter(|(labels, _)| have(labels, wanted));
    series.map(|(_, value)| value).sum()
}

/// How many bytes of memory are resident. 0 where the system does not say.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok().and_then(|line| line.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
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

/// As Prometheus reads it: whatever the other tests have left, too.
#[tokio::test]
#[ignore = "interop: needs promtool"]
async fn prometheus_finds_no_fault_with_what_was_made_up() {
    let text = {
        let (_turn, metrics) = metrics();
        let names = hostile();
        let server = Server::new("read by promtool", &names);
        assert!(server.call("tools/list", "").await);
        for name in names.iter().cloned().chain((0..10_000).map(invented)) {
            assert!(server.call("tools/call", &name).await, "{name:?}");
        }
        metrics.render()
    };
    assert_eq!(script::promtool(&["check", "metrics"], &text).await, "");
}

/// How many series have these labels.
fn series_with(samples: &Samples, wanted: &[(&str, &str)]) -> usize {
    samples.values().flat_map(|series| series.keys()).filter(|labels| have(labels, wanted)).count()
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
        let listed = series_with(&scrape(metrics, upstream).1, &[("upstream", upstream)]);
        assert!(listed <= SERIES_PER_TOOL + 20, "a list alone makes no series but its own: {listed}");

        for name in &hostile() {
            assert!(server.call("tools/call", name).await, "{name}");
        }
        let (size, samples) = scrape(metrics, upstream);
        let grown = resident().saturating_sub(memory);
        let counts = &samples["mcp_server_operation_duration_seconds_count"];
        let named = counts.keys().filter(|labels| labels.contains(&("upstream".to_owned(), upstream.to_owned())));
        let names: BTreeSet<_> = named.flatten().filter(|(name, _)| name == "gen_ai_tool_name").map(|(_, value)| value).collect();
        let fit = |name: &str| name.len() <= 128 && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_./-".contains(&c));
        assert!(names.iter().all(|name| fit(name)) && names.contains(&"_OTHER".to_owned()), "{names:?}");
        assert!(names.len() <= capacity + 1, "{} names", names.len());
        println!("10,000 listed and called, {capacity} learned: {} names, {size} bytes of scrape, {grown} resident", names.len());
        // The list itself is a target too, and a few series are the upstream's.
        assert!(series_with(&samples, &[("upstream", upstream)]) <= (names.len() + 1) * SERIES_PER_TOOL + 20);
        assert!(size < SCRAPE, "{size} bytes of scrape");
        assert!(grown < 32 << 20, "{grown} bytes have come to stay");
        let calls = |tool| sum(&samples, "mcp_server_operation_duration_seconds_count", &[("upstream", upstream), tool]);
        let overflow = [("upstream", upstream), ("label", "gen_ai_tool_name")];
        assert_eq!(calls(("mcp_method_name", "tools/call")), 10_000.0);
        assert_eq!(sum(&samples, "buttress_metric_label_overflow_total", &overflow), calls(("gen_ai_tool_name", "_OTHER")));
    }
}

/// Templates are read from braces, and bear labels that tools may not have.
#[tokio::test]
async fn a_hostile_list_of_templates_costs_no_more_than_one_of_tools() {
    let (_turn, metrics) = metrics();
    let templates: Vec<String> = hostile().into_iter().take(2_000).map(|name| format!("{name}://{{x}}{{?y}}")).collect();
    let server = Server::new("shelves", &templates);
    assert!(server.call("resources/templates/list", "").await);
    for template in &templates {
        assert!(server.call("resources/read", template).await, "{template}");
    }
    let (size, samples) = scrape(metrics, "shelves");
    let counts = samples["mcp_server_operation_duration_seconds_count"].keys();
    let named: BTreeSet<_> = counts.flatten().filter(|(name, _)| name == "resource_template").map(|(_, value)| value).collect();
    assert!((2..=DEFAULT_CAPACITY + 1).contains(&named.len()), "{} templates", named.len());
    assert!(named.contains(&"tool_1://{x}{?y}".to_owned()) && named.contains(&"_OTHER".to_owned()), "{named:?}");
    assert!(
        named.iter().all(|label| label.len() <= 128 && label.bytes().all(|c| c.is_ascii_graphic() && c != b'"' && c != b'\\'))
    );
    let calls = sum(&samples, "mcp_server_operation_duration_seconds_count", &[("upstream", "shelves")]);
    assert_eq!(calls, 2_001.0, "every call is there, under some name");
    println!("2,000 templates listed and read: {} names, {size} bytes of scrape", named.len());
    assert!(size < SCRAPE, "{size} bytes of scrape");
}

/// What a tool costs in the default stack once it has been called, if nothing goes wrong: where there are few, and where there
/// are many. The docs of `metrics` say so.
const SERIES_PER_TOOL: usize = 70;
const SERIES_OF_MANY: usize = 20;

/// Operators with few tools and with many, all of them in use; and a name for the server that is no label.
#[tokio::test]
async fn what_tools_cost() {
    let (_turn, metrics) = metrics();
    for (tools, upstream, label, expected, most) in
        [(32, "few \"1\"\n", "few__1__", SERIES_PER_TOOL, 400_000), (200, "weather", "weather", SERIES_OF_MANY, 600_000)]
    {
        let names: Vec<String> = (0..tools).map(|n| format!("get_forecast_{n}")).collect();
        let server = Server::new(upstream, &names);
        assert!(server.call("tools/list", "").await);
        for name in &names {
            assert!(server.call("tools/call", name).await);
        }
        let (size, samples) = scrape(metrics, label);
        println!("{tools} tools: {size} bytes of scrape");
        for name in names {
            let labels = [("upstream", label), ("gen_ai_tool_name", &*name)];
            assert_eq!(series_with(&samples, &labels), expected, "what the docs of `metrics` say");
        }
        assert!(size < most, "{size} bytes");
        assert_eq!(sum(&samples, "buttress_metric_label_overflow_total", &[("upstream", label)]), 0.0);
    }
}
