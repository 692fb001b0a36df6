//! T8: does the breaker open when it should, never when it should not, and does it always come back?
//!
//! Found is a failure when the breaker has opened; what is counted is the failing calls that it took, and the time since the
//! last call that went well. Calls are made one after the other and answered at once, but where many at once are the point.

mod detection;
mod leavers;
mod noise;
mod probes;
mod subject;
mod truth;
mod upstream;

use buttress::error::{Reason, Rejected};
use detection::{Found, Pace, Trouble, found};
use subject::{Act, Subject, ours, resilience};

use crate::{
    report::{Run, Table, count, seconds},
    world::{Account, run, seeds},
};

const COLUMNS: [&str; 5] = ["count", "calls, median", "calls, worst", "time, median", "time, worst"];
const PACES: [f64; 5] = [0.1, 0.4, 1.0, 10.0, 100.0];
const TITLE: &str = "circuit breaker: truth table, detection, false trips, probes";

/// Whether an outage was not found at all.
const NEVER: fn(&Found) -> bool = |found| found.time.is_infinite();

/// How much of it is run.
struct Extent {
    /// Outages per pace and kind.
    outages: u64,
    /// Seeds of a million calls each, or fewer calls.
    noise: u64,
    noisy_calls: u32,
    /// Random lives of four tools.
    lives: u64,
    life: u32,
}

const WHOLE: Extent = Extent { outages: 200, noise: 4, noisy_calls: 1_000_000, lives: 400, life: 2_000 };
const SHORT: Extent = Extent { outages: 5, noise: 2, noisy_calls: 50_000, lives: 10, life: 500 };

/// Whether an error is this breaker's refusal.
fn is_refusal(error: &buttress::BoxError) -> bool {
    error.downcast_ref().is_some_and(|refused: &Rejected| refused.layer() == "breaker")
}

/// Adds a row on outages: how many were found later than they may be, and when they were found. Without a bound: how many never
/// were.
fn outages(table: &mut Table, name: String, found: &[Found], late: Option<fn(&Found) -> bool>) {
    let missed = found.iter().filter(|found| late.unwrap_or(NEVER)(found)).count();
    let missed = if late.is_some() { count(missed).at_most(0.0) } else { count(missed) };
    let calls = Account::of(found.iter().map(|found| f64::from(found.calls)));
    let times = Account::of(found.iter().map(|found| found.time));
    let whole = |value: f64| count(value as usize);
    let calls = [whole(calls.percentile(0.5)), whole(calls.worst())];
    table.row(name, [missed, calls[0], calls[1], seconds(times.percentile(0.5)), seconds(times.worst())]);
}

fn all(run: Run, extent: &Extent) {
    let mut table = Table::new(run, "T8", TITLE, &COLUMNS);
    table.row("truth table: cells that are not as they should be", [count(truth::differences()).at_most(0.0)]);
    detect(&mut table, extent);
    trips(&mut table, extent);
    lives(&mut table, extent);
    above(&mut table, extent);
    table.finish();
}

fn detect(table: &mut Table, extent: &Extent) {
    let hard: fn(&Found) -> bool = |found| found.calls > 6;
    let throttled: fn(&Found) -> bool = |found| found.calls > 20 && found.time > 21.0;
    for pace in PACES {
        let came = |trouble| found(extent.outages, Pace::Even(pace), trouble, ours);
        outages(table, format!("hard failure, {pace}/s: later than 6 calls"), &came(Trouble::Hard), Some(hard));
        let late = format!("throttled, {pace}/s: later than 20 calls and 21 s");
        outages(table, late, &came(Trouble::Throttled), Some(throttled));
        outages(table, format!("half failing, {pace}/s: never found"), &came(Trouble::Half), Some(NEVER));
    }
    for pace in PACES {
        let came = |trouble| found(extent.outages, Pace::Poisson(pace), trouble, ours);
        outages(table, format!("hard failure, Poisson {pace}/s: later than 6 calls"), &came(Trouble::Hard), Some(hard));
        // The slowest pace is slower than the breaker's memory: the README says more.
        let bound = (pace > 0.1).then_some(NEVER);
        outages(table, format!("throttled, Poisson {pace}/s: never found"), &came(Trouble::Throttled), bound);
    }
    // It reads the system's clock, which does not move here: so with windows of calls, as by default.
    for (name, consecutive) in [("its window of 100", None), ("6 in a row", Some(6))] {
        for (trouble, what) in
            [(Trouble::Hard, "hard failure"), (Trouble::Half, "half failing"), (Trouble::Throttled, "throttled")]
        {
            let came = found(extent.outages, Pace::Even(1.0), trouble, |_| resilience(consecutive));
            outages(table, format!("tower-resilience, {name}: {what}, 1/s: never found"), &came, None);
        }
    }
}

fn trips(table: &mut Table, extent: &Extent) {
    for pace in [100.0, 10.0, 1.0, 0.1] {
        let trips = seeds(extent.noise, |seed| noise::trips(seed, pace, extent.noisy_calls));
        let calls = u64::from(extent.noisy_calls) * extent.noise;
        let (own, above): (Vec<usize>, Vec<usize>) = trips.into_iter().unzip();
        let per_million = own.iter().sum::<usize>() as f64 * 1e6 / calls as f64;
        let name = format!("false trips at 10 % noise, {pace}/s, per 10^6 of {calls} calls");
        table.row(name, [count(per_million.ceil() as usize).at_most(10.0)]);
        table.row("  of the upstream's breaker, in all", [count(above.iter().sum()).at_most(0.0)]);
    }
    for (limiter, name) in noise::LIMITERS {
        let trips = run(noise::self_trips(limiter, |inner| subject::around(inner, 1)));
        table.row(format!("self-trips, {name}: calls refused"), [count(trips).at_most(0.0)]);
    }
    for (limiter, name) in noise::LIMITERS {
        let trips = run(noise::self_trips(limiter, |inner| subject::resilience_around(inner, None)));
        table.row(format!("tower-resilience: self-trips, {name}: calls refused"), [count(trips)]);
    }
}

fn lives(table: &mut Table, extent: &Extent) {
    let herds = seeds(extent.lives.min(20), probes::herd);
    let most = |of: fn(&probes::Herd) -> usize| count(herds.iter().map(of).max().unwrap_or(usize::MAX));
    table.row("1,000 waiters: probes at once", [most(|herd| herd.probes).at_most(1.0)]);
    table.row("1,000 waiters, 10 tools: probes of the upstream at once", [most(|herd| herd.upstream_probes).at_most(1.0)]);
    table.row("1,000 calls at the moment of reopening: let in", [most(|herd| herd.let_in).at_most(250.0)]);
    let lives = seeds(extent.lives, |seed| probes::life(seed, extent.life));
    let sum = |of: fn(&probes::Life) -> usize| lives.iter().map(of).sum::<usize>();
    let name = format!("random lives ({} probes, {} cut short): breakers stuck", sum(|life| life.probed), sum(|life| life.cut));
    table.row(name, [count(sum(|life| life.stuck)).at_most(0.0)]);
    let most = lives.iter().map(|life| life.at_once).max().unwrap_or(usize::MAX);
    table.row("random lives: probes at once", [count(most).at_most(1.0)]);
    assert!(sum(|life| life.probed) > 0 && sum(|life| life.cut) > 0, "nothing has happened");
    for tenants in [1, 2, 5, 20] {
        let let_in = seeds(extent.lives.min(20), |seed| leavers::let_in(seed, tenants));
        outages(table, format!("well again, {tenants} tenants always leave: who stays is never let in"), &let_in, Some(NEVER));
    }
}

fn above(table: &mut Table, extent: &Extent) {
    use upstream::{Answer, shut_out, spent};
    for (answer, what) in [(Answer::Reset, "resets"), (Answer::NotSent, "cannot be reached")] {
        let name = format!("an upstream that {what}, 20 tools");
        let most =
            |above| seeds(extent.outages.min(20), |seed| spent(seed, answer, above)).into_iter().max().unwrap_or(usize::MAX);
        table.row(format!("{name}: calls that reach it in 2 min"), [count(most(true))]);
        table.row("  without the breaker above the tools'", [count(most(false))]);
        let out: usize = seeds(extent.outages.min(20), |seed| shut_out(seed, answer)).into_iter().sum();
        table.row(format!("one tool that {what}, hammered: others' calls refused"), [count(out).at_most(0.0)]);
    }
}

#[test]
fn short() {
    all(Run::Short, &SHORT);
}

#[test]
#[ignore = "torture: whole, in release"]
fn whole() {
    all(Run::Whole, &WHOLE);
}

/// A breaker that takes its own stack's refusals for the upstream's failures opens over a healthy server.
#[test]
fn planted() {
    let mut table = Table::new(Run::Planted, "T8", "a breaker that counts local refusals", &COLUMNS);
    for (limiter, name) in noise::LIMITERS {
        let trips = run(noise::self_trips(limiter, |inner| subject::around(subject::opaque(inner), 1)));
        table.row(format!("self-trips, {name}: calls refused"), [count(trips).at_most(0.0)]);
    }
    table.finish();
}
