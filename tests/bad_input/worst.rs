//! The longest scrape that a server can bring about: names as long as may be, and all ways to fail.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use buttress::{
    Mode, Stack,
    breaker::BreakerLayer,
    call::{Annotations, ErrorObject, Method, Response},
    catalogue::{Catalogue, Scope},
    error::{HttpStatus, Transport},
    outcome,
    raw::RawAnswer,
};
use bytes::Bytes;

use crate::{
    SCRAPE, metrics, scrape, series_with,
    server::{Server, invented},
    sum,
};

/// Codes with a series of their own, and one without.
const CODES: [i64; 11] = [-32700, -32600, -32601, -32602, -32603, -32002, -32020, -32021, -32022, -32042, 1];
/// The ways that are no codes.
const WAYS: usize = 7;

fn fail(way: usize) -> Result<Response<RawAnswer>, buttress::BoxError> {
    let done =
        || Ok(Response::new(RawAnswer::parse(Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#))?));
    let tool_error = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}"#;
    match way {
        0 => done(),
        1 => Ok(Response::new(RawAnswer::parse(Bytes::from_static(tool_error))?)),
        2 => Err(Transport::not_sent("refused").into()),
        3 => Err(Transport::unknown("reset").into()),
        4 => Err(HttpStatus::new(401).into()),
        5 => Err(HttpStatus::new(404).in_session().into()),
        6 => {
            outcome::throttled(None);
            Ok(Response::new(RawAnswer::parse(Bytes::from_static(tool_error))?))
        }
        code => Ok(Response::from_error(ErrorObject::new(CODES[code - WAYS], "no"))),
    }
}

/// A server that answers as it is told, behind breakers or beside them.
fn server(mode: Mode, upstream: &'static str, way: &Arc<AtomicUsize>) -> Server {
    let way = way.clone();
    let stack = Stack::new().breaker(BreakerLayer::default().mode(mode));
    Server::with(&stack, upstream, move |_| fail(way.load(Ordering::Relaxed)))
}

/// Names that are as long as a label may be.
fn long(kind: &str, names: u32) -> Vec<String> {
    (0..names).map(|n| format!("{kind}_{n:0>width$}", width = 127 - kind.len())).collect()
}

async fn everything(upstream: &'static str, budget: Option<usize>) -> BTreeMap<String, f64> {
    let way = Arc::new(AtomicUsize::new(0));
    let (_turn, metrics) = metrics();
    let mut enforcing = server(Mode::Enforce, upstream, &way);
    let mut catalogue = Catalogue::new(upstream);
    if let Some(budget) = budget {
        catalogue = catalogue.scrape_budget(budget);
    }
    let (tools, prompts, templates) = (long("tool", 300), long("prompt", 150), long("template", 150));
    for (method, names) in [(Method::ToolsCall, &tools), (Method::PromptsGet, &prompts), (Method::ResourcesRead, &templates)] {
        catalogue.learn(&method, Scope::Public, names.iter().map(|name| (&**name, Annotations::default().read_only(true))));
    }
    enforcing.catalogue = catalogue;
    let observing = server(Mode::Observe, upstream, &way);
    let mut calls = 0;
    for kind in 0..WAYS + CODES.len() {
        way.store(kind, Ordering::Relaxed);
        for service in [&enforcing.service, &observing.service] {
            let server = Server { service: service.clone(), catalogue: enforcing.catalogue };
            for (method, names) in [("tools/call", &tools), ("prompts/get", &prompts), ("resources/read", &templates)] {
                for name in names.iter().chain([&invented(kind as u32)]) {
                    server.call(method, name).await;
                    calls += 1;
                }
            }
            for method in Method::KNOWN.iter().map(Method::as_str).chain(["x/invented"]) {
                server.call(method, "").await;
                calls += 1;
            }
            enforcing.catalogue = server.catalogue;
        }
        // Breakers that are open let a probe through by then.
        tokio::time::advance(Duration::from_secs(600)).await;
    }
    let (size, samples) = scrape(metrics, upstream);
    println!("{upstream}: {size} bytes of scrape after {calls} calls");
    assert!(size < SCRAPE, "{size} bytes");
    let count = sum(&samples, "mcp_server_operation_duration_seconds_count", &[("upstream", upstream)]);
    assert_eq!(count, f64::from(calls), "every call is there, under some name");
    for gauge in ["buttress_requests_in_flight", "buttress_concurrency_in_flight", "buttress_queue_length"] {
        assert_eq!(sum(&samples, gauge, &[("upstream", upstream)]), 0.0, "{gauge}");
    }
    let shared = [("upstream", upstream), ("gen_ai_tool_name", "_OTHER")];
    let of = |metric, labels: &[(&str, &str)]| sum(&samples, metric, &[&shared, labels].concat());
    let breakers = ["closed", "half_open", "open"].map(|state| of("buttress_circuit_breaker_state", &[("state", state)]));
    let overflow = ["mcp_method_name", "gen_ai_tool_name", "gen_ai_prompt_name", "resource_template"]
        .map(|label| sum(&samples, "buttress_metric_label_overflow_total", &[("upstream", upstream), ("label", label)]));
    BTreeMap::from([
        ("named".to_owned(), series_with(&samples, &[("upstream", upstream), ("gen_ai_tool_name", &tools[0])]) as f64),
        ("breakers".to_owned(), breakers.iter().sum()),
        ("limit".to_owned(), of("buttress_concurrency_limit", &[])),
        ("overflow".to_owned(), overflow.iter().sum()),
        ("calls".to_owned(), f64::from(calls)),
    ])
}

#[tokio::test(start_paused = true)]
async fn a_hostile_server_cannot_make_a_scrape_long() {
    let told = everything("worst", None).await;
    assert!(told["named"] >= 20.0, "{told:?}");
    assert!(told["overflow"] > 0.0, "{told:?}");
}

/// What has no series of its own is in the one that all such share: gauges too, each with its part.
#[tokio::test(start_paused = true)]
async fn without_a_budget_all_names_are_one() {
    let told = everything("none", Some(0)).await;
    assert_eq!(told["named"], 0.0, "{told:?}");
    // But those of methods that have no names.
    assert_eq!(told["overflow"], told["calls"], "{told:?}");
    // 300 tools, and what nobody listed, in two stacks.
    assert_eq!((told["breakers"], told["limit"]), (602.0, 602.0 * 64.0), "{told:?}");
}
