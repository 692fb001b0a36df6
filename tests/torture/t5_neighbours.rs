//! T5: noisy neighbours. Ten tenants share a tool: eight ask for a little less than an equal share of it, one for a hundred times
//! as much, and one hammers another tool that fails. Do the eight notice? And do they notice one whose calls have no time?

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use buttress::{
    BoxError, Stack,
    call::{CallParams, Caller, ErrorObject, Meta, Method, Request, Response, Target, TargetPolicy},
    catalogue::Catalogue,
    concurrency::ConcurrencyLayer,
    deadline::{DeadlineLayer, Limits},
    quota::QuotaLayer,
};
use governor::Quota;
use tokio::time::{sleep, timeout};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

use crate::{
    report::{Run, Table, ratio, seconds, share},
    world::{Account, Backend, Discipline, Load, Machine, Sizes, Work, drive, run, seeds},
};

/// 16 at once, 200 ms each: 80 calls a second.
const SERVERS: u32 = 16;
const SIZE: Duration = Duration::from_millis(200);
const CAPACITY: f64 = 80.0;
/// How long a caller waits: as long as twenty calls.
const PATIENCE: Duration = Duration::from_secs(4);
/// With ten tenants an equal share is a tenth.
const LIGHT: f64 = 0.095 * CAPACITY;
const LIGHT_TENANTS: usize = 8;
const HEAVY: f64 = 100.0 * LIGHT;
/// The first seed: no constant was tuned on any from here on.
const FRESH: u64 = 1000;

/// What a caller sends.
#[derive(Debug, Clone, Copy)]
struct Ask {
    size: Duration,
    fails: bool,
}

impl CallParams for Ask {}

type Handler = BoxCloneSyncService<Request<Ask>, Response<()>, BoxError>;
/// Layers around the backend.
type Layers = dyn Fn(Handler) -> Handler + Sync;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Light(usize),
    Heavy,
    Hammering,
    /// Gives each call too little time.
    Hurried,
}

impl Who {
    fn caller(self) -> Caller {
        match self {
            Self::Light(number) => Caller::of_tenant(format!("light {number}")),
            Self::Heavy => Caller::of_tenant("heavy"),
            Self::Hammering => Caller::of_tenant("hammering"),
            Self::Hurried => Caller::of_tenant("hurried"),
        }
    }
}

/// What came of one seed.
#[derive(Debug, Clone)]
struct Came {
    /// Of each light tenant: the share of its calls that were answered in time.
    answered: Vec<f64>,
    /// How long the calls of the light took. Those that were not answered count as for ever.
    times: Vec<f64>,
    /// The share of the servers' time that calls used that were answered.
    used: f64,
}

/// The backend: its good tool works, its other one fails at once.
fn handler(backend: &Backend) -> Handler {
    let backend = backend.clone();
    BoxCloneSyncService::new(service_fn(move |request: Request<Ask>| {
        let Ask { size, fails } = request.params;
        let working = backend.work(Work::of(size));
        async move {
            if fails {
                sleep(Duration::from_millis(5)).await;
                return Err(BoxError::from("broken"));
            }
            working.await;
            Ok(Response::new(()))
        }
    }))
}

/// The calls of these tenants for as long as `lasts`, and what came of them after the first seconds.
fn seed(seed: u64, sizes: &Sizes, lasts: Duration, tenants: &[Who], layers: &Layers) -> Came {
    const WARM: Duration = Duration::from_secs(3);
    run(async {
        let machine = Machine { servers: SERVERS.into(), ..Machine::default() };
        let backend = Backend::new(machine, Discipline::Queued);
        let service = layers(handler(&backend));
        let catalogue = Catalogue::new("upstream").tool("tool", TargetPolicy::default()).tool("broken", TargetPolicy::default());
        let [tool, broken] = ["tool", "broken"].map(|name| catalogue.resolve(&Method::ToolsCall, Some(name), None));
        let used = {
            let backend = backend.clone();
            tokio::spawn(async move {
                sleep(WARM).await;
                let before = backend.done();
                sleep(lasts - WARM).await;
                (backend.done() - before) / (lasts - WARM).as_secs_f64() / f64::from(SERVERS)
            })
        };
        let mut calls: Vec<(Duration, Who)> = Vec::new();
        for (number, who) in (0..).zip(tenants) {
            let rate = if let Who::Light(_) | Who::Hurried = who { LIGHT } else { HEAVY };
            let arrivals = Load::steady(rate, lasts).arrivals(seed * 100 + number);
            calls.extend(arrivals.map(|at| (at, *who)));
        }
        calls.sort_by_key(|(at, _)| *at);
        let callers: Vec<(Who, Caller)> = tenants.iter().map(|who| (*who, who.caller())).collect();
        let mut sizes = sizes.seeded(seed);
        let done = drive(calls.iter().map(|(at, _)| *at), |number| {
            let (_, who) = calls[number];
            let caller = callers.iter().find(|(known, _)| *known == who).map(|(_, caller)| caller.clone());
            let fails = who == Who::Hammering;
            let target = if fails { &broken } else { &tool };
            let hurry = (who == Who::Hurried).then_some(Duration::from_millis(10));
            let asked = call(service.clone(), target.clone(), caller.expect("known"), hurry, Ask { size: sizes.draw(), fails });
            async move { (who, asked.await) }
        });
        let done = done.await;
        let of_light = |wanted: Option<usize>| {
            let calls = done.iter().filter(|call| call.arrived >= WARM);
            calls.filter_map(move |call| match call.value {
                (Who::Light(number), answered) if wanted.is_none_or(|wanted| wanted == number) => {
                    Some(if answered { (call.ended - call.arrived).as_secs_f64() } else { f64::INFINITY })
                }
                _ => None,
            })
        };
        let light = tenants.iter().filter_map(|who| if let Who::Light(number) = who { Some(*number) } else { None });
        let share = |number| Account::of(of_light(Some(number))).share_within(PATIENCE.as_secs_f64() + 0.001);
        Came { answered: light.map(share).collect(), times: of_light(None).collect(), used: used.await.expect("it is told") }
    })
}

/// Whether the call was answered before its caller had enough.
async fn call(service: Handler, target: Arc<Target>, caller: Caller, hurry: Option<Duration>, ask: Ask) -> bool {
    let mut request = Request::new(target, ask);
    request.head.caller = caller;
    if hurry.is_some() {
        let mut meta = Meta::default();
        meta.timeout = hurry;
        request.head.meta = Some(meta.into());
    }
    let answer = timeout(PATIENCE, service.oneshot(request)).await;
    answer.is_ok_and(|answer| answer.is_ok_and(|response| response.result.is_ok()))
}

/// The eight, and one more who asks for as much, but has no time.
fn with_one_in_a_hurry() -> Vec<Who> {
    (0..LIGHT_TENANTS).map(Who::Light).chain([Who::Hurried]).collect()
}

fn everybody() -> Vec<Who> {
    (0..LIGHT_TENANTS).map(Who::Light).chain([Who::Heavy, Who::Hammering]).collect()
}

const COLUMNS: [&str; 4] = ["least answered", "p99 of the light", "times p99 alone", "servers used"];

/// Whether a row has the plan's bounds.
#[derive(Debug, Clone, Copy)]
enum Bounded {
    Yes,
    /// It has, and it is known that too few calls of the light are answered.
    Misses,
    /// All calls of the light are answered; the rest is told.
    Answered,
    No,
}

/// Adds a row.
fn row(table: &mut Table, name: &str, bounded: Bounded, runs: Runs, sizes: &Sizes, layers: &Layers) {
    row_of(&everybody(), table, name, bounded, runs, sizes, layers);
}

/// Adds a row of these tenants.
fn row_of(who: &[Who], table: &mut Table, name: &str, bounded: Bounded, runs: Runs, sizes: &Sizes, layers: &Layers) {
    let came = seeds(runs.seeds, |at| seed(FRESH + at, sizes, runs.lasts, who, layers));
    let alone = seeds(runs.seeds, |at| seed(FRESH + at, sizes, runs.lasts * 4, &[Who::Light(0)], layers));
    // Over all seeds, of the tenant that came off worst.
    let answered = |number: usize| Account::of(came.iter().map(|came| came.answered[number])).mean();
    let least = (0..LIGHT_TENANTS).map(answered).fold(f64::INFINITY, f64::min);
    let p99 = |came: &[Came]| Account::of(came.iter().flat_map(|came| came.times.iter().copied())).percentile(0.99);
    let (p99, p99_alone) = (p99(&came), p99(&alone));
    let used = Account::of(came.iter().map(|came| came.used)).percentile(0.0);
    let (least, times, used) = (share(least), ratio(p99 / p99_alone), share(used));
    let (least, times, used) = match bounded {
        Bounded::Yes => (least.at_least(0.999), times.at_most(2.0), used.at_least(0.98)),
        Bounded::Misses => (least.at_least(0.999).known_miss(0.997), times.at_most(2.0), used.at_least(0.98)),
        Bounded::Answered => (least.at_least(0.999), times, used),
        Bounded::No => (least, times, used),
    };
    table.row(name, [least, seconds(p99), times, used]);
}

#[derive(Debug, Clone, Copy)]
struct Runs {
    seeds: u64,
    lasts: Duration,
}

fn limit() -> ConcurrencyLayer {
    ConcurrencyLayer::new(NonZeroU32::new(SERVERS).expect("some")).queue(64)
}

/// The default stack with as many slots as there are servers.
fn ours(handler: Handler) -> Handler {
    let stack = Stack::new().deadline(Limits::at_most(PATIENCE)).concurrency(limit());
    let service = stack.service(handler);
    BoxCloneSyncService::new(service)
}

/// The concurrency limit alone, with the deadline that it looks at.
fn limit_alone(handler: Handler) -> Handler {
    let deadline = DeadlineLayer::new(Limits::at_most(PATIENCE));
    BoxCloneSyncService::new(ServiceBuilder::new().layer(deadline).layer(limit()).service(handler))
}

/// The same, to which all callers are one tenant.
fn one_line(handler: Handler) -> Handler {
    let mut service = limit_alone(handler);
    BoxCloneSyncService::new(service_fn(move |mut request: Request<Ask>| {
        request.head.caller = Caller::default();
        service.call(request)
    }))
}

/// tower's limit: a semaphore, first come first served, without a bound.
fn tower_limit(handler: Handler) -> Handler {
    let slots = usize::try_from(SERVERS).expect("few");
    let limited = ServiceBuilder::new().concurrency_limit(slots).service(handler);
    BoxCloneSyncService::new(service_fn(move |request| limited.clone().oneshot(request)))
}

/// The same, and who finds no slot is refused.
fn tower_shedding(handler: Handler) -> Handler {
    let slots = usize::try_from(SERVERS).expect("few");
    BoxCloneSyncService::new(ServiceBuilder::new().load_shed().concurrency_limit(slots).service(handler))
}

fn a_second(calls: f64) -> Quota {
    let period = Duration::from_secs_f64(1.0 / calls);
    Quota::with_period(period).expect("some time").allow_burst(NonZeroU32::new(40).expect("some"))
}

/// What all may ask is charged before what a tenant may: the order in which linkerd has them.
fn total_first(handler: Handler) -> Handler {
    let total = QuotaLayer::new().per_target(a_second(CAPACITY));
    let tenant = QuotaLayer::new().per_tenant_and_target(a_second(CAPACITY / 9.0));
    // Told in words: our own layer would take back what it has charged for a call that was refused further in.
    let in_words = |outcome: Result<Response<()>, BoxError>| {
        Ok::<_, BoxError>(outcome.unwrap_or_else(|_| Response::from_error(ErrorObject::new(429, "refused"))))
    };
    let inner = ServiceBuilder::new().map_result(in_words).layer(tenant).service(handler);
    BoxCloneSyncService::new(ServiceBuilder::new().layer(total).service(inner))
}

/// Both decided before either is charged.
fn tenant_first(handler: Handler) -> Handler {
    let both = QuotaLayer::new().per_tenant_and_target(a_second(CAPACITY / 9.0)).per_target(a_second(CAPACITY));
    BoxCloneSyncService::new(ServiceBuilder::new().layer(both).service(handler))
}

const TITLE: &str = "noisy neighbours: eight tenants just below an equal share, one at 100 x, one hammering a tool that fails";

fn exponential() -> Sizes {
    Sizes::exponential(SIZE)
}

/// Its calls fail all, and none of that is the tool's failure. The servers are not full.
fn hurried(table: &mut Table, runs: Runs) {
    let name = "default stack; the ninth gives its calls 10 ms";
    row_of(&with_one_in_a_hurry(), table, name, Bounded::Answered, runs, &exponential(), &ours);
}

#[test]
fn short() {
    let mut table = Table::new(Run::Short, "T5", format!("{TITLE} (2 seeds)"), &COLUMNS);
    let runs = Runs { seeds: 2, lasts: Duration::from_secs(15) };
    row(&mut table, "default stack", Bounded::Yes, runs, &exponential(), &ours);
    hurried(&mut table, runs);
    table.finish();
}

#[test]
#[ignore = "torture: whole, in release"]
fn whole() {
    let mut table = Table::new(Run::Whole, "T5", format!("{TITLE} (20 seeds; beside it, 3)"), &COLUMNS);
    let runs = Runs { seeds: 20, lasts: Duration::from_secs(60) };
    row(&mut table, "default stack, exponential sizes", Bounded::Yes, runs, &exponential(), &ours);
    row(&mut table, "default stack, even sizes", Bounded::Yes, runs, &Sizes::even(SIZE, 0.2), &ours);
    hurried(&mut table, runs);
    row(&mut table, "default stack, lognormal sizes", Bounded::Misses, runs, &Sizes::lognormal(SIZE, 1.0), &ours);
    let runs = Runs { seeds: 3, ..runs };
    let mut beside = |name: &str, layers: &Layers| row(&mut table, name, Bounded::No, runs, &exponential(), layers);
    beside("concurrency limit alone", &limit_alone);
    beside("the same, all callers one tenant", &one_line);
    beside("tower: concurrency_limit", &tower_limit);
    beside("tower: load_shed, concurrency_limit", &tower_shedding);
    beside("quotas: all tenants', then each one's", &total_first);
    beside("quotas: decided together", &tenant_first);
    table.finish();
}

/// One line for all, first come first served.
#[test]
fn planted() {
    let mut table = Table::new(Run::Planted, "T5", "one line for all tenants (1 seed)", &COLUMNS);
    let runs = Runs { seeds: 1, lasts: Duration::from_secs(15) };
    row(&mut table, "the limit, all callers one tenant", Bounded::Yes, runs, &exponential(), &one_line);
    table.finish();
}
