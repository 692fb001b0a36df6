//! What a breaker lets through when it tries whether all is well again.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use buttress::{
    BoxError,
    breaker::{BreakerHandle, BreakerLayer, State},
    call::{Method, Notify, Peer, Progress, Request, Response, Target, TargetPolicy},
    catalogue::Catalogue,
    error::{HttpStatus, Rejected, Transport},
};
use fastrand::Rng;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};

use super::is_refusal;
use crate::world::run;

const SECOND: Duration = Duration::from_secs(1);

/// Tools of one upstream, every second of which is safe to call again.
pub fn tools<const N: usize>() -> [Arc<Target>; N] {
    let name = |number: usize| format!("tool_{number}");
    let policy = |number: usize| TargetPolicy::default().idempotent(number.is_multiple_of(2));
    let catalogue = (0..N).fold(Catalogue::new("up"), |all, number| all.tool(name(number), policy(number)));
    std::array::from_fn(|number| catalogue.resolve(&Method::ToolsCall, Some(&name(number)), None))
}

/// Calls at work that came through a breaker while it was half open: those are its probes.
#[derive(Debug, Default)]
struct Probes {
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

/// One of them.
struct Probe(Arc<Probes>);

impl Probes {
    fn begin(self: &Arc<Self>) -> Probe {
        self.all.fetch_add(1, Relaxed);
        self.most.fetch_max(self.now.fetch_add(1, Relaxed) + 1, Relaxed);
        Probe(self.clone())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}

/// What became of a thousand callers who wait for a breaker.
#[derive(Debug, Clone, Copy)]
pub struct Herd {
    pub probes: usize,
    pub upstream_probes: usize,
    pub let_in: usize,
}

pub fn herd(seed: u64) -> Herd {
    let (probes, let_in) = run(waiters::<1>(seed));
    let (upstream_probes, _) = run(waiters::<10>(seed));
    Herd { probes, upstream_probes, let_in }
}

/// A thousand callers of `N` tools come back whenever they are told to, for as long as all calls fail and until none does. Gives
/// how many were probes at once, and how many of a thousand more get in at the moment when all is well again.
async fn waiters<const N: usize>(seed: u64) -> (usize, usize) {
    let tools: [Arc<Target>; N] = tools();
    let layer = BreakerLayer::default().seeded(seed);
    let (handle, well, probes) = (layer.handle(), Arc::new(AtomicBool::new(false)), Arc::new(Probes::default()));
    let handler = {
        let (handle, well, probes) = (handle.clone(), well.clone(), probes.clone());
        service_fn(move |request: Request<()>| {
            let probe = (state(&handle, &request.head.target, N > 1) == State::HalfOpen).then(|| probes.begin());
            let well = well.clone();
            async move {
                sleep(SECOND / 20).await;
                drop(probe);
                if well.load(Relaxed) { Ok(Response::new(())) } else { Err(BoxError::from(Transport::unknown("reset"))) }
            }
        })
    };
    let service = BoxCloneSyncService::new(layer.layer(handler));
    let mut callers = JoinSet::new();
    for caller in 0..1000 {
        let (service, target) = (service.clone(), tools[caller % N].clone());
        callers.spawn(async move {
            while let Err(error) = service.clone().oneshot(Request::new(target.clone(), ())).await {
                let told = error.downcast_ref().and_then(Rejected::delay);
                sleep(told.unwrap_or(SECOND / 10)).await;
            }
        });
    }
    sleep(Duration::from_secs(60 + seed)).await;
    well.store(true, Relaxed);
    while state(&handle, &tools[0], N > 1) != State::Closed {
        sleep(SECOND / 1000).await;
    }
    let mut service = service;
    let mut let_in = 0;
    let mut kept = Vec::new();
    for number in 0..1000 {
        let mut call = service.call(Request::new(tools[number % N].clone(), ()));
        match futures_util::poll!(&mut call) {
            std::task::Poll::Ready(Err(error)) if is_refusal(&error) => {}
            _ => {
                let_in += 1;
                kept.push(call);
            }
        }
    }
    callers.shutdown().await;
    assert!(probes.all.load(Relaxed) > 1, "nothing was probed");
    (probes.most.load(Relaxed), let_in)
}

fn state(handle: &BreakerHandle, target: &Target, upstream: bool) -> State {
    let status = if upstream { handle.upstream(target) } else { handle.target(target) };
    status.map_or(State::Closed, |status| status.state)
}

/// What a handler does in a random life.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Succeed,
    Fail,
    NotSent,
    Throttle,
    Panic,
    Hang,
    /// Says how far it is, and then does this.
    Speak(bool),
}

struct Deaf;

impl Notify for Deaf {
    fn progress(&self, _: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
        Box::pin(async { Ok(()) })
    }
}

/// What became of four tools.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    pub stuck: usize,
    pub at_once: usize,
    pub probed: usize,
    /// Probes whose call was dropped, or panicked.
    pub cut: usize,
}

/// So many steps of a random life, in bad times and in good ones; and then whether each tool can be called again.
pub fn life(seed: u64, steps: u32) -> Life {
    run(async {
        let mut rng = Rng::with_seed(seed);
        let tools: [Arc<Target>; 4] = tools();
        let layer = BreakerLayer::default().seeded(seed);
        let handle = layer.handle();
        let (own, above) = ([0; 4].map(|_| Arc::new(Probes::default())), Arc::new(Probes::default()));
        let cut = Arc::new(AtomicUsize::new(0));
        let service = BoxCloneSyncService::new(layer.layer(handler(&tools, &handle, &own, &above, &cut)));
        let mut calls = Vec::new();
        let mut bad = false;
        for _ in 0..steps {
            if rng.u8(..50) == 0 {
                bad = rng.bool();
            }
            match rng.u8(..10) {
                0..5 => {
                    let mut request = Request::new(tools[rng.usize(..4)].clone(), deed(bad, &mut rng));
                    request.head.peer = Some(Peer::new(Deaf));
                    calls.push(tokio::spawn(service.clone().oneshot(request)));
                }
                5 if !calls.is_empty() => calls.swap_remove(rng.usize(..calls.len())).abort(),
                _ => sleep(Duration::from_millis(rng.u64(..4000))).await,
            }
        }
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        sleep(Duration::from_secs(400)).await;
        let mut stuck = 0;
        for tool in &tools {
            stuck += usize::from(!comes_back(&service, tool).await);
        }
        let most = own.iter().chain([&above]).map(|probes| probes.most.load(Relaxed)).max().unwrap_or(0);
        let probed = own.iter().chain([&above]).map(|probes| probes.all.load(Relaxed)).sum();
        Life { stuck, at_once: most, probed, cut: cut.load(Relaxed) }
    })
}

type Tried = BoxCloneSyncService<Request<Deed>, Response<()>, BoxError>;

/// Whether a tool that answers is let through within the minute.
async fn comes_back(service: &Tried, tool: &Arc<Target>) -> bool {
    let began = Instant::now();
    while began.elapsed() < 60 * SECOND {
        if service.clone().oneshot(Request::new(tool.clone(), Deed::Succeed)).await.is_ok() {
            return true;
        }
        sleep(SECOND).await;
    }
    false
}

fn deed(bad: bool, rng: &mut Rng) -> Deed {
    if !bad && rng.u8(..10) > 0 {
        return Deed::Succeed;
    }
    match rng.u8(..8) {
        0 | 1 => Deed::Fail,
        2 | 3 => Deed::NotSent,
        4 => Deed::Throttle,
        5 => Deed::Panic,
        6 => Deed::Hang,
        _ => Deed::Speak(rng.bool()),
    }
}

/// Counts a probe that has not been decided.
struct Cut {
    cut: Arc<AtomicUsize>,
    decided: bool,
}

impl Drop for Cut {
    fn drop(&mut self) {
        if !self.decided {
            self.cut.fetch_add(1, Relaxed);
        }
    }
}

fn handler(
    tools: &[Arc<Target>; 4],
    handle: &BreakerHandle,
    own: &[Arc<Probes>; 4],
    above: &Arc<Probes>,
    cut: &Arc<AtomicUsize>,
) -> impl Service<Request<Deed>, Response = Response<()>, Error = BoxError, Future: Send + 'static>
+ Clone
+ Send
+ Sync
+ 'static
+ use<> {
    let (tools, handle, own, above, cut) = (tools.clone(), handle.clone(), own.clone(), above.clone(), cut.clone());
    service_fn(move |request: Request<Deed>| {
        let target = &request.head.target;
        let number = tools.iter().position(|tool| Arc::ptr_eq(tool, target)).expect("one of the four");
        let probes = [
            (state(&handle, target, false) == State::HalfOpen).then(|| own[number].begin()),
            (state(&handle, target, true) == State::HalfOpen).then(|| above.begin()),
        ];
        let mut watch = probes.iter().any(Option::is_some).then(|| Cut { cut: cut.clone(), decided: false });
        async move {
            sleep(SECOND / 10).await;
            if let Deed::Speak(_) = request.params {
                let peer = request.head.peer.as_ref().expect("every call has one");
                peer.progress(Progress::new(1.0)).await?;
                // It is decided by this, when its future is next found pending.
                if let Some(watch) = &mut watch {
                    watch.decided = true;
                }
                drop(probes);
                sleep(20 * SECOND).await;
            }
            let outcome = match request.params {
                Deed::Succeed | Deed::Speak(true) => Ok(Response::new(())),
                Deed::Fail | Deed::Speak(false) => Err(BoxError::from(Transport::unknown("reset"))),
                Deed::NotSent => Err(Transport::not_sent("refused").into()),
                Deed::Throttle => Err(HttpStatus::new(429).retry_after(2 * SECOND).into()),
                Deed::Panic => std::panic::resume_unwind(Box::new("as told")),
                Deed::Hang => std::future::pending().await,
            };
            if let Some(watch) = &mut watch {
                watch.decided = true;
            }
            outcome
        }
    })
}
