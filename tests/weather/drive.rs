//! The main run: the example's binary with its own stack, a backend with faults, and callers who count.

use buttress::metrics::{BREAKER_TRANSITIONS, CLIENT_DURATION, RETRIES};

use crate::{
    act::Stage,
    ask::{TOOLS, Target},
    binary::{Site, over_stdio},
    client::Era,
    crowd::Crowd,
    series::Series,
    stand_in::{Options, StandIn},
};

/// Its first two forecasts hang, which saves looking for some; and so do two early reports, for as long as a call may take.
const SEED: u64 = 16294;
/// The same, but reports hang late, which saves ten seconds.
const SEED_OF_PROMPT_REPORTS: u64 = 5589;

async fn backend(seed: u64) -> StandIn {
    StandIn::start(([127, 0, 0, 1], 0).into(), Options { seed, calm: false }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_streamable_http() {
    let backend = backend(SEED).await;
    let site = Site::asking(&backend.url()).await;
    let [legacy, modern] = Era::BOTH;
    let clients = vec![legacy.over_http(&site.mcp).await, modern.over_http(&site.mcp).await];
    run(Stage { crowd: Crowd::new(clients), backend, metrics: site.metrics.clone() }, 12, 16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_stdio_legacy() {
    stdio(Era::Legacy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_stdio_modern() {
    stdio(Era::Modern).await;
}

async fn stdio(era: Era) {
    let backend = backend(SEED_OF_PROMPT_REPORTS).await;
    let (child, metrics) = over_stdio(&backend.url()).await;
    let clients = vec![era.over_stdio(child).await];
    run(Stage { crowd: Crowd::new(clients), backend, metrics }, 6, 14).await;
}

async fn run(mut stage: Stage, callers: usize, calls: usize) {
    // As clients do; and a prompt is known by its name only once it was listed.
    stage.crowd.clients[0].list_all_prompts().await.unwrap();
    stage.take_back().await;
    stage.crowd.storm(callers, calls).await;
    stage.outage().await;
    stage.crowd.storm(callers, 4).await;
    let series = stage.audit_calls().await;
    stage.audit_attempts(&series);

    stage.torn_away(callers).await;
    let series = stage.audit_calls().await;
    stage.audit_reports().await;
    stage.audit_labels(&series).await;
    everything_happened(&stage, &series);
}

/// The run was worth something: each of these was seen.
fn everything_happened(stage: &Stage, series: &Series) {
    let books = &stage.crowd.books;
    // -32602 is a request that is at fault: a tool that nobody listed.
    for class in ["ok", "tool_error", "-32602", "not_sent", "outcome_unknown", "local_reject", "cancelled"] {
        assert!(books.all(class) > 0, "no call was {class}");
    }
    // Retries spare callers these; the attempts had them.
    for error in ["throttled", "ambiguous", "not_sent", "timeout", "cancelled", "tool_error", "-32602"] {
        assert!(series.sum(CLIENT_DURATION, &[("error_type", error)]) > 0, "no attempt was {error}");
    }
    for outcome in ["success", "failure"] {
        assert!(series.sum(RETRIES, &[("outcome", outcome)]) > 0, "no retry was a {outcome}");
    }
    for (from, to) in [("closed", "open"), ("open", "half_open"), ("half_open", "closed")] {
        assert!(series.sum(BREAKER_TRANSITIONS, &[("from", from), ("to", to)]) > 0, "no breaker went from {from} to {to}");
    }
    let calls = TOOLS.map(|tool| books.calls(Target::Tool(tool)));
    println!("{calls:?} calls of {TOOLS:?}; {} refused, {} in doubt", books.all("local_reject"), books.all("outcome_unknown"));
}
