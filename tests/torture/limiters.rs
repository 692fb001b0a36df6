//! What T1 and T2 have in common: a backend, what stands in front of it, and callers who wait so long and no longer.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use buttress::{
    BoxError, Stack,
    breaker::BreakerLayer,
    call::{CallParams, Request, Response},
    concurrency::{Bounds, ConcurrencyLayer},
    deadline::Limits,
    retry::RetryLayer,
};
use fastrand::Rng;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::{Service as _, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

use crate::world::{Backend, Discipline, Load, Machine, Sizes, Work, drive, run, tool};

/// 16 at once, 50 ms each: 320 calls a second. A crowd costs: at twice as many the backend does 5 % less.
const MACHINE: Machine = Machine { servers: 16.0, speed: 1.0, per_excess: 0.05 };
pub const SIZE: Duration = Duration::from_millis(50);
pub const CAPACITY: f64 = 320.0;
/// What somebody who knows the backend would set: as many as it serves at once, and half as many more.
pub const ORACLE: u32 = 24;

/// What a caller sends down a stack.
#[derive(Debug, Clone)]
pub struct Ask {
    size: Duration,
    /// A delay of the tool's own, after its work.
    slow: Duration,
    admitted: Arc<AtomicBool>,
}

impl CallParams for Ask {}

pub type Service = BoxCloneSyncService<Request<Ask>, Response<()>, BoxError>;

/// The backend, and something behind it that answers late and costs it nothing.
#[derive(Debug, Clone)]
pub struct Upstream {
    backend: Backend,
    delay: Arc<Mutex<Duration>>,
    /// Whether the backend waits before its own work, and not after it.
    waits_first: bool,
}

impl Upstream {
    fn handler(
        &self,
    ) -> impl tower::Service<Request<Ask>, Response = Response<()>, Error = BoxError, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static {
        let upstream = self.clone();
        service_fn(move |request: Request<Ask>| {
            let Ask { size, slow, admitted } = request.params;
            let working = upstream.backend.work(Work::of(size));
            let delay = *upstream.delay.lock().unwrap_or_else(PoisonError::into_inner);
            let (before, after) = if upstream.waits_first { (delay, slow) } else { (Duration::ZERO, delay + slow) };
            async move {
                admitted.store(true, Ordering::Relaxed);
                if !before.is_zero() {
                    sleep(before).await;
                }
                working.await;
                if !after.is_zero() {
                    sleep(after).await;
                }
                Ok(Response::new(()))
            }
        })
    }
}

/// What stands in front of an upstream, given the callers' deadline.
pub type Subject<'a> = &'a (dyn Fn(&Upstream, Duration) -> Service + Sync);

/// Our stack around a limit: one attempt, no breaker.
pub fn ours(limit: impl Fn() -> ConcurrencyLayer + Sync) -> impl Fn(&Upstream, Duration) -> Service + Sync {
    move |upstream, deadline| {
        let stack = Stack::new()
            .deadline(Limits::at_most(deadline))
            .retry(RetryLayer::new(NonZeroU32::MIN))
            .breaker(BreakerLayer::off())
            .concurrency(limit());
        BoxCloneSyncService::new(stack.service(upstream.handler()))
    }
}

/// The limit that adapts, with one setting for all.
pub fn adaptive() -> ConcurrencyLayer {
    ConcurrencyLayer::adaptive(Bounds::default())
}

/// The same, begun elsewhere.
pub fn adaptive_from(initial: u32) -> impl Fn() -> ConcurrencyLayer + Sync {
    move || ConcurrencyLayer::adaptive(Bounds::try_new(4, initial, 2048).expect("bounds"))
}

pub fn fixed(limit: u32) -> impl Fn() -> ConcurrencyLayer + Sync {
    move || ConcurrencyLayer::new(NonZeroU32::new(limit).expect("some"))
}

/// tower's limit, which sheds what it has no slot for.
pub fn tower(limit: usize) -> impl Fn(&Upstream, Duration) -> Service + Sync {
    move |upstream, deadline| {
        let limited = ServiceBuilder::new().timeout(deadline).load_shed().concurrency_limit(limit).service(upstream.handler());
        BoxCloneSyncService::new(limited)
    }
}

/// A first-come-first-served queue without a bound, where a call is dropped only when its turn comes too late. Nobody leaves.
pub fn endless_queue(upstream: &Upstream, deadline: Duration) -> Service {
    let slots = Arc::new(tokio::sync::Semaphore::new(usize::try_from(ORACLE).expect("few")));
    let handler = upstream.handler();
    BoxCloneSyncService::new(service_fn(move |request: Request<Ask>| {
        let (slots, mut handler, arrived) = (slots.clone(), handler.clone(), Instant::now());
        async move {
            let _slot = slots.acquire().await?;
            match arrived.elapsed() < deadline {
                true => handler.call(request).await,
                false => Err("too late".into()),
            }
        }
    }))
}

/// A stretch of time, in seconds: the load, as a share of the capacity, and what the dependency adds.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    pub load: f64,
    pub secs: u32,
    pub delay: Duration,
}

/// What a call meets.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    pub phases: &'a [Phase],
    pub deadline: Duration,
    /// The share of calls that are of another tool, which takes ten seconds more.
    pub slow: f64,
    pub waits_first: bool,
}

/// What came of the calls that were made in one phase.
#[derive(Debug, Clone, Default)]
pub struct Came {
    /// For each call in the order of arrival: the second that it came in, and whether it was answered in time.
    pub calls: Vec<(u32, bool)>,
    /// The seconds that those took that reached the backend, waiting included.
    pub admitted: Vec<f64>,
    secs: u32,
}

/// Runs a scene once: what came of each phase.
pub fn play(seed: u64, sizes: &Sizes, scene: &Scene<'_>, subject: Subject<'_>) -> Vec<Came> {
    run(async {
        let backend = Backend::new(MACHINE, Discipline::Shared);
        let upstream = Upstream { backend, delay: Arc::default(), waits_first: scene.waits_first };
        let service = subject(&upstream, scene.deadline);
        let (mut sizes, mut rng) = (sizes.seeded(seed), Rng::with_seed(seed));
        let (quick, slow) = (tool("quick", false), tool("slow", false));
        let changes: Vec<_> = scene.phases.iter().map(|phase| (phase.delay, Duration::from_secs(phase.secs.into()))).collect();
        let delays = tokio::spawn(async move {
            for (delay, lasts) in changes {
                *upstream.delay.lock().unwrap_or_else(PoisonError::into_inner) = delay;
                sleep(lasts).await;
            }
        });
        let load = scene.phases.iter().fold(Load::steady(0.0, Duration::ZERO), |load, phase| {
            load.then(phase.load * CAPACITY, Duration::from_secs(phase.secs.into()))
        });
        let done = drive(load.arrivals(seed), |_| {
            let is_slow = rng.f64() < scene.slow;
            let admitted = Arc::new(AtomicBool::new(false));
            let (target, slow) = if is_slow { (&slow, Duration::from_secs(10)) } else { (&quick, Duration::ZERO) };
            let ask = Ask { size: sizes.draw(), slow, admitted: admitted.clone() };
            let answer = service.clone().oneshot(Request::new(target.clone(), ask));
            async move { (answer.await.is_ok_and(|response| response.result.is_ok()), admitted.load(Ordering::Relaxed)) }
        })
        .await;
        delays.abort();

        let mut came: Vec<Came> = scene.phases.iter().map(|phase| Came { secs: phase.secs, ..Came::default() }).collect();
        // The clock ticks in milliseconds.
        let in_time = scene.deadline + Duration::from_millis(2);
        let mut done: Vec<_> = done.into_iter().map(|done| (done.arrived, done.ended - done.arrived, done.value)).collect();
        done.sort_by_key(|(arrived, ..)| *arrived);
        let ends: u32 = scene.phases.iter().map(|phase| phase.secs).sum();
        for (arrived, took, (answered, admitted)) in done {
            // A call at the very end may be a tick late.
            let mut second = u32::try_from(arrived.as_secs()).expect("minutes").min(ends - 1);
            let phase = scene.phases.iter().position(|phase| second.checked_sub(phase.secs).map(|left| second = left).is_none());
            let phase = &mut came[phase.expect("none comes after the last")];
            phase.calls.push((second, answered && took <= in_time));
            if admitted {
                phase.admitted.push(took.as_secs_f64());
            }
        }
        came
    })
}

/// How long the answered calls of forty agents took, in seconds. Each makes its next call when it has thought about the answer to
/// the last. Before they come, calls are made one by one; while they are there, one more call hangs.
pub fn play_agents(seed: u64, secs: u64, deadline: Duration, subject: Subject<'_>) -> Vec<f64> {
    run(async {
        let backend = Backend::new(MACHINE, Discipline::Shared);
        let upstream = Upstream { backend, delay: Arc::default(), waits_first: false };
        let service = subject(&upstream, deadline);
        let target = tool("quick", false);
        let call = move |size, slow| {
            let ask = Ask { size, slow, admitted: Arc::default() };
            let answer = service.clone().oneshot(Request::new(target.clone(), ask));
            async move { answer.await.is_ok_and(|response| response.result.is_ok()) }
        };
        let sizes = Sizes::even(SIZE, 0.2);
        let mut alone = sizes.seeded(seed);
        for _ in 0..200 {
            call(alone.draw(), Duration::ZERO).await;
        }
        let hangs = tokio::spawn(call(SIZE, deadline));
        let ends = Instant::now() + Duration::from_secs(secs);
        let mut agents = JoinSet::new();
        for agent in 0..40 {
            let (call, seed) = (call.clone(), seed * 40 + agent);
            let (mut sizes, mut rng) = (sizes.seeded(seed), Rng::with_seed(seed));
            agents.spawn(async move {
                let mut took = Vec::new();
                while Instant::now() < ends {
                    let began = Instant::now();
                    if call(sizes.draw(), Duration::ZERO).await {
                        took.push(began.elapsed().as_secs_f64());
                    }
                    sleep(Duration::from_millis(rng.u64(200..250))).await;
                }
                took
            });
        }
        let took = agents.join_all().await.into_iter().flatten().collect();
        hangs.abort();
        took
    })
}

impl Came {
    /// Of what an ideal limiter would have had answered, how much was.
    #[expect(clippy::cast_precision_loss, reason = "no experiment counts to 2^52")]
    pub fn goodput(&self) -> f64 {
        let answered = self.calls.iter().filter(|(_, answered)| *answered).count();
        answered as f64 / (self.calls.len() as f64).min(CAPACITY * f64::from(self.secs))
    }

    /// The first second in which 99 % of the calls were answered, given that 99 % of all that follow were too.
    pub fn whole_after(&self) -> f64 {
        let answered = |from: u32, to: u32| {
            let calls = self.calls.iter().filter(|(second, _)| (from..to).contains(second));
            let (all, good) = calls.fold((0, 0), |(all, good), (_, answered)| (all + 1, good + u32::from(*answered)));
            f64::from(good) >= 0.99 * f64::from(all)
        };
        (0..self.secs).find(|at| answered(*at, at + 1) && answered(*at, self.secs)).map_or(f64::INFINITY, f64::from)
    }
}
