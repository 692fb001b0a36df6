//! T4: three retries, one behind the other, in front of a backend that fails a share of its calls. How many attempts does one
//! call become?
//!
//! Three attempts at each of three are 27 at the last. Budgets keep that down without the layers knowing of each other; the mark
//! in `_meta`, which says that the sender repeats the call itself, ends it.

use std::{
    convert::identity,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use buttress::{
    BoxError,
    call::{Meta, Request, Response, Target},
    error::Transport,
    retry::{Budget, FullJitter, RetryLayer},
};
use fastrand::Rng;
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};

use crate::{
    peers,
    report::{Figure, Run, Table, ratio, share},
    world::{Load, drive, run, seeds, tool},
};

const HOPS: u64 = 3;
const ATTEMPTS: u32 = 3;
const CALLS: usize = 100_000;

type Hop = BoxCloneSyncService<Request<()>, Response<()>, BoxError>;

/// How a failing backend fails.
#[derive(Debug, Clone, Copy)]
enum Failure {
    /// It may have done its work: a repetition costs 14 tokens.
    InDoubt,
    /// It has done nothing: a repetition costs 5.
    NotSent,
}

/// What the backend does.
#[derive(Debug, Clone, Copy)]
struct Fault {
    share: f64,
    failure: Failure,
}

/// How often calls are made.
#[derive(Debug, Clone, Copy)]
struct Pace {
    calls: usize,
    per_second: f64,
}

/// A backend that fails so often, and counts.
fn backend(fault: Fault, attempts: Arc<AtomicUsize>, seed: u64) -> Hop {
    let rng = Arc::new(std::sync::Mutex::new(Rng::with_seed(seed)));
    BoxCloneSyncService::new(service_fn(move |_: Request<()>| {
        attempts.fetch_add(1, Ordering::Relaxed);
        let fails = rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner).f64() < fault.share;
        std::future::ready(match fault.failure {
            _ if !fails => Ok(Response::new(())),
            Failure::InDoubt => Err(BoxError::from(Transport::unknown("reset"))),
            Failure::NotSent => Err(Transport::not_sent("refused").into()),
        })
    }))
}

/// What lies between one layer and the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    /// Nothing: bare layers in one process.
    Nothing,
    /// A wire that hands on what is asked and what is answered, and nothing else.
    Wire,
    /// A wire that hands on the mark too.
    WireWithMark,
}

impl Between {
    fn lead_to(self, next: Hop, target: Arc<Target>) -> Hop {
        if self == Self::Nothing {
            return next;
        }
        BoxCloneSyncService::new(service_fn(move |request: Request<()>| {
            let mut onward = Request::new(target.clone(), ());
            if self == Self::WireWithMark {
                let mut said = serde_json::Map::new();
                Meta::onward(&request.head).apply(&mut said);
                onward.head.meta = Some(Arc::new(Meta::read(&said)));
            }
            let answer = next.clone().oneshot(onward);
            async move {
                let response = answer.await?;
                Ok(Response::from_result(response.result))
            }
        }))
    }
}

/// This layer, three times, in front of the backend.
fn chain<L>(backend: Hop, between: Between, layer: impl Fn(u64) -> L) -> Hop
where
    L: Layer<Hop>,
    L::Service:
        Service<Request<()>, Response = Response<()>, Error = BoxError, Future: Send + 'static> + Clone + Send + Sync + 'static,
{
    let target = tool("tool", true);
    (0..HOPS).fold(backend, |next, hop| BoxCloneSyncService::new(layer(hop).layer(between.lead_to(next, target.clone()))))
}

/// Attempts at the backend per call, and the share of calls that succeeded.
fn measure(pace: Pace, fault: Fault, seed: u64, chain: &(dyn Fn(Hop) -> Hop + Sync)) -> (f64, f64) {
    run(async {
        let attempts = Arc::new(AtomicUsize::new(0));
        let service = chain(backend(fault, attempts.clone(), seed));
        let arrivals = Load::steady(pace.per_second, Duration::MAX / 4).arrivals(seed).take(pace.calls);
        let target = tool("tool", true);
        let done = drive(arrivals, |_| service.clone().oneshot(Request::new(target.clone(), ()))).await;
        let succeeded = done.iter().filter(|done| done.value.is_ok()).count();
        (of(attempts.load(Ordering::Relaxed), done.len()), of(succeeded, done.len()))
    })
}

#[expect(clippy::cast_precision_loss, reason = "no experiment counts to 2^52")]
fn of(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

const COLUMNS: [&str; 5] = ["1 % fail", "10 % fail", "10 %: succeeded", "50 % fail", "100 % fail"];

/// What the issue asks for.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    at_half: f64,
}

const STRIPPED: Bounds = Bounds { at_half: 1.27 };
const MARKED: Bounds = Bounds { at_half: 1.10 };

/// A row: how many attempts a call becomes at each share of failures.
fn row(table: &mut Table, name: &str, pace: Pace, failure: Failure, bounds: Option<Bounds>, chain: &(dyn Fn(Hop) -> Hop + Sync)) {
    let shares = [0.01, 0.10, 0.50, 1.0];
    let measured = seeds(4, |at| {
        let share = shares[usize::try_from(at).map_or(0, identity)];
        measure(pace, Fault { share, failure }, at, chain)
    });
    let [few, some, half, all] = [0, 1, 2, 3].map(|at| ratio(measured[at].0));
    let succeeded = share(measured[1].1);
    let bounded = |figure: Figure, bound: fn(Figure, Bounds) -> Figure| bounds.map_or(figure, |bounds| bound(figure, bounds));
    table.row(
        format!("{name}, {}/s", pace.per_second),
        [
            few,
            some,
            bounded(succeeded, |figure, _| figure.at_least(0.998)),
            bounded(half, |figure, bounds| figure.at_most(bounds.at_half)),
            bounded(all, |figure, _| figure.at_most(1.01)),
        ],
    );
}

fn ours(between: Between, budget: Option<u32>) -> impl Fn(Hop) -> Hop + Sync {
    move |backend| {
        chain(backend, between, |hop| {
            let layer = RetryLayer::default().backoff(FullJitter::default().seeded(hop));
            match budget {
                Some(tokens) => layer.budget(Arc::new(Budget::try_new(tokens).expect("enough"))),
                None => layer,
            }
        })
    }
}

fn tower(budget: peers::TowerBudget) -> impl Fn(Hop) -> Hop + Sync {
    move |backend| chain(backend, Between::Nothing, |hop| peers::tower_retry(ATTEMPTS, budget, hop))
}

fn tower_resilience(budget: bool) -> impl Fn(Hop) -> Hop + Sync {
    move |backend| chain(backend, Between::Nothing, |_| peers::resilience_retry(ATTEMPTS, budget))
}

const TITLE: &str = "amplification: attempts at the backend per call, behind three retries of three attempts each";

#[test]
fn short() {
    let mut table = Table::new(Run::Short, "T4", format!("{TITLE} (10^4 calls a cell)"), &COLUMNS);
    let pace = Pace { calls: 10_000, per_second: 1000.0 };
    row(&mut table, "bare layers", pace, Failure::InDoubt, Some(STRIPPED), &ours(Between::Nothing, None));
    row(&mut table, "hops, with the mark", pace, Failure::InDoubt, Some(MARKED), &ours(Between::WireWithMark, None));
    table.finish();
}

#[test]
#[ignore = "torture: whole, in release"]
fn whole() {
    let title = format!("{TITLE} (10^5 calls a cell; where nothing is bounded, 10^4)");
    let mut table = Table::new(Run::Whole, "T4", title, &COLUMNS);
    for per_second in [1000.0, 0.1] {
        let pace = Pace { calls: CALLS, per_second };
        row(&mut table, "bare layers", pace, Failure::InDoubt, Some(STRIPPED), &ours(Between::Nothing, None));
        row(&mut table, "hops, with the mark", pace, Failure::InDoubt, Some(MARKED), &ours(Between::WireWithMark, None));
        row(&mut table, "hops, mark stripped", pace, Failure::InDoubt, None, &ours(Between::Wire, None));
        let mut beside = |name: &str, failure: Failure, chain: &(dyn Fn(Hop) -> Hop + Sync)| {
            row(&mut table, name, Pace { calls: CALLS / 10, ..pace }, failure, None, chain);
        };
        beside("bare layers, nothing was sent", Failure::NotSent, &ours(Between::Nothing, None));
        beside("hops, with the mark, nothing was sent", Failure::NotSent, &ours(Between::WireWithMark, None));
        beside("bare layers, endless budget", Failure::InDoubt, &ours(Between::Nothing, Some(u32::MAX)));
        beside("tower: retry", Failure::InDoubt, &tower(peers::TowerBudget::None));
        beside("tower: retry with TpsBudget", Failure::InDoubt, &tower(peers::TowerBudget::Tps));
        beside("tower-resilience: retry", Failure::InDoubt, &tower_resilience(false));
        beside("tower-resilience: retry with AIMD budget", Failure::InDoubt, &tower_resilience(true));
    }
    table.finish();
}

/// Retries that nobody pays for: three attempts at each of three are 27.
#[test]
fn planted() {
    let mut table = Table::new(Run::Planted, "T4", "retries without a budget (10^3 calls a cell)", &COLUMNS);
    let pace = Pace { calls: 1000, per_second: 1000.0 };
    row(
        &mut table,
        "bare layers, endless budget",
        pace,
        Failure::InDoubt,
        Some(STRIPPED),
        &ours(Between::Nothing, Some(u32::MAX)),
    );
    table.finish();
}
