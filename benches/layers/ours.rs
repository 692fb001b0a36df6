//! Our layers: each alone, all together, and refusing.

use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::Arc,
};

use buttress::{
    Stack,
    attempt::AttemptLayer,
    audit::AuditLayer,
    breaker::{BreakerLayer, Policy, Settings},
    cache::CacheLayer,
    call::{Request, Response},
    coalesce::CoalesceLayer,
    concurrency::ConcurrencyLayer,
    deadline::DeadlineLayer,
    hedge::HedgeLayer,
    idempotency::IdempotencyLayer,
    loop_guard::LoopGuardLayer,
    panic::PanicLayer,
    quota::QuotaLayer,
    rate_limit::RateLimitLayer,
    record::RecordLayer,
    rescue::RescueLayer,
    retry::RetryLayer,
    timeout::TimeoutLayer,
    trace::TraceLayer,
};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use governor::{Quota, RateLimiter};
use tower::{Layer, Service};

use crate::handlers::{Act, Handler, LONG, PLENTY, call, finish, keyed, read, stack, target};

type Group<'a> = BenchmarkGroup<'a, WallTime>;

const ONE: NonZeroU32 = NonZeroU32::MIN;
const MEGABYTE: NonZeroU64 = NonZeroU64::new(1 << 20).unwrap();

/// The path that nearly all calls take.
pub fn admitted(criterion: &mut Criterion) {
    for (name, act) in [("ready", Act::Ready), ("pends_once", Act::PendsOnce), ("works_1us", Act::Works)] {
        let mut group = criterion.benchmark_group(name);
        let mut bare = Handler(act);
        let target = target();
        group.bench_function("bare", |b| b.iter(|| call(&mut bare, Request::new(target.clone(), 7))));
        alone(&mut group, act, "rescue", RescueLayer::default());
        alone(&mut group, act, "record", RecordLayer::new());
        alone(&mut group, act, "deadline", DeadlineLayer::default());
        alone(&mut group, act, "quota", QuotaLayer::new().per_tenant_and_target(PLENTY));
        alone(&mut group, act, "retry", RetryLayer::default());
        alone(&mut group, act, "breaker", BreakerLayer::default());
        alone(&mut group, act, "concurrency", ConcurrencyLayer::default());
        alone(&mut group, act, "rate_limit", RateLimitLayer::new(Arc::new(RateLimiter::direct(PLENTY))));
        alone(&mut group, act, "attempt", AttemptLayer::new());
        alone(&mut group, act, "timeout", TimeoutLayer::new(LONG));
        alone(&mut group, act, "panic", PanicLayer::new());
        // Nobody listens.
        alone(&mut group, act, "trace", TraceLayer::new());
        if let Ok(layer) = AuditLayer::new(std::io::sink()) {
            alone(&mut group, act, "audit", layer);
        }
        opt_in(&mut group, act);
        whole(&mut group, act, "stack", &stack());
        unrecorded(&mut group, act, "stack_without_metrics", &stack());
        if let Ok(layer) = AuditLayer::new(std::io::sink()) {
            whole(&mut group, act, "stack_with_audit", &stack().audit(layer));
        }
        whole(&mut group, act, "stack_with_trace", &stack().trace(TraceLayer::new()));
        group.finish();
    }
}

/// What is off unless one asks for it, where it has something to do.
fn opt_in(group: &mut Group<'_>, act: Act) {
    alone(group, act, "loop_guard", LoopGuardLayer::default());
    alone(group, act, "hedge", HedgeLayer::new());
    let (target, read) = (target(), read());
    let mut coalesce = CoalesceLayer::new().single_caller().layer(Handler(act));
    group.bench_function("coalesce", |b| b.iter(|| call(&mut coalesce, Request::new(read.clone(), 7))));
    let mut cache = CacheLayer::new(MEGABYTE).single_caller().layer(Handler(act));
    group.bench_function("cache_hit", |b| b.iter(|| call(&mut cache, Request::new(read.clone(), 7))));
    let mut idempotency = IdempotencyLayer::default().single_caller().layer(Handler(act));
    group.bench_function("idempotency_replay", |b| b.iter(|| call(&mut idempotency, keyed(&target))));
}

fn whole(group: &mut Group<'_>, act: Act, name: &str, stack: &Stack) {
    let (service, target) = (stack.service(Handler(act)), target());
    group.bench_function(name, |b| b.iter(|| finish(service.answer(Request::new(target.clone(), 7)))));
}

/// The same where nobody records: the handles are made by the first call, and then they do nothing.
fn unrecorded(group: &mut Group<'_>, act: Act, name: &str, stack: &Stack) {
    let (service, target) = (stack.service(Handler(act)), target());
    let call = || finish(service.answer(Request::new(target.clone(), 7)));
    let _first = metrics::with_local_recorder(&metrics::NoopRecorder, call);
    group.bench_function(name, |b| b.iter(call));
}

fn alone<L>(group: &mut Group<'_>, act: Act, name: &str, layer: L)
where
    L: Layer<Handler>,
    L::Service: Service<Request<u64>, Response = Response<&'static str>>,
{
    let (mut service, target) = (layer.layer(Handler(act)), target());
    group.bench_function(name, |b| b.iter(|| call(&mut service, Request::new(target.clone(), 7))));
}

/// What a storm costs: calls that are refused at once.
pub fn refused(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refused");
    let target = target();
    let request = || Request::new(target.clone(), 7);

    let mut quota = QuotaLayer::new().per_tenant(Quota::per_hour(ONE)).layer(Handler(Act::Ready));
    group.bench_function("quota", |b| b.iter(|| call(&mut quota, request())));

    let limiter = Arc::new(RateLimiter::direct(Quota::per_hour(ONE)));
    let mut rate_limit = RateLimitLayer::new(limiter).layer(Handler(Act::Ready));
    group.bench_function("rate_limit", |b| b.iter(|| call(&mut rate_limit, request())));

    let mut concurrency = ConcurrencyLayer::new(ONE).queue(0).layer(Handler(Act::Hangs));
    let _held = concurrency.call(request());
    group.bench_function("concurrency", |b| b.iter(|| call(&mut concurrency, request())));

    // Opened by one failure, for longer than a bench takes.
    let brittle =
        Policy::try_new(Settings { consecutive_failures: 1, cool_down_min: LONG, cool_down_max: LONG, ..Settings::default() });
    if let Ok(policy) = brittle {
        let lost = tower::service_fn(|_: Request<u64>| {
            std::future::ready(Err::<Response<&'static str>, _>(buttress::error::Transport::not_sent("refused")))
        });
        let mut breaker = BreakerLayer::new(policy).layer(lost);
        let _opened = call(&mut breaker, request());
        group.bench_function("breaker", |b| b.iter(|| call(&mut breaker, request())));
    }

    let mut deadline = DeadlineLayer::default().layer(Handler(Act::Ready));
    group.bench_function("deadline", |b| {
        b.iter(|| {
            let mut late = request();
            late.head.deadline.hard = Some(late.head.arrived);
            call(&mut deadline, late)
        });
    });

    let service = stack().quota(QuotaLayer::new().per_tenant(Quota::per_hour(ONE))).service(Handler(Act::Ready));
    group.bench_function("stack", |b| b.iter(|| finish(service.answer(request()))));
    group.finish();
}
