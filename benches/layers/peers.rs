//! Layers of other crates that do the same thing, and ours beside them, in the same run.

use std::{
    convert::Infallible,
    num::NonZeroU32,
    task::{Context, Poll},
};

use axum::body::Body;
use buttress::{
    breaker::BreakerLayer,
    call::{Request, Response},
    concurrency::ConcurrencyLayer,
    quota::QuotaLayer,
    retry::RetryLayer,
    timeout::TimeoutLayer,
};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use futures_util::{TryFutureExt, future::MapOk};
use governor::{Quota, RateLimiter};
use tower::{
    Layer, Service, ServiceBuilder,
    limit::{ConcurrencyLimitLayer, RateLimit},
    load_shed::LoadShedLayer,
};
use tower_governor::{GovernorLayer, governor::GovernorConfigBuilder, key_extractor::GlobalKeyExtractor};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_circuitbreaker::CircuitBreakerLayer;
use tower_resilience_ratelimiter::RateLimiterLayer;
use tower_resilience_retry::RetryLayer as ResilienceRetry;
use tower_resilience_timelimiter::TimeLimiterLayer;

use crate::handlers::{Act, Handled, Handler, LONG, PLENTY, call, target};

type Group<'a> = BenchmarkGroup<'a, WallTime>;
type Answer = Response<&'static str>;

/// As many as nobody has in flight.
const MANY: usize = 1_000_000;
const ONE: NonZeroU32 = NonZeroU32::MIN;

pub fn admitted(criterion: &mut Criterion) {
    for (name, act) in [("ready", Act::Ready), ("pends_once", Act::PendsOnce), ("works_1us", Act::Works)] {
        let mut group = criterion.benchmark_group(format!("peers_{name}"));
        run(&mut group, "bare", Handler(act));

        run(&mut group, "our_concurrency", ConcurrencyLayer::default().layer(Handler(act)));
        run(&mut group, "tower_concurrency", ConcurrencyLimitLayer::new(64).layer(Handler(act)));
        let bulkhead = BulkheadLayer::builder().max_concurrent_calls(64).build();
        with(bulkhead, |layer| run(&mut group, "tower_resilience_bulkhead", layer.layer(Handler(act))));

        run(&mut group, "our_timeout", TimeoutLayer::new(LONG).layer(Handler(act)));
        run(&mut group, "tower_timeout", tower::timeout::TimeoutLayer::new(LONG).layer(Handler(act)));
        let timelimiter = TimeLimiterLayer::builder().timeout_duration(LONG).build();
        run(&mut group, "tower_resilience_timelimiter", timelimiter.layer(Handler(act)));

        run(&mut group, "our_breaker", BreakerLayer::default().layer(Handler(act)));
        let breaker = CircuitBreakerLayer::builder().build();
        with(breaker, |layer| run(&mut group, "tower_resilience_breaker", layer.layer(Handler(act))));

        run(&mut group, "our_retry", RetryLayer::default().layer(Handler(act)));
        let retry = ResilienceRetry::<Request<u64>, Answer, std::convert::Infallible>::builder().max_attempts(3).build();
        run(&mut group, "tower_resilience_retry", retry.layer(Handler(act)));

        run(&mut group, "our_quota", QuotaLayer::new().per_tenant_and_target(PLENTY).layer(Handler(act)));
        let rate = tower::limit::rate::Rate::new(u64::from(u32::MAX), std::time::Duration::from_secs(1));
        run(&mut group, "tower_rate_limit", RateLimit::new(Handler(act), rate));
        let ratelimiter = RateLimiterLayer::per_second(MANY * 1000).build();
        with(ratelimiter, |layer| run(&mut group, "tower_resilience_ratelimiter", layer.layer(Handler(act))));
        governor_alone(&mut group, act);
        run(&mut group, "our_quota_overall", QuotaLayer::new().overall(PLENTY).layer(Handler(act)));
        tower_governor(&mut group, act);

        five(&mut group, act);
        group.finish();
    }
}

/// A check of a plain keyed limiter and nothing around it: what any layer on it costs at least.
fn governor_alone(group: &mut Group<'_>, act: Act) {
    let (limiter, target) = (RateLimiter::keyed(PLENTY), target());
    let mut handler = Handler(act);
    group.bench_function("governor_keyed", |b| {
        b.iter(|| {
            let request = Request::new(target.clone(), 7);
            let key = request.params;
            limiter.check_key(&key).is_ok().then(|| call(&mut handler, request))
        });
    });
}

/// tower_governor speaks HTTP only, so it has requests of its own; all of them under one key.
fn tower_governor(group: &mut Group<'_>, act: Act) {
    let key = GlobalKeyExtractor;
    let config = GovernorConfigBuilder::default().key_extractor(key).per_nanosecond(1).burst_size(u32::MAX).finish();
    if let Some(config) = config {
        let mut service = GovernorLayer::new(config).layer(Http(Handler(act)));
        group.bench_function("tower_governor", |b| b.iter(|| call(&mut service, http::Request::new(7))));
    }
}

/// The handler behind HTTP's types.
struct Http(Handler);

impl Service<http::Request<u64>> for Http {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = MapOk<Handled, fn(Answer) -> http::Response<Body>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<u64>) -> Self::Future {
        self.0.handled(request.into_body()).map_ok(|_| http::Response::new(Body::empty()))
    }
}

/// The same five layers in the same order: retry, breaker, concurrency, rate limit, timeout.
fn five(group: &mut Group<'_>, act: Act) {
    run(group, "five_of_ours", five_of_ours(act));
    if let Some(five) = five_of_tower_resilience(act) {
        run(group, "five_of_tower_resilience", five);
    }
}

pub fn five_of_ours(act: Act) -> impl Service<Request<u64>, Response = Answer> + Clone + Send {
    ServiceBuilder::new()
        .layer(RetryLayer::default())
        .layer(BreakerLayer::default())
        .layer(ConcurrencyLayer::default())
        .layer(QuotaLayer::new().overall(PLENTY))
        .layer(TimeoutLayer::new(LONG))
        .service(Handler(act))
}

pub fn five_of_tower_resilience(act: Act) -> Option<impl Service<Request<u64>, Response = Answer> + Clone + Send> {
    let limiter = RateLimiterLayer::per_second(MANY * 1000).build().ok()?;
    let breaker = CircuitBreakerLayer::builder().build().ok()?;
    let bulkhead = BulkheadLayer::builder().max_concurrent_calls(64).build().ok()?;
    let inner = TimeLimiterLayer::builder().timeout_duration(LONG).build().layer(Handler(act));
    let inner = tower::util::MapErr::new(limiter.layer(inner), drop as fn(_));
    let inner = tower::util::MapErr::new(bulkhead.layer(inner), drop as fn(_));
    let inner = tower::util::MapErr::new(breaker.layer(inner), drop as fn(_));
    Some(ResilienceRetry::<Request<u64>, Answer, ()>::builder().max_attempts(3).build().layer(inner))
}

pub fn refused(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peers_refused");
    let target = target();
    let request = || Request::new(target.clone(), 7);

    let mut full =
        ServiceBuilder::new().layer(LoadShedLayer::new()).layer(ConcurrencyLimitLayer::new(1)).service(Handler(Act::Hangs));
    let _ready = full.poll_ready(&mut Context::from_waker(std::task::Waker::noop()));
    let _held = full.call(request());
    group.bench_function("tower_shed_concurrency", |b| b.iter(|| call(&mut full, request())));

    let limiter = RateLimiter::keyed(Quota::per_hour(ONE));
    group.bench_function("governor_keyed", |b| {
        b.iter(|| {
            let request = request();
            let key = request.params;
            limiter.check_key(&key).is_ok()
        });
    });
    group.finish();
}

fn run<S>(group: &mut Group<'_>, name: &str, mut service: S)
where
    S: Service<Request<u64>, Response = Answer>,
{
    let target = target();
    group.bench_function(name, |b| b.iter(|| call(&mut service, Request::new(target.clone(), 7))));
}

/// Peers' constructors may fail; these settings are constants that they take.
fn with<L, E>(layer: Result<L, E>, run: impl FnOnce(L)) {
    if let Ok(layer) = layer {
        run(layer);
    }
}
