//! Hedging: a tool of 100 ms, lognormal, of whose calls one in fifty stalls for 5 s. A second attempt is to cut the tail, and to
//! cost next to nothing; also where the whole tool becomes ten times slower, which is no tail.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use buttress::{
    BoxError, Stack,
    call::{Request, Response},
    concurrency::ConcurrencyLayer,
    hedge::HedgeLayer,
};
use fastrand::Rng;
use tokio::time::sleep;
use tower::{ServiceExt, service_fn};

use crate::{
    report::{Figure, Run, Table, ratio, seconds},
    world::{Account, Load, Sizes, drive, run, seeds, tool},
};

const RATE: f64 = 50.0;
const SIZE: Duration = Duration::from_millis(100);
const STALL: Duration = Duration::from_secs(5);
const STALLING: f64 = 0.02;
/// From when on the tool is ten times slower, where it becomes so; seconds.
const SLOW_FROM: u32 = 60;

/// How the second attempt is chosen.
#[derive(Debug, Clone, Copy)]
enum How {
    Never,
    Ours,
    /// The classic mistake: after a fixed time, and however many there were.
    After(Duration),
}

/// What came of one seed.
struct Came {
    p50: f64,
    p99: f64,
    load: f64,
}

fn seed(seed: u64, how: How, lasts: u32, slows: bool) -> Came {
    run(async {
        let attempts = Arc::new(AtomicUsize::new(0));
        let world = Arc::new(Mutex::new((Sizes::lognormal(SIZE, 0.5).seeded(seed), Rng::with_seed(seed))));
        let began = tokio::time::Instant::now();
        let handler = {
            let attempts = attempts.clone();
            service_fn(move |_: Request<()>| {
                attempts.fetch_add(1, Ordering::Relaxed);
                let slower = if slows && began.elapsed() >= Duration::from_secs(SLOW_FROM.into()) { 10 } else { 1 };
                let takes = {
                    let (sizes, rng) = &mut *world.lock().expect("nobody panics");
                    if rng.f64() < STALLING { STALL } else { sizes.draw() }
                };
                async move {
                    sleep(takes * slower).await;
                    Ok::<_, BoxError>(Response::new(()))
                }
            })
        };
        let stack = Stack::new().attempt_limit(None).concurrency(ConcurrencyLayer::off());
        let stack = if matches!(how, How::Ours) { stack.hedge(HedgeLayer::new()) } else { stack };
        let service = stack.service(handler);
        let target = tool("tool", true);
        let load = Load::steady(RATE, Duration::from_secs(lasts.into()));
        let call = |_| {
            let (service, target) = (service.clone(), target.clone());
            async move {
                let ask = || service.clone().oneshot(Request::new(target.clone(), ()));
                match how {
                    How::After(delay) => {
                        let (mut first, mut second) = (
                            std::pin::pin!(ask()),
                            std::pin::pin!(async {
                                sleep(delay).await;
                                ask().await
                            }),
                        );
                        tokio::select! {
                            answer = &mut first => answered(answer),
                            answer = &mut second => answered(answer),
                        }
                    }
                    How::Never | How::Ours => answered(ask().await),
                }
            }
        };
        let done = drive(load.arrivals(seed), call).await;
        assert!(done.iter().all(|done| done.value), "a call fails");
        // What is not yet known in the first ten seconds is learned there.
        let settled = done.iter().filter(|done| done.arrived >= Duration::from_secs(10));
        let account = Account::of(settled.map(|done| (done.ended - done.arrived).as_secs_f64()));
        #[expect(clippy::cast_precision_loss, reason = "no experiment counts to 2^52")]
        let load = attempts.load(Ordering::Relaxed) as f64 / done.len() as f64;
        Came { p50: account.percentile(0.5), p99: account.percentile(0.99), load }
    })
}

fn answered(outcome: Result<Response<()>, BoxError>) -> bool {
    outcome.is_ok_and(|response| response.result.is_ok())
}

const COLUMNS: [&str; 3] = ["p50", "p99", "attempts per call"];

/// The worst of all seeds.
fn row(table: &mut Table, name: &str, came: &[Came], bound: impl Fn([Figure; 3]) -> [Figure; 3]) {
    let worst = |of: fn(&Came) -> f64| Account::of(came.iter().map(of)).worst();
    table.row(name, bound([seconds(worst(|came| came.p50)), seconds(worst(|came| came.p99)), ratio(worst(|came| came.load))]));
}

const TITLE: &str = "a second attempt at slow calls: lognormal 100 ms, 2 % stalls of 5 s";

fn experiment(kind: Run, title: &str, number: u64, lasts: u32) -> Table {
    let mut table = Table::new(kind, "hedging", title, &COLUMNS);
    let came = |how, slows| seeds(number, |at| seed(at, how, lasts, slows));
    row(&mut table, "hedge", &came(How::Ours, false), |[p50, p99, load]| [p50, p99.at_most(0.4), load.at_most(1.05)]);
    row(&mut table, "hedge; 10 x slower after a minute", &came(How::Ours, true), |[p50, p99, load]| {
        [p50, p99, load.at_most(1.1)]
    });
    row(&mut table, "none", &came(How::Never, false), |figures| figures);
    row(&mut table, "none; 10 x slower after a minute", &came(How::Never, true), |figures| figures);
    row(&mut table, "always after 200 ms; 10 x slower after a minute", &came(How::After(2 * SIZE), true), |figures| figures);
    table
}

#[test]
fn short() {
    experiment(Run::Short, &format!("{TITLE} (2 seeds)"), 2, 120).finish();
}

#[test]
#[ignore = "torture: whole, in release"]
fn whole() {
    experiment(Run::Whole, &format!("{TITLE} (20 seeds)"), 20, 600).finish();
}

/// A fixed delay without a budget: when the tool becomes slow, every call is made twice.
#[test]
fn planted() {
    let mut table = Table::new(Run::Planted, "hedging", "a fixed delay of 200 ms, without a budget", &COLUMNS);
    let came = seeds(2, |at| seed(at, How::After(2 * SIZE), 120, true));
    row(&mut table, "always after 200 ms", &came, |[p50, p99, load]| [p50, p99, load.at_most(1.1)]);
    table.finish();
}
