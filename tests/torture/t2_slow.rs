//! T2: slow is not overloaded. Something behind the backend answers late; the load is what it was. Callers wait half a minute.

use std::{num::NonZeroU32, time::Duration};

use buttress::{
    call::Verdict,
    concurrency::{AdaptiveLimit, ConcurrencyLayer, Sample},
};

use tokio::time::Instant;

use crate::{
    limiters::{ORACLE, Phase, SIZE, Scene, Subject, adaptive, adaptive_from, fixed, ours, play, play_agents, tower},
    report::{Figure, Run, Table, seconds, share},
    world::{Account, Sizes, seeds},
};

const DEADLINE: Duration = Duration::from_secs(30);
/// Seeds that no constant of the limit was tuned on.
const FRESH: u64 = 8_000;
const LOAD: f64 = 0.7;
const MS: Duration = Duration::from_millis(1);

const fn at(secs: u32, delay: Duration) -> Phase {
    Phase { load: LOAD, secs, delay }
}

/// As it is, ten times as slow, ninety times as slow, and back.
const LONG: [Phase; 4] =
    [at(60, Duration::ZERO), at(120, Duration::from_millis(450)), at(180, Duration::from_millis(4500)), at(60, Duration::ZERO)];
const LONG_MIX: [Phase; 1] = [at(180, Duration::ZERO)];
const BRIEF: [Phase; 4] =
    [at(10, Duration::ZERO), at(40, Duration::from_millis(450)), at(160, Duration::from_millis(4500)), at(1, Duration::ZERO)];
const BRIEF_MIX: [Phase; 1] = [at(60, Duration::ZERO)];

/// The shares that were answered in time: at +450 ms, at +4.5 s, back as it was, and where one call in twenty is of a slow tool.
type Seed = [f64; 4];

fn seed(at: u64, sizes: &Sizes, [phases, mix]: [&[Phase]; 2], waits_first: bool, subject: Subject<'_>) -> Seed {
    let scene = Scene { phases, deadline: DEADLINE, slow: 0.0, waits_first };
    let came = play(FRESH + at, sizes, &scene, subject);
    let mixed = play(FRESH + at, sizes, &Scene { phases: mix, slow: 0.05, ..scene }, subject);
    [came[1].goodput(), came[2].goodput(), came[3].goodput(), mixed[0].goodput()]
}

const COLUMNS: [&str; 6] = ["+450 ms", "+4.5 s", "mix", "back", "worst seed at +4.5 s", "seeds that hold"];
const LEAST: [f64; 3] = [0.95, 0.90, 0.99];

/// Adds a row, with the bounds if they are asked for, on the mean over the seeds. The last columns have none.
fn row(table: &mut Table, name: &str, bounded: bool, came: &[Seed]) {
    let mean = |cell: usize| Account::of(came.iter().map(|seed| seed[cell])).mean();
    let [soft, hard, mix] = [(0, LEAST[0]), (1, LEAST[1]), (3, LEAST[2])].map(|(cell, least)| {
        let figure: Figure = share(mean(cell));
        if bounded { figure.at_least(least) } else { figure }
    });
    let holds = |seed: &Seed| seed[0] >= LEAST[0] && seed[1] >= LEAST[1] && seed[3] >= LEAST[2];
    let worst = Account::of(came.iter().map(|seed| seed[1])).percentile(0.0);
    let held = Account::of(came.iter().map(|seed| f64::from(u8::from(holds(seed))))).mean();
    table.row(name, [soft, hard, mix, share(mean(2)), share(worst), share(held)]);
}

fn distributions() -> [(&'static str, Sizes); 2] {
    [("exponential sizes", Sizes::exponential(SIZE)), ("even sizes", Sizes::even(SIZE, 0.2))]
}

/// Agents that wait for their answers, beside a call that hangs: calls answered, as a share of those without a limit, and the
/// time of the slowest. What it takes is that those are let in who wait beside free slots, though little comes and ends.
#[expect(clippy::cast_precision_loss, reason = "no experiment counts to 2^52")]
fn agents(run: Run, secs: u64, how_many: u64, name: &str, limit: impl Fn() -> ConcurrencyLayer + Sync) {
    let title = format!("forty agents beside a call that hangs ({how_many} x {secs} s)");
    let mut table = Table::new(run, "T2", title, &["answered, of those without a limit", "slowest"]);
    let deadline = Duration::from_secs(secs + 10);
    let came = |subject: Subject<'_>| -> Vec<f64> {
        seeds(how_many, |at| play_agents(FRESH + at, secs, deadline, subject)).into_iter().flatten().collect()
    };
    let free = came(&ours(ConcurrencyLayer::off)).len() as f64;
    let figures = |came: Vec<f64>| (share(came.len() as f64 / free), seconds(Account::of(came).worst()));
    let (answered, slowest) = figures(came(&ours(limit)));
    table.row(name, [answered.at_least(0.95), slowest.at_most(1.0)]);
    let (answered, slowest) = figures(came(&ours(fixed(ORACLE))));
    table.row("static limit of 24, the oracle's in T1", [answered, slowest]);
    table.finish();
}

const TITLE: &str = "slow is not overloaded: answered in time at load 0.7, callers' deadline 30 s";

#[test]
fn short() {
    let mut table = Table::new(Run::Short, "T2", format!("{TITLE} (1 seed)"), &COLUMNS);
    let (name, sizes) = &distributions()[1];
    let came = seeds(1, |at| seed(at, sizes, [&BRIEF, &BRIEF_MIX], false, &ours(adaptive)));
    row(&mut table, &format!("adaptive limit, {name}"), true, &came);
    table.finish();
    agents(Run::Short, 15, 1, "adaptive limit", adaptive);
}

#[test]
#[ignore = "torture: whole, in release"]
fn whole() {
    let mut table = Table::new(Run::Whole, "T2", format!("{TITLE} (10 seeds; where nothing is bounded, 4)"), &COLUMNS);
    for (name, sizes) in &distributions() {
        for (waits_first, when) in [(false, "after its work"), (true, "before it")] {
            let came = seeds(10, |at| seed(at, sizes, [&LONG, &LONG_MIX], waits_first, &ours(adaptive)));
            row(&mut table, &format!("adaptive limit, {name}, late {when}"), true, &came);
        }
    }
    let sizes = Sizes::exponential(SIZE);
    let came = seeds(4, |at| seed(at, &sizes, [&LONG, &LONG_MIX], true, &ours(ConcurrencyLayer::off)));
    row(&mut table, "no limit, late before it", false, &came);
    let mut beside = |name: &str, subject: Subject<'_>| {
        row(&mut table, name, false, &seeds(4, |at| seed(at, &sizes, [&LONG, &LONG_MIX], false, subject)));
    };
    beside("adaptive limit that begins at 4", &ours(adaptive_from(4)));
    beside("adaptive limit that begins at 512", &ours(adaptive_from(512)));
    beside("static limit of 24, the oracle's in T1", &ours(fixed(ORACLE)));
    beside("static limit of 64, the default", &ours(ConcurrencyLayer::default));
    beside("no limit", &ours(ConcurrencyLayer::off));
    beside("limit that follows latency", &ours(|| ConcurrencyLayer::adaptive_with(|_| Gradient { limit: 64.0, best: DEADLINE })));
    beside("tower: timeout, load shed, limit of 24", &tower(24));
    table.finish();
    agents(Run::Whole, 45, 10, "adaptive limit", adaptive);
}

/// A limit that takes slowness for overload, as those after Vegas and Gradient do.
#[derive(Debug)]
struct Gradient {
    limit: f64,
    best: Duration,
}

impl AdaptiveLimit for Gradient {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 1000")]
    fn limit(&self) -> NonZeroU32 {
        NonZeroU32::new(self.limit as u32).unwrap_or(NonZeroU32::MIN)
    }

    fn sample(&mut self, sample: &Sample) {
        let took = sample.ended.saturating_duration_since(sample.started).max(MS);
        self.best = self.best.min(took);
        let gradient = match sample.verdict {
            Verdict::Ok => (1.5 * self.best.as_secs_f64() / took.as_secs_f64()).clamp(0.5, 1.0),
            _ => 0.5,
        };
        let next = self.limit.mul_add(gradient, self.limit.sqrt());
        self.limit = (next - self.limit).mul_add(0.2, self.limit).clamp(1.0, 1000.0);
    }
}

/// A limit that shrinks where calls take longer.
#[test]
fn planted() {
    let mut table = Table::new(Run::Planted, "T2", "a limit that follows latency (1 seed)", &COLUMNS);
    let limit = || ConcurrencyLayer::adaptive_with(|_| Gradient { limit: 64.0, best: DEADLINE });
    let came = seeds(1, |at| seed(at, &Sizes::even(SIZE, 0.2), [&BRIEF, &BRIEF_MIX], false, &ours(limit)));
    row(&mut table, "limit that follows latency", true, &came);
    table.finish();
}

/// A limit that lets nobody in who waits for as long as anybody runs.
#[derive(Debug)]
struct Reluctant;

impl AdaptiveLimit for Reluctant {
    fn limit(&self) -> NonZeroU32 {
        NonZeroU32::new(ORACLE).unwrap_or(NonZeroU32::MIN)
    }

    fn may_start(&self, now: Instant) -> Instant {
        now + DEADLINE
    }

    fn sample(&mut self, _sample: &Sample) {}
}

#[test]
fn planted_for_agents() {
    agents(Run::Planted, 15, 1, "nobody is due", || ConcurrencyLayer::adaptive_with(|_| Reluctant));
}
