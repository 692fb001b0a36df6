//! Limiters of one limit that can be asked at any instant: ours, a peer, and two that make the classic mistakes.

use std::{
    future::Future,
    num::NonZeroU32,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use buttress::{
    BoxError,
    call::{Caller, Method, Request, Response, Target, TargetPolicy},
    catalogue::Catalogue,
    error::{Reason, Rejected, Scope},
    quota::{QuotaLayer, QuotaService},
};
use futures_util::FutureExt;
use governor::{
    Quota, RateLimiter,
    clock::FakeRelativeClock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::Instant;
use tower::{Layer, Service, limit::RateLimit};

use super::checker::Limit;

/// What a limiter says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Admitted,
    /// Come back after so many nanoseconds.
    Early(u64),
    Never,
}

/// Asked at instants that never go back, in nanoseconds.
pub trait Limiter {
    fn ask(&mut self, at: u64, cost: u32) -> Said;

    /// The last call that was admitted `ago` admissions ago was not sent: takes it back if it can be. Says whether it was known.
    fn take_back(&mut self, ago: usize) -> bool {
        let _ = ago;
        false
    }
}

pub fn quota(limit: Limit) -> Quota {
    let burst = NonZeroU32::new(limit.burst).expect("a burst");
    Quota::with_period(Duration::from_nanos(limit.period_ns)).expect("a period").allow_burst(burst)
}

/// Tools of every cost, from 1 on.
pub fn tools(dearest: u32) -> Vec<Arc<Target>> {
    let mut catalogue = Catalogue::new("up");
    for cost in 1..=dearest {
        catalogue = catalogue.tool(cost.to_string(), TargetPolicy::default().cost(NonZeroU32::new(cost).expect("a cost")));
    }
    (1..=dearest).map(|cost| catalogue.resolve(&Method::ToolsCall, Some(&cost.to_string()), None)).collect()
}

/// Whether a layer further in refuses the call; it may be set until the call has ended.
pub type Shed = Arc<AtomicBool>;

/// The handler: ends as it is told, as soon as it is polled.
#[derive(Debug, Clone)]
pub struct Handler;

impl Service<Request<Shed>> for Handler {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Ending;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Shed>) -> Ending {
        Ending(request.params)
    }
}

pub struct Ending(Shed);

impl Future for Ending {
    type Output = Result<Response<()>, BoxError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(if self.0.load(Relaxed) {
            Err(Rejected::new("concurrency", Reason::QueueFull).into())
        } else {
            Ok(Response::new(()))
        })
    }
}

/// A call that was let in and has not ended.
pub struct UnderWay {
    future: <QuotaService<Handler> as Service<Request<Shed>>>::Future,
    shed: Shed,
}

impl UnderWay {
    pub fn end(self, shed: bool) {
        self.shed.store(shed, Relaxed);
        let ended = self.future.now_or_never();
        assert_eq!(ended.is_some_and(|outcome| outcome.is_err()), shed);
    }
}

/// Our layer, through its service: the instant is the call's arrival.
pub struct Ours {
    service: QuotaService<Handler>,
    epoch: Instant,
    tools: Arc<[Arc<Target>]>,
}

impl Ours {
    pub fn new(layer: &QuotaLayer, tools: &Arc<[Arc<Target>]>) -> Self {
        // A layer's clock begins when it is made; what lies before is that moment.
        Self { service: layer.layer(Handler), epoch: Instant::now(), tools: tools.clone() }
    }

    /// Asks for a call of this tenant; refused, says by whose limit.
    pub fn call(&mut self, at: u64, caller: &Caller, cost: u32) -> Result<UnderWay, (Said, Option<Scope>)> {
        let shed = Shed::default();
        let target = self.tools[cost as usize - 1].clone();
        let mut request = Request::new(target, shed.clone());
        request.head.arrived = self.epoch + Duration::from_nanos(at);
        request.head.caller = caller.clone();
        let future = self.service.call(request);
        // The handler keeps it until the call has ended; a refused request is gone.
        if Arc::strong_count(&shed) > 1 {
            return Ok(UnderWay { future, shed });
        }
        let error = future.now_or_never().and_then(Result::err);
        let rejected = error.as_ref().and_then(|error| error.downcast_ref::<Rejected>()).expect("a refusal");
        let said = rejected.delay().map_or(Said::Never, |delay| Said::Early(nanos(delay)));
        Err((said, rejected.allowance().map(|allowance| allowance.scope)))
    }
}

pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// governor, on a clock of its own that is moved.
pub struct Governor {
    limiter: RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware<Nanos>>,
    clock: FakeRelativeClock,
    at: u64,
}

impl Governor {
    pub fn new(limit: Limit) -> Self {
        let clock = FakeRelativeClock::default();
        Self { limiter: RateLimiter::direct_with_clock(quota(limit), clock.clone()), clock, at: 0 }
    }
}

impl Limiter for Governor {
    fn ask(&mut self, at: u64, cost: u32) -> Said {
        self.clock.advance(Duration::from_nanos(at - self.at));
        self.at = at;
        match self.limiter.check_n(NonZeroU32::new(cost).expect("a cost")) {
            Ok(Ok(())) => Said::Admitted,
            Ok(Err(until)) => Said::Early(nanos(until.wait_time_from(at.into()))),
            Err(_) => Said::Never,
        }
    }
}

/// GCRA that takes calls back by subtraction.
pub struct PlainRefund {
    limit: Limit,
    tat: u64,
    admitted: Vec<u32>,
}

impl PlainRefund {
    pub fn new(limit: Limit) -> Self {
        Self { limit, tat: 0, admitted: Vec::new() }
    }
}

impl Limiter for PlainRefund {
    fn ask(&mut self, at: u64, cost: u32) -> Said {
        let said = gcra(self.limit, &mut self.tat, at, at, cost);
        if said == Said::Admitted {
            self.admitted.push(cost);
        }
        said
    }

    fn take_back(&mut self, ago: usize) -> bool {
        let Some(place) = self.admitted.len().checked_sub(ago + 1) else { return false };
        let cost = self.admitted.remove(place);
        self.tat = self.tat.saturating_sub(u64::from(cost) * self.limit.period_ns);
        true
    }
}

/// GCRA that starts an idle cell one burst in the past.
pub struct Throttle {
    limit: Limit,
    tat: u64,
}

impl Throttle {
    pub fn new(limit: Limit) -> Self {
        Self { limit, tat: 0 }
    }
}

impl Limiter for Throttle {
    fn ask(&mut self, at: u64, cost: u32) -> Said {
        let floor = at.saturating_sub(u64::from(self.limit.burst) * self.limit.period_ns);
        gcra(self.limit, &mut self.tat, at, floor, cost)
    }
}

fn gcra(limit: Limit, tat: &mut u64, at: u64, floor: u64, cost: u32) -> Said {
    if cost > limit.burst {
        return Said::Never;
    }
    let next = (*tat).max(floor) + u64::from(cost) * limit.period_ns;
    match next.saturating_sub(at).saturating_sub(u64::from(limit.burst) * limit.period_ns) {
        0 => {
            *tat = next;
            Said::Admitted
        }
        early => Said::Early(early),
    }
}

/// tower's rate limit, which counts in fixed windows: a call is refused where the service is not ready.
pub struct TowerWindow {
    service: RateLimit<Nothing>,
}

/// Does nothing, at once.
#[derive(Debug)]
pub struct Nothing;

impl Service<()> for Nothing {
    type Response = ();
    type Error = BoxError;
    type Future = std::future::Ready<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

impl TowerWindow {
    pub fn new(limit: Limit) -> Self {
        let window = Duration::from_nanos(limit.period_ns * u64::from(limit.burst));
        Self { service: RateLimit::new(Nothing, tower::limit::rate::Rate::new(limit.burst.into(), window)) }
    }

    /// Whether one call passes now.
    pub fn passes(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        if self.service.poll_ready(&mut cx).is_pending() {
            return false;
        }
        self.service.call(()).now_or_never().is_some_and(|outcome| outcome.is_ok())
    }
}
