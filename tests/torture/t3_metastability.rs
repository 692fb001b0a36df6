//! T3: a backend that loses nine tenths of its capacity for ten seconds. Does service come back when the capacity does?
//!
//! What keeps a backend down once it is up again is the load that its failure makes: attempts that are repeated, and callers
//! who ask again. Here an attempt is given up after a second, a call has four attempts, and a caller whose call failed asks
//! again about a second later.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use buttress::{
    BoxError, Stack,
    breaker::BreakerLayer,
    call::{CallParams, Request, Response, Target},
    concurrency::ConcurrencyLayer,
    deadline::Limits,
    retry::{Budget, FullJitter, RetryLayer},
};
use fastrand::Rng;
use tokio::time::{Instant, sleep, timeout};
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneSyncService};

use crate::{
    peers,
    report::{Run, Table, ratio, seconds, share},
    world::{Account, Backend, Discipline, Load, Machine, Sizes, Work, drive, run, seeds, tool},
};

/// 16 at once, 50 ms each: 320 calls a second.
const WHOLE: Machine = Machine { servers: 16.0, speed: 1.0, per_excess: 0.0 };
const SICK: Machine = Machine { servers: 1.6, ..WHOLE };
const RATE: f64 = 0.8 * 320.0;
const SIZE: Duration = Duration::from_millis(50);

const TRIGGER: Duration = Duration::from_secs(10);
const ATTEMPT: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 4;
/// How long a caller waits for its answer, all attempts included.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a caller sends down a stack.
#[derive(Debug, Clone)]
struct Ask {
    size: Duration,
    attempts: Arc<AtomicU32>,
}

impl CallParams for Ask {}

/// A stack around the backend, whatever its layers.
type Service = BoxCloneSyncService<Request<Ask>, Response<()>, BoxError>;

/// One call, as its caller saw it.
#[derive(Debug, Clone, Copy)]
struct Try {
    at: f64,
    answered: bool,
    attempts: u32,
}

/// Asks until there is an answer, up to `asks` times in all.
async fn caller(service: Service, target: Arc<Target>, size: Duration, asks: usize, began: Instant, mut rng: Rng) -> Vec<Try> {
    let mut tries = Vec::with_capacity(1);
    loop {
        let at = began.elapsed().as_secs_f64();
        let attempts = Arc::new(AtomicU32::new(0));
        let request = Request::new(target.clone(), Ask { size, attempts: attempts.clone() });
        let answer = timeout(PATIENCE, service.clone().oneshot(request)).await;
        let answered = answer.is_ok_and(|answer| answer.is_ok_and(|response| response.result.is_ok()));
        tries.push(Try { at, answered, attempts: attempts.load(Ordering::Relaxed) });
        if answered || tries.len() == asks {
            return tries;
        }
        sleep(Duration::from_secs_f64(0.5 + rng.f64())).await;
    }
}

/// What came of one seed.
#[derive(Debug, Clone, Copy)]
struct Came {
    /// From the trigger's end until service was whole for good.
    recovery: f64,
    /// Attempts per call that was attempted at all, from the trigger's beginning until service was whole.
    amplification: f64,
    /// The share of the calls that were answered in the time watched after the trigger.
    after: f64,
}

/// What the callers do, and for how long, in seconds.
#[derive(Debug, Clone, Copy)]
struct Span {
    before: u32,
    after: u32,
    /// How often a caller asks before it gives up.
    asks: usize,
}

/// Callers who ask again once.
const LONG: Span = Span { before: 10, after: 60, asks: 2 };
const BRIEF: Span = Span { before: 2, after: 20, asks: 2 };

fn seed(seed: u64, sizes: &Sizes, span: Span, stack: &(dyn Fn(&Backend, u64) -> Service + Sync)) -> Came {
    let tries = run(async {
        let backend = Backend::new(WHOLE, Discipline::Shared);
        let service = stack(&backend, seed);
        let (began, target) = (Instant::now(), tool("tool", true));
        let (mut sizes, mut rng) = (sizes.seeded(seed), Rng::with_seed(seed));
        let (before, after) = (Duration::from_secs(span.before.into()), Duration::from_secs(span.after.into()));
        let trigger = {
            let backend = backend.clone();
            tokio::spawn(async move {
                sleep(before).await;
                backend.change(SICK);
                sleep(TRIGGER).await;
                backend.change(WHOLE);
            })
        };
        let load = Load::steady(RATE, before + TRIGGER + after);
        let done =
            drive(load.arrivals(seed), |_| caller(service.clone(), target.clone(), sizes.draw(), span.asks, began, rng.fork()))
                .await;
        trigger.await.expect("the trigger goes off");
        done.into_iter().flat_map(|done| done.value).collect::<Vec<_>>()
    });
    judge(&tries, span)
}

/// Service is whole from the first second on in which 99 % of the calls were answered in time, if 99 % of all that follow were
/// too.
fn judge(tries: &[Try], span: Span) -> Came {
    let from = f64::from(span.before);
    let end = from + TRIGGER.as_secs_f64();
    let until = end + f64::from(span.after);
    let within = |from: f64, to: f64| tries.iter().filter(move |call| (from..to).contains(&call.at));
    let answered = |from, to| Account::of(within(from, to).map(|call| f64::from(u8::from(call.answered)))).mean();
    let whole = |at: &f64| answered(*at, *at + 1.0) >= 0.99 && answered(*at, until) >= 0.99;
    let recovered = (0..span.after).map(|second| end + f64::from(second)).find(whole);
    let meanwhile = within(from, recovered.unwrap_or(until)).filter(|call| call.attempts > 0);
    Came {
        recovery: recovered.map_or(f64::INFINITY, |at| at - end),
        amplification: Account::of(meanwhile.map(|call| f64::from(call.attempts))).mean(),
        after: answered(end, until),
    }
}

const COLUMNS: [&str; 5] = ["recovered within 5 s", "median", "worst", "attempts per call", "answered, after"];

/// Adds a row, with the bounds if they are asked for.
fn row(table: &mut Table, name: &str, bounded: bool, came: &[Came]) {
    let recoveries = Account::of(came.iter().map(|came| came.recovery));
    let amplification = Account::of(came.iter().map(|came| came.amplification)).worst();
    let (within, worst, times) = (share(recoveries.share_within(5.0)), seconds(recoveries.worst()), ratio(amplification));
    let (within, worst, times) = match bounded {
        true => (within.at_least(0.95), worst.at_most(15.0), times.at_most(1.1)),
        false => (within, worst, times),
    };
    let after = share(Account::of(came.iter().map(|came| came.after)).mean());
    table.row(name, [within, seconds(recoveries.percentile(0.5)), worst, times, after]);
}

/// Our stack: a concurrency limit and a breaker, both or none.
fn ours(limit: Option<u32>, breaker: bool, budget: Option<u32>) -> impl Fn(&Backend, u64) -> Service + Sync {
    move |backend, seed| {
        let mut retry = RetryLayer::new(NonZeroU32::new(ATTEMPTS).expect("some")).backoff(FullJitter::default().seeded(seed));
        if let Some(tokens) = budget {
            retry = retry.budget(Arc::new(Budget::try_new(tokens).expect("enough")));
        }
        let stack = Stack::new()
            .deadline(Limits::at_most(PATIENCE))
            .attempt_limit(ATTEMPT)
            .retry(retry)
            .breaker(if breaker { BreakerLayer::default().seeded(seed) } else { BreakerLayer::off() })
            .concurrency(limit.and_then(NonZeroU32::new).map_or_else(ConcurrencyLayer::off, ConcurrencyLayer::new));
        BoxCloneSyncService::new(stack.service(backend.handler(work)))
    }
}

fn work(ask: &Ask) -> Work {
    ask.attempts.fetch_add(1, Ordering::Relaxed);
    Work::of(ask.size)
}

/// What tower has: a retry, a limit that sheds, a timeout.
fn tower(budget: peers::TowerBudget, limit: Option<usize>) -> impl Fn(&Backend, u64) -> Service + Sync {
    move |backend, seed| {
        let retry = peers::tower_retry(ATTEMPTS, budget, seed);
        let attempt = ServiceBuilder::new().timeout(ATTEMPT).service(backend.handler(work));
        match limit {
            Some(limit) => {
                let limited = ServiceBuilder::new().load_shed().concurrency_limit(limit).service(attempt);
                BoxCloneSyncService::new(ServiceBuilder::new().layer(retry).service(limited))
            }
            None => BoxCloneSyncService::new(ServiceBuilder::new().layer(retry).service(attempt)),
        }
    }
}

/// tower-resilience's retry around the same.
fn tower_resilience(budget: bool) -> impl Fn(&Backend, u64) -> Service + Sync {
    move |backend, _| {
        let attempt = ServiceBuilder::new().timeout(ATTEMPT).service(backend.handler(work));
        BoxCloneSyncService::new(ServiceBuilder::new().layer(peers::resilience_retry(ATTEMPTS, budget)).service(attempt))
    }
}

const TITLE: &str = "metastability: load 0.8, capacity at 10 % for 10 s, 4 attempts of 1 s, callers who ask again";

#[test]
fn short() {
    let mut table = Table::new(Run::Short, "T3", format!("{TITLE} (4 seeds)"), &COLUMNS);
    let came = seeds(4, |at| seed(at, &Sizes::exponential(SIZE), BRIEF, &ours(Some(24), true, None)));
    row(&mut table, "limit 1.5 x, default breaker", true, &came);
    table.finish();
}

#[test]
#[ignore = "torture: whole, in release"]
fn whole() {
    let mut table = Table::new(Run::Whole, "T3", format!("{TITLE} (50 seeds; where nothing is bounded, 10)"), &COLUMNS);
    for (name, sizes) in [
        ("exponential sizes", Sizes::exponential(SIZE)),
        ("even sizes", Sizes::even(SIZE, 0.2)),
        ("lognormal sizes", Sizes::lognormal(SIZE, 1.0)),
    ] {
        let came = seeds(50, |at| seed(at, &sizes, LONG, &ours(Some(24), true, None)));
        row(&mut table, &format!("limit 1.5 x, default breaker, {name}"), true, &came);
    }
    for asks in [3, 5] {
        let span = Span { asks, ..LONG };
        let came = seeds(10, |at| seed(at, &Sizes::exponential(SIZE), span, &ours(Some(24), true, None)));
        row(&mut table, &format!("limit 1.5 x, default breaker, callers ask {asks} times"), false, &came);
    }
    let mut beside = |name: &str, stack: &(dyn Fn(&Backend, u64) -> Service + Sync)| {
        let came = seeds(10, |at| seed(at, &Sizes::exponential(SIZE), LONG, stack));
        row(&mut table, name, false, &came);
    };
    beside("limit 1.5 x, breaker off", &ours(Some(24), false, None));
    beside("limit 4 x, default breaker", &ours(Some(64), true, None));
    beside("limit 4 x, breaker off", &ours(Some(64), false, None));
    beside("no limit, default breaker", &ours(None, true, None));
    beside("no limit, breaker off (the budget alone)", &ours(None, false, None));
    beside("no limit, breaker off, endless budget", &ours(None, false, Some(u32::MAX)));
    beside("tower: timeout, retry", &tower(peers::TowerBudget::None, None));
    beside("tower: timeout, retry with TpsBudget", &tower(peers::TowerBudget::Tps, None));
    beside("tower: timeout, limit 1.5 x shedding, retry with TpsBudget", &tower(peers::TowerBudget::Tps, Some(24)));
    beside("tower-resilience: retry; tower: timeout", &tower_resilience(false));
    beside("tower-resilience: retry with AIMD budget; tower: timeout", &tower_resilience(true));
    table.finish();
}

/// Retries without a budget, and nothing that sheds: the load that the failure made outlives it.
#[test]
fn planted() {
    let mut table = Table::new(Run::Planted, "T3", "retries without a budget, no limit, no breaker (1 seed)", &COLUMNS);
    let came =
        seeds(1, |at| seed(at, &Sizes::exponential(SIZE), Span { after: 10, ..BRIEF }, &ours(None, false, Some(u32::MAX))));
    row(&mut table, "no limit, breaker off, endless budget", true, &came);
    table.finish();
}
