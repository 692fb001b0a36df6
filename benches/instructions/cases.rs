//! What is counted.

use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use buttress::{
    Stack,
    admin::Metrics,
    attempt::AttemptLayer,
    breaker::BreakerLayer,
    cache::CacheLayer,
    call::{Request, Response, Target},
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
use governor::{Quota, RateLimiter};
use tower::{Layer, Service};

use crate::handlers::{Act, Handler, LONG, PLENTY, call, finish, keyed, read, stack, target};

const MEGABYTE: NonZeroU64 = NonZeroU64::new(1 << 20).unwrap();

type Case = (&'static str, fn(u64));

/// Each by its name. A case makes so many calls.
pub const CASES: &[Case] = &[
    ("bare", |calls| inside(|| calling(calls, Handler(Act::Ready)))),
    ("rescue", |calls| alone(calls, RescueLayer::default())),
    ("record", |calls| alone(calls, RecordLayer::new())),
    ("deadline", |calls| alone(calls, DeadlineLayer::default())),
    ("quota", |calls| alone(calls, QuotaLayer::new().per_tenant_and_target(PLENTY))),
    ("retry", |calls| alone(calls, RetryLayer::default())),
    ("breaker", |calls| alone(calls, BreakerLayer::default())),
    ("concurrency", |calls| alone(calls, ConcurrencyLayer::default())),
    ("rate_limit", |calls| alone(calls, RateLimitLayer::new(Arc::new(RateLimiter::direct(PLENTY))))),
    ("attempt", |calls| alone(calls, AttemptLayer::new())),
    ("timeout", |calls| alone(calls, TimeoutLayer::new(LONG))),
    ("panic", |calls| alone(calls, PanicLayer::new())),
    ("loop_guard", |calls| alone(calls, LoopGuardLayer::default())),
    ("hedge", |calls| alone(calls, HedgeLayer::new())),
    ("coalesce", |calls| reading(calls, CoalesceLayer::new().single_caller())),
    ("cache, hit", |calls| reading(calls, CacheLayer::new(MEGABYTE).single_caller())),
    ("idempotency, replay", |calls| {
        inside(|| {
            let (mut service, target) = (IdempotencyLayer::default().single_caller().layer(Handler(Act::Ready)), target());
            counted(calls, || drop(call(&mut service, keyed(&target))));
        });
    }),
    ("trace", |calls| alone(calls, TraceLayer::new())),
    ("timeout, pends", |calls| inside(|| calling(calls, TimeoutLayer::new(LONG).layer(Handler(Act::PendsOnce))))),
    ("stack", |calls| whole(calls, &stack(), Act::Ready)),
    ("stack, pends", |calls| whole(calls, &stack(), Act::PendsOnce)),
    ("stack, traced", |calls| whole(calls, &stack().trace(TraceLayer::new()), Act::Ready)),
    ("stack, no recorder", |calls| {
        inside(|| {
            let (service, target) = (stack().service(Handler(Act::Ready)), target());
            let one = || drop(finish(service.answer(Request::new(target.clone(), 7))));
            // The first call makes the handles.
            metrics::with_local_recorder(&metrics::NoopRecorder, one);
            counted(calls, one);
        });
    }),
    ("quota, refused", |calls| alone(calls, QuotaLayer::new().per_tenant(Quota::per_hour(NonZeroU32::MIN)))),
    ("stack, refused", |calls| {
        inside(|| {
            let service =
                stack().quota(QuotaLayer::new().per_tenant(Quota::per_hour(NonZeroU32::MIN))).service(Handler(Act::Ready));
            let target = target();
            counted(calls, || drop(finish(service.answer(Request::new(target.clone(), 7)))));
        });
    }),
];

fn whole(calls: u64, stack: &Stack, act: Act) {
    inside(|| {
        let (service, target) = (stack.service(Handler(act)), target());
        counted(calls, || drop(finish(service.answer(Request::new(target.clone(), 7)))));
    });
}

fn alone<L>(calls: u64, layer: L)
where
    L: Layer<Handler>,
    L::Service: Service<Request<u64>, Response = Response<&'static str>>,
{
    inside(|| calling(calls, layer.layer(Handler(Act::Ready))));
}

fn calling<S>(calls: u64, service: S)
where
    S: Service<Request<u64>, Response = Response<&'static str>>,
{
    calling_this(calls, service, target());
}

/// A tool that only reads.
fn reading<L>(calls: u64, layer: L)
where
    L: Layer<Handler>,
    L::Service: Service<Request<u64>, Response = Response<&'static str>>,
{
    inside(|| calling_this(calls, layer.layer(Handler(Act::Ready)), read()));
}

fn calling_this<S>(calls: u64, mut service: S, target: Arc<Target>)
where
    S: Service<Request<u64>, Response = Response<&'static str>>,
{
    counted(calls, || drop(call(&mut service, Request::new(target.clone(), 7))));
}

/// How many allocations the last case made while it was counted.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Makes the calls that count, after some that make what is made once.
fn counted(calls: u64, mut one: impl FnMut()) {
    (0..100).for_each(|_| one());
    let made = allocation_counter::measure(|| counted_calls(calls, &mut one));
    ALLOCATIONS.store(made.count_total, Ordering::Relaxed);
}

/// Callgrind counts in here, by this name.
#[inline(never)]
pub fn counted_calls(calls: u64, one: &mut dyn FnMut()) {
    (0..calls).for_each(|_| one());
}

/// Inside a runtime, for its timers, with a recorder installed.
fn inside(run: impl FnOnce()) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    let _inside = runtime.enter();
    // The second time in one process it is there already.
    let _metrics = Metrics::install();
    run();
}
