//! The books are kept: whatever becomes of calls, each metric says what the driver of them and the handler behind them counted
//! for themselves, and nothing is left open in the end.
//!
//! A hundred thousand calls; the test that is ignored makes a million (in release: a minute). On the paused clock and with a
//! seed, so that what goes wrong goes wrong again; and once on several threads, for what only they get wrong.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod books;
mod driver;
mod trail;

use std::fmt::Display;

use books::{Books, Series};
use buttress::metrics::{AUDIT_BACKLOG, CONCURRENCY_IN_FLIGHT, CONCURRENCY_KEPT, IN_FLIGHT, Metric, QUEUE_LENGTH, QUOTA_WAITING};
use driver::{Layers, Run, run, run_on_threads};

/// Holds the metrics against what was counted.
fn audit(run: &Run) -> Result<(), String> {
    let Books { calls, handler, series, trail } = &run.books;
    let mut found = Found::default();

    // Logical = answered + refused + cancelled, and each of them tool by tool.
    found.same("calls", series.sum("mcp_server_operation_duration_seconds", &[]), calls.all());
    for (tool, call) in calls.by_tool() {
        let of = |error: &str| series.sum(SERVER, &[("gen_ai_tool_name", tool), ("error_type", error)]);
        found.same(&format!("calls of {tool}"), series.sum(SERVER, &[("gen_ai_tool_name", tool)]), call.all());
        found.same(&format!("refusals of {tool}"), of("rejected"), call.refused());
        found.same(&format!("cancelled calls of {tool}"), of("cancelled"), call.cancelled);
        let good = of("") - series.sum(SERVER, &[("gen_ai_tool_name", tool), ("error_type", ""), (CODE, "-32602")]);
        found.same(&format!("answers of {tool}"), good, call.answered);
        for ((layer, reason), counted) in &call.refusals {
            let labels = [("gen_ai_tool_name", tool), ("layer", *layer), ("reason", *reason)];
            found.same(
                &format!("refusals of {tool} by {layer}: {reason}"),
                series.sum("buttress_rejections_total", &labels),
                *counted,
            );
        }
        let refused = series.sum("buttress_rejections_total", &[("gen_ai_tool_name", tool)]);
        found.same(&format!("refusals of {tool} by layer and reason"), refused, call.refused());
    }

    // Attempts = client series, by how the handler ended them.
    found.same("attempts", series.sum(CLIENT, &[]), handler.began());
    for (tool, error, code, counted) in handler.ended() {
        let labels = [("gen_ai_tool_name", tool), ("error_type", error), (CODE, code)];
        found.same(&format!("attempts at {tool} that ended with {error:?}"), series.sum(CLIENT, &labels), counted);
    }
    let given_up = series.sum(CLIENT, &[("error_type", "timeout")]);
    found.same("attempts cut short", given_up + series.sum(CLIENT, &[("error_type", "cancelled")]), handler.cut_short());
    found.same("timeouts by clock", series.sum("buttress_timeouts_total", &[]), given_up);
    found.same("panics", series.sum("buttress_panics_total", &[]), handler.panics());

    // What the repeating layers sent is what came in as repeated.
    let retries = |outcome| series.sum("buttress_retries_total", &[("outcome", outcome)]);
    found.same("retries that succeeded", retries("success"), handler.repeats.good);
    let failed = retries("failure");
    found.same("retries that failed", failed.clamp(handler.repeats.bad, handler.repeats.bad + handler.repeats.cut_short), failed);
    let hedges = |outcome| series.sum("buttress_hedges_total", &[("outcome", outcome)]);
    found.same("hedges that were won or lost", hedges("won") + hedges("lost"), handler.spares);

    let other = calls.by_tool().filter(|(tool, _)| *tool == "_OTHER").map(|(_, call)| call.all()).sum();
    found.same("calls under no name", series.sum(OVERFLOW, &[("label", "gen_ai_tool_name")]), other);

    // What was answered by the attempt of another call. Who has left by then may or may not have been counted.
    let mut about = |what: &str, counted: u64, served: u64| {
        found.same(what, counted.clamp(served, served + calls.cancelled()), counted);
    };
    about("answers from the cache", series.sum("buttress_cache_lookups_total", &[("outcome", "hit")]), calls.served("fresh"));
    about("old answers", series.sum("buttress_cache_stale_if_error_total", &[]), calls.served("stale"));
    about("answers of the first call under a key", series.sum(KEYS, &[("state", "done")]), calls.served("replayed"));

    // Who joined may have been answered with what refused or failed the call.
    let joined = series.sum("buttress_coalesced_calls_total", &[]);
    found.same("calls that joined another", joined.max(calls.served("shared")), joined);

    if let Some(trail) = trail {
        found.same("lines of the audit trail", trail.values().sum(), calls.all());
        for (outcome, lines) in trail {
            let what = format!("audit records that say {outcome}");
            found.same(&what, series.sum("buttress_audit_events_total", &[("outcome", outcome)]), *lines);
        }
        found.same("audit records", series.sum("buttress_audit_events_total", &[]), calls.all());
        found.same("lost audit records", series.sum("buttress_audit_dropped_total", &[]), 0);
        let of = |outcome: &str| trail.get(outcome).copied().unwrap_or(0);
        found.same("refusals in the audit trail", calls.by_tool().map(|(_, call)| call.refused()).sum(), of("rejected"));
        found.same("cancelled calls in the audit trail", calls.cancelled(), of("cancelled"));
    }

    // Nothing is left open, and each breaker is in one state, to which its transitions led.
    for gauge in [IN_FLIGHT, CONCURRENCY_IN_FLIGHT, CONCURRENCY_KEPT, QUEUE_LENGTH, QUOTA_WAITING] {
        found.empty(series, gauge);
    }
    if trail.is_some() {
        found.empty(series, AUDIT_BACKLOG);
    }
    for (breaker, states) in series.breakers() {
        // The name that nobody listed, and the one that is no label.
        let breakers = if breaker == "_OTHER" { 2 } else { 1 };
        let mut flow = 0.0;
        for (state, shown) in states {
            let count =
                |end| series.sum("buttress_circuit_breaker_transitions_total", &[("gen_ai_tool_name", &breaker), (end, &state)]);
            let began = if state == "closed" { breakers } else { 0 };
            found.same(&format!("breaker of {breaker:?}, {state}"), shown, (began + count("to") - count("from")) as f64);
            flow += shown;
        }
        found.same(&format!("states that the breaker of {breaker:?} is in"), flow, breakers as f64);
    }
    if found.0.is_empty() { Ok(()) } else { Err(found.0.join("\n")) }
}

/// What does not agree.
#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    fn same<T: PartialEq + Display>(&mut self, what: &str, metrics: T, counted: T) {
        if metrics != counted {
            self.0.push(format!("{what}: the metrics say {metrics}, and it was {counted}"));
        }
    }

    /// That this gauge is there, and back at zero.
    fn empty(&mut self, series: &Series, gauge: Metric) {
        let all: Vec<_> = series.gauges(gauge.name).collect();
        if all.is_empty() {
            self.0.push(format!("there is no {}", gauge.name));
        }
        for (labels, value) in all {
            self.same(&format!("{}{labels:?}", gauge.name), value, 0.0);
        }
    }
}

const SERVER: &str = "mcp_server_operation_duration_seconds";
const CLIENT: &str = "mcp_client_operation_duration_seconds";
const OVERFLOW: &str = "buttress_metric_label_overflow_total";
const KEYS: &str = "buttress_idempotency_hits_total";
const CODE: &str = "rpc_response_status_code";

/// That the run has been through what it is about.
fn went_everywhere(run: &Run) {
    let Books { calls, handler, series, .. } = &run.books;
    let refusals: std::collections::BTreeSet<_> = calls.by_tool().flat_map(|(_, call)| call.refusals.keys().copied()).collect();
    for by in [
        ("quota", "quota"),
        ("deadline", "deadline"),
        ("breaker", "breaker_open"),
        ("concurrency", "queue_full"),
        ("loop_guard", "loop"),
    ] {
        assert!(refusals.contains(&by), "nothing was refused by {by:?}: {refusals:?}");
    }
    assert!(calls.by_tool().all(|(tool, call)| call.cancelled > 0 && call.answered > 0 || panic!("{tool}: {call:?}")));
    assert!(handler.repeats.good > 0 && handler.repeats.bad > 0 && handler.spares > 0 && handler.panics() > 0);
    for outcome in ["won", "lost"] {
        assert!(series.sum("buttress_hedges_total", &[("outcome", outcome)]) > 0, "no hedge was {outcome}");
    }
}

#[test]
fn the_books_balance() {
    let run = run(1, 100_000, Layers::Some);
    audit(&run).unwrap();
    went_everywhere(&run);
}

#[test]
#[ignore = "a million calls: whole, in release"]
fn the_books_balance_after_a_million_calls() {
    for layers in [Layers::Some, Layers::All] {
        let run = run(2, 1_000_000, layers);
        audit(&run).unwrap();
        went_everywhere(&run);
    }
}

/// That all layers had something to do.
fn all_were_there(run: &Run) {
    let Books { calls, series, trail, .. } = &run.books;
    for how in ["shared", "fresh", "stale", "replayed"] {
        assert!(calls.served(how) > 0, "no answer was {how}");
    }
    assert!(series.sum("buttress_coalesced_calls_total", &[]) > 0 && trail.is_some());
    let refused = calls.by_tool().flat_map(|(_, call)| call.refusals.keys()).filter(|(layer, _)| *layer == "idempotency");
    assert!(refused.count() > 0, "no key was refused");
}

#[test]
fn the_books_balance_with_all_layers_on() {
    let run = run(4, 60_000, Layers::All);
    audit(&run).unwrap();
    went_everywhere(&run);
    all_were_there(&run);
}

#[test]
fn the_books_balance_on_several_threads() {
    let run = run_on_threads(5, 20_000);
    audit(&run).unwrap();
    assert!(run.books.handler.panics() > 0 && run.books.calls.cancelled() > 0);
}

/// One attempt, one refusal, one call: each is missed.
#[test]
fn a_single_event_that_is_not_counted_is_found() {
    let mut one = run(3, 5_000, Layers::All);
    audit(&one).unwrap();
    for defect in [
        Books::forget_a_call,
        Books::forget_a_refusal,
        Books::forget_an_attempt,
        Books::forget_a_panic,
        Books::forget_a_record,
        Books::leave_a_gauge,
        Books::forget_a_gauge,
    ] {
        let books = one.books.clone();
        defect(&mut one.books);
        assert!(audit(&one).is_err(), "a planted defect was not noticed");
        one.books = books;
    }
}
