//! Keyed stores of rate limits.

use std::{
    collections::HashMap,
    future::{Ready, ready},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use buttress::{
    BoxError,
    call::{Caller, Method, Request, Response, Target},
    catalogue::Catalogue,
    quota::{QuotaLayer, QuotaService},
};
use governor::{
    Quota, RateLimiter, clock::FakeRelativeClock, middleware::NoOpMiddleware, nanos::Nanos, state::keyed::DefaultKeyedStateStore,
};
use tokio::time::Instant;
use tower::{Layer, Service};

use super::LIFE;

/// Something that limits by key. Calls are made ready apart from their check, so that only this is timed.
pub trait Store {
    type Call;

    /// A call of this key; `None` is the hot one. The time is that since the beginning.
    fn call(&self, key: Option<u64>, at: Duration) -> Self::Call;

    fn check(&mut self, call: &mut Self::Call, at: Duration);

    /// What has to be done from time to time, if it is time. Says whether it was.
    fn tidy(&mut self, at: Duration) -> bool {
        let _ = at;
        false
    }

    fn keys(&self) -> usize;
}

/// A key that is seen once matters for its life; the hot one may call as often as it likes.
fn quota() -> Quota {
    const BURST: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");
    Quota::with_period(LIFE).expect("not zero").allow_burst(BURST)
}

fn name(key: Option<u64>) -> String {
    key.map_or_else(|| "the hot key".to_owned(), |key| format!("tenant-{key:016x}-of-many"))
}

/// Answers at once.
#[derive(Debug, Clone)]
struct Handler;

impl Service<Request<()>> for Handler {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

/// Our layer, through its service.
pub struct Ours {
    layer: QuotaLayer,
    service: QuotaService<Handler>,
    target: Arc<Target>,
    epoch: Instant,
}

impl Ours {
    pub fn new(capacity: u64) -> Self {
        let layer = QuotaLayer::new().per_tenant_and_target(quota()).capacity(usize::try_from(capacity).expect("a capacity"));
        let target = Catalogue::new("up").resolve(&Method::ToolsCall, Some("tool"), None);
        Self { service: layer.layer(Handler), layer, target, epoch: Instant::now() }
    }
}

impl Store for Ours {
    /// The caller is kept beside the request, so that its memory is not taken for the store's.
    type Call = (Option<Request<()>>, Caller);

    fn call(&self, key: Option<u64>, at: Duration) -> Self::Call {
        let mut request = Request::new(self.target.clone(), ());
        request.head.arrived = self.epoch + at;
        let caller = Caller::of_tenant(name(key));
        request.head.caller = caller.clone();
        (Some(request), caller)
    }

    fn check(&mut self, call: &mut Self::Call, _: Duration) {
        if let Some(request) = call.0.take() {
            drop(self.service.call(request));
        }
    }

    fn keys(&self) -> usize {
        self.layer.tracked_keys()
    }
}

/// governor's, on a clock that is moved; it forgets when it is told to.
pub struct Governor {
    limiter: RateLimiter<String, DefaultKeyedStateStore<String>, FakeRelativeClock, NoOpMiddleware<Nanos>>,
    clock: FakeRelativeClock,
    at: Duration,
    swept: Duration,
}

impl Governor {
    pub fn new() -> Self {
        let clock = FakeRelativeClock::default();
        let limiter = RateLimiter::new(quota(), DefaultKeyedStateStore::default(), clock.clone());
        Self { limiter, clock, at: Duration::ZERO, swept: Duration::ZERO }
    }
}

impl Store for Governor {
    type Call = String;

    fn call(&self, key: Option<u64>, _: Duration) -> String {
        name(key)
    }

    fn check(&mut self, call: &mut String, at: Duration) {
        self.clock.advance(at - self.at);
        self.at = at;
        let _ = self.limiter.check_key(call);
    }

    fn tidy(&mut self, at: Duration) -> bool {
        if at - self.swept < Duration::from_secs(1) {
            return false;
        }
        self.swept = at;
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
        true
    }

    fn keys(&self) -> usize {
        self.limiter.len()
    }
}

/// Does nothing: what a check costs that is none, on this machine at this moment.
pub struct Idle;

impl Store for Idle {
    type Call = ();

    fn call(&self, _: Option<u64>, _: Duration) {}

    fn check(&mut self, (): &mut (), _: Duration) {}

    fn keys(&self) -> usize {
        0
    }
}

/// The planted defect.
#[derive(Default)]
pub struct OneLock {
    cells: Mutex<(HashMap<String, Duration>, usize)>,
}

impl Store for OneLock {
    type Call = Option<String>;

    fn call(&self, key: Option<u64>, _: Duration) -> Self::Call {
        Some(name(key))
    }

    fn check(&mut self, call: &mut Self::Call, at: Duration) {
        let Some(key) = call.take() else { return };
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let (cells, sweep_at) = &mut *cells;
        if cells.len() >= *sweep_at {
            cells.retain(|_, until| *until > at);
            *sweep_at = 2 * cells.len().max(1_000);
        }
        cells.insert(key, at + LIFE);
    }

    fn keys(&self) -> usize {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).0.len()
    }
}
