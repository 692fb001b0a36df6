//! What the library's threads do without a lock, or beside one, under loom: every interleaving, and every value that a load may
//! see. The sources here are the library's own; `sync` stands in for the library's own `sync`, and what is not part of a
//! protocol is as small as can be.
//!
//! All interleavings of three threads would take minutes; where a bound is given, a few switches at bad moments find what there
//! is.

#![allow(dead_code, unreachable_pub, reason = "not all of what the library has is needed here")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod breaker;
mod cache;
mod call;
mod coalesce;
mod concurrency;
#[path = "../../src/logs.rs"]
mod logs;
mod metrics;
mod retry;
mod sync;

use buttress::error;

/// All interleavings.
fn check(scenario: impl Fn() + Send + Sync + 'static) {
    loom::model(scenario);
}

/// All interleavings in which threads are interrupted at most so many times.
fn model(interruptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(interruptions);
    model.check(scenario);
}
