//! T6: quotas are exact. However calls arrive, wait, leave and are taken back, no window holds more than its share.
//!
//! An independent checker sees only what was sent, when, and at what cost. It knows no theoretical arrival times: it holds all
//! pairs of calls to `cost of all between them <= burst + time between them / period`.

mod checker;
mod limiters;
mod line;
mod plain;
mod two_levels;

use crate::report::{Figure, Run, Table, count, ratio};
use checker::Findings;
use limiters::{Governor, PlainRefund, Throttle, TowerWindow};

const COLUMNS: [&str; 5] = ["sequences", "calls", "calls over the bound", "worst window", "wrong answers"];

/// What each row needs to be worth its name; the peers' are there to compare with.
fn bounded(findings: &Findings) -> [Figure; 5] {
    let [sequences, calls, over, worst, wrong] = free(findings);
    [sequences, calls, over.at_most(0.0), worst.at_most(1.0), wrong.at_most(0.0)]
}

fn free(findings: &Findings) -> [Figure; 5] {
    [count(findings.sequences), count(findings.calls), count(findings.over), ratio(findings.worst), count(findings.wrong)]
}

/// A tenth of the sequences wait in line on a runtime's clock; the others set the clock themselves, to the nanosecond.
fn experiment(run: Run, sequences: u64) {
    let mut table = Table::new(run, "T6", "quotas are exact: all windows of all sequences", &COLUMNS);
    let share = sequences / 10;
    table.row("one limit, beside governor", bounded(&plain::beside_governor(4 * share)));
    table.row("two levels, costs, calls taken back", bounded(&two_levels::run(5 * share)));
    table.row("a line to wait in", bounded(&line::run(share)));
    table.row("peer: governor", free(&plain::run(share, Governor::new)));
    table.row("peer: tower RateLimit", free(&line::tower(share, TowerWindow::new)));
    table.finish();
}

#[test]
fn short() {
    experiment(Run::Short, 4_000);
}

#[test]
#[ignore = "torture: whole, in release"]
fn whole() {
    experiment(Run::Whole, 1_000_000);
}

/// A call that was not sent is taken back by subtraction, whoever was admitted since.
#[test]
fn planted_refund() {
    let mut table = Table::new(Run::Planted, "T6", "a plain subtraction takes calls back", &COLUMNS);
    table.row("refund by subtraction", bounded(&plain::run(4_000, PlainRefund::new)));
    table.finish();
}

/// After an idle phase a cell starts a burst in the past instead of now.
#[test]
fn planted_floor() {
    let mut table = Table::new(Run::Planted, "T6", "an idle cell starts in the past", &COLUMNS);
    table.row("floor one burst too low", bounded(&plain::run(4_000, Throttle::new)));
    table.finish();
}
