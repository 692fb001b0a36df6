//! T1: the load steps over what the backend can do, and back. Callers wait a second.

use std::time::Duration;

use buttress::concurrency::ConcurrencyLayer;

use crate::{
    limiters::{ORACLE, Phase, SIZE, Scene, Subject, adaptive, adaptive_from, endless_queue, fixed, ours, play, tower},
    report::{Run, Table, seconds, share},
    world::{Account, Sizes, seeds},
};

const DEADLINE: Duration = Duration::from_secs(1);
/// Seeds that no constant of the limit was tuned on.
const FRESH: u64 = 7_000;

const fn steps(secs: u32) -> [Phase; 4] {
    const fn at(load: f64, secs: u32) -> Phase {
        Phase { load, secs, delay: Duration::ZERO }
    }
    [at(0.7, secs), at(2.0, secs), at(10.0, secs), at(0.7, secs)]
}

/// What came of one seed.
struct Seed {
    goodput: [f64; 4],
    admitted: [Vec<f64>; 2],
    recovered: f64,
}

fn seed(at: u64, sizes: &Sizes, secs: u32, subject: Subject<'_>) -> Seed {
    let phases = steps(secs);
    let scene = Scene { phases: &phases, deadline: DEADLINE, slow: 0.0, waits_first: false };
    let mut came = play(FRESH + at, sizes, &scene, subject);
    Seed {
        goodput: [0, 1, 2, 3].map(|phase| came[phase].goodput()),
        recovered: came[3].whole_after(),
        admitted: [1, 2].map(|phase| std::mem::take(&mut came[phase].admitted)),
    }
}

const COLUMNS: [&str; 9] =
    ["0.7 x", "2 x", "10 x", "0.7 x", "p99 at 2 x", "p99 at 10 x", "recovered", "worst seed", "seeds that hold"];
const LEAST: f64 = 0.95;
const SLOWEST: f64 = 0.5;
const RECOVERY: f64 = 5.0;

/// Adds a row, with the bounds if they are asked for: goodput is the mean over the seeds, the percentiles are of all
/// calls of all seeds, recovery is the worst. The last two columns, which have no bound, look at each seed by itself.
fn row(table: &mut Table, name: &str, bounded: bool, came: &[Seed]) {
    let p99 = |calls: &mut dyn Iterator<Item = &Vec<f64>>| Account::of(calls.flatten().copied()).percentile(0.99);
    let holds = |seed: &&Seed| {
        let quick = seed.admitted.iter().all(|calls| p99(&mut std::iter::once(calls)) <= SLOWEST);
        quick && seed.goodput.iter().all(|goodput| *goodput >= LEAST) && seed.recovered <= RECOVERY
    };
    let mut figures: Vec<_> =
        (0..4).map(|phase| share(Account::of(came.iter().map(|seed| seed.goodput[phase])).mean())).collect();
    figures.extend([0, 1].map(|phase| seconds(p99(&mut came.iter().map(|seed| &seed.admitted[phase])))));
    figures.push(seconds(Account::of(came.iter().map(|seed| seed.recovered)).worst()));
    if bounded {
        figures = figures
            .into_iter()
            .enumerate()
            .map(|(at, figure)| match at {
                0..4 => figure.at_least(LEAST),
                4 | 5 => figure.at_most(SLOWEST),
                _ => figure.at_most(RECOVERY),
            })
            .collect();
    }
    figures.push(share(Account::of(came.iter().flat_map(|seed| seed.goodput)).percentile(0.0)));
    figures.push(share(Account::of(came.iter().map(|seed| f64::from(u8::from(holds(&seed))))).mean()));
    table.row(name, figures);
}

fn distributions() -> [(&'static str, Sizes); 2] {
    [("exponential sizes", Sizes::exponential(SIZE)), ("even sizes", Sizes::even(SIZE, 0.2))]
}

const TITLE: &str = "step overload: goodput as a share of the ideal, callers' deadline 1 s";

#[test]
fn short() {
    let mut table = Table::new(Run::Short, "T1", format!("{TITLE} (steps of 15 s, 2 seeds)"), &COLUMNS);
    let (name, sizes) = &distributions()[1];
    row(&mut table, &format!("adaptive limit, {name}"), true, &seeds(2, |at| seed(at, sizes, 15, &ours(adaptive))));
    table.finish();
}

#[test]
#[ignore = "torture: whole, in release"]
fn whole() {
    let title = format!("{TITLE} (steps of 60 s, 10 seeds; where nothing is bounded, 4)");
    let mut table = Table::new(Run::Whole, "T1", title, &COLUMNS);
    for (name, sizes) in &distributions() {
        row(&mut table, &format!("adaptive limit, {name}"), true, &seeds(10, |at| seed(at, sizes, 60, &ours(adaptive))));
    }
    let sizes = Sizes::exponential(SIZE);
    let mut beside = |name: &str, subject: Subject<'_>| {
        row(&mut table, name, false, &seeds(4, |at| seed(at, &sizes, 60, subject)));
    };
    beside("adaptive limit that begins at 4", &ours(adaptive_from(4)));
    beside("adaptive limit that begins at 512", &ours(adaptive_from(512)));
    beside("static limit of 24, the oracle's", &ours(fixed(ORACLE)));
    beside("static limit of 64, the default", &ours(ConcurrencyLayer::default));
    beside("no limit", &ours(ConcurrencyLayer::off));
    beside("tower: timeout, load shed, limit of 24", &tower(24));
    table.finish();
}

/// Who comes first is served first, and nobody is refused until its turn has come: everybody is served who has no time left.
#[test]
fn planted() {
    let mut table =
        Table::new(Run::Planted, "T1", "an endless queue, a look at the deadline when its turn comes (1 seed)", &COLUMNS);
    row(&mut table, "limit of 24, endless queue", true, &seeds(1, |at| seed(at, &Sizes::even(SIZE, 0.2), 10, &endless_queue)));
    table.finish();
}
