//! The books are kept: whatever becomes of calls, each metric says what the driver of them and the handler behind them counted
//! for themselves, and nothing is left open in the end.
//!
//! A hundred thousand calls; the test that is ignored makes a million (in release: a minute). On the paused clock and with a
//! seed, so that what goes wrong goes wrong again.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod books;
mod driver;

use std::fmt::Display;

use books::Books;
use driver::{Run, run};

/// Holds the metrics against what was counted.
fn audit(run: &Run) -> Result<(), String> {
    let Books { calls, handler, series } = &run.books;
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

    // Nothing is left open, and each breaker is in one state, to which its transitions led.
    for gauge in [
        "buttress_requests_in_flight",
        "buttress_concurrency_in_flight",
        "buttress_concurrency_kept",
        "buttress_queue_length",
        "buttress_quota_waiting",
    ] {
        for (labels, value) in series.gauges(gauge) {
            found.same(&format!("{gauge}{labels:?}"), value, 0.0);
        }
    }
    for (breaker, states) in series.breakers() {
        let mut flow = 0.0;
        for (state, shown) in states {
            let count =
                |end| series.sum("buttress_circuit_breaker_transitions_total", &[("gen_ai_tool_name", &breaker), (end, &state)]);
            let began = u64::from(state == "closed");
            found.same(
                &format!("breaker of {breaker:?}, {state}"),
                shown,
                if began + count("to") == count("from") { 0.0 } else { 1.0 },
            );
            flow += shown;
        }
        found.same(&format!("states that the breaker of {breaker:?} is in"), flow, 1.0);
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
}

const SERVER: &str = "mcp_server_operation_duration_seconds";
const CLIENT: &str = "mcp_client_operation_duration_seconds";
const OVERFLOW: &str = "buttress_metric_label_overflow_total";
const CODE: &str = "rpc_response_status_code";

/// That the run has been through what it is about.
fn went_everywhere(run: &Run) {
    let Books { calls, handler, series } = &run.books;
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
    let run = run(1, 100_000);
    audit(&run).unwrap();
    went_everywhere(&run);
}

#[test]
#[ignore = "a million calls: whole, in release"]
fn the_books_balance_after_a_million_calls() {
    let run = run(2, 1_000_000);
    audit(&run).unwrap();
    went_everywhere(&run);
}

/// One attempt, one refusal, one call: each is missed.
#[test]
fn a_single_event_that_is_not_counted_is_found() {
    let mut one = run(3, 5_000);
    audit(&one).unwrap();
    for defect in
        [Books::forget_a_call, Books::forget_a_refusal, Books::forget_an_attempt, Books::forget_a_panic, Books::leave_a_gauge]
    {
        let books = one.books.clone();
        defect(&mut one.books);
        assert!(audit(&one).is_err(), "a planted defect was not noticed");
        one.books = books;
    }
}
