//! Calls without number, some of which nobody waits for, in front of a handler that does all that a handler may do.

use std::{
    future::{Future, poll_fn},
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use buttress::{
    BoxError, Stack,
    audit::{AuditHandle, AuditLayer},
    cache::CacheLayer,
    call::{Annotations, Caller, ErrorObject, Meta, Method, Request, Response, Served, TargetPolicy},
    catalogue::{Catalogue, Scope},
    coalesce::CoalesceLayer,
    concurrency::ConcurrencyLayer,
    error::Transport,
    hedge::HedgeLayer,
    idempotency::{IdempotencyLayer, InMemory},
    loop_guard::LoopGuardLayer,
    outcome,
    quota::QuotaLayer,
    stack::StackService,
};
use fastrand::Rng;
use governor::Quota;
use metrics_util::debugging::{DebuggingRecorder, Snapshotter};
use tokio::{
    runtime::Runtime,
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::service_fn;

use crate::{
    books::{Books, Calls, Handler, Series},
    trail::Trail,
};

/// A run, and what was counted in it.
pub struct Run {
    pub books: Books,
}

/// What there is beside the layers that every stack has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layers {
    /// Loop guard and hedge.
    Some,
    /// Audit trail, idempotency, cache and coalescing too.
    All,
}

/// As many calls as that, one every millisecond or so.
pub fn run(seed: u64, calls: u32, layers: Layers) -> Run {
    quiet_panics();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    driven(runtime, &snapshotter, World::new(seed, layers, false), calls)
}

/// The same by four threads at once. Their clock runs, so that nothing takes time but backoffs, and nothing happens twice in the
/// same way. Once for each process, as all threads have to share its recorder.
pub fn run_on_threads(seed: u64, calls: u32) -> Run {
    quiet_panics();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    driven(runtime, &snapshotter, World::new(seed, Layers::All, true), calls)
}

fn driven(runtime: Runtime, snapshotter: &Snapshotter, world: World, calls: u32) -> Run {
    let trail = (world.layers == Layers::All).then(Trail::default);
    let audit = trail.clone().map(|trail| AuditLayer::with_capacity(trail, NonZeroUsize::new(calls as usize).unwrap()).unwrap());
    let handle = audit.as_ref().map(AuditLayer::handle);
    let world = Arc::new(Mutex::new(world));
    let catalogue = runtime.block_on(async {
        let catalogue = drive(world.clone(), calls, audit).await;
        flush(handle).await;
        catalogue
    });
    drop(runtime);
    let world = Arc::into_inner(world).unwrap().into_inner().unwrap();
    let trail = trail.map(|trail| trail.counts());
    let series = Series::taken(snapshotter);
    // Until here: with the targets go what is theirs of the gauges that they share.
    drop(catalogue);
    Run { books: Books { calls: world.calls, handler: world.handler, series, trail } }
}

async fn flush(trail: Option<AuditHandle>) {
    if let Some(trail) = trail {
        trail.flush().await;
    }
}

struct World {
    rng: Rng,
    layers: Layers,
    /// Whether the clock runs: then nobody waits for it.
    hurried: bool,
    calls: Calls,
    handler: Handler,
}

impl World {
    fn new(seed: u64, layers: Layers, hurried: bool) -> Self {
        Self { rng: Rng::with_seed(seed), layers, hurried, calls: Calls::default(), handler: Handler::default() }
    }
}

/// Lets time pass, or others come first.
async fn pass(world: &Shared, millis: u64) {
    if !lock(world).hurried {
        return sleep(Duration::from_millis(millis)).await;
    }
    for _ in 0..millis.min(5) {
        tokio::task::yield_now().await;
    }
}

type Shared = Arc<Mutex<World>>;

fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

const TENANTS: u32 = 20;
/// The last is listed, but no label.
const TOOLS: [&str; 8] = ["read/0", "read/1", "read/2", "write/0", "write/1", "sick/0", "sick/1", "a\"b\n"];

/// Gives back whom the calls were made to.
async fn drive(world: Shared, calls: u32, audit: Option<AuditLayer>) -> Catalogue {
    let few = |some| NonZeroU32::new(some).unwrap();
    // Where the clock runs, all is over in seconds.
    let rate = Quota::per_second(few(if lock(&world).hurried { 300 } else { 30 })).allow_burst(few(10));
    let mut stack = Stack::new()
        .quota(QuotaLayer::new().per_tenant(rate).wait(Duration::from_millis(60), 8))
        .loop_guard(LoopGuardLayer::default())
        .hedge(HedgeLayer::new())
        .concurrency(ConcurrencyLayer::new(few(6)).queue(4))
        .attempt_limit(Duration::from_millis(400));
    if let Some(audit) = audit {
        let bytes = NonZeroU64::new(1 << 20).unwrap();
        stack = stack
            .audit(audit)
            .cache(CacheLayer::new(bytes).stale_if_error(Duration::from_secs(60)))
            .coalesce(CoalesceLayer::new())
            .idempotency(IdempotencyLayer::new(InMemory::default()));
    }
    let service = stack.service(service_fn({
        let world = world.clone();
        move |request: Request<u64>| attempt(world.clone(), request)
    }));
    let mut catalogue = Catalogue::new("up");
    for read in TOOLS.iter().filter(|name| !name.starts_with("write")) {
        let policy = TargetPolicy::default().idempotent(true);
        let policy = if read.starts_with("read") { policy.read_only(true).cache_for(Duration::from_millis(20)) } else { policy };
        catalogue = catalogue.tool(*read, policy);
    }
    catalogue.learn(&Method::ToolsCall, Scope::Public, TOOLS.map(|name| (name, Annotations::default())));
    let mut running = JoinSet::new();
    for _ in 0..calls {
        let (call, label) = ask(&mut lock(&world), &catalogue);
        running.spawn(one(world.clone(), service.clone(), call, label));
        let pause = lock(&world).rng.u32(0..4) == 0;
        if pause {
            pass(&world, 3).await;
        }
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
    catalogue
}

/// A call of some tool or other, and the label that it has.
fn ask(World { rng, layers, .. }: &mut World, catalogue: &Catalogue) -> (Request<u64>, &'static str) {
    let place = rng.usize(0..TOOLS.len() + 1);
    let (name, label) = match TOOLS.get(place) {
        Some(name) if place + 1 < TOOLS.len() => ((*name).to_owned(), *name),
        Some(name) => ((*name).to_owned(), "_OTHER"),
        None => (format!("made up {}", rng.u64(..)), "_OTHER"),
    };
    // An agent that asks the same again and again, among others that do not.
    let same = rng.u32(0..10) == 0;
    let tenant = if same { 0 } else { rng.u32(1..TENANTS) };
    // Where answers are kept or shared, others have to ask the same now and then.
    let asks = match layers {
        Layers::Some => rng.u64(..),
        Layers::All => rng.u64(10..20),
    };
    let mut request = Request::new(catalogue.resolve(&Method::ToolsCall, Some(&name), None), if same { 7 } else { asks });
    request.head.caller = Caller::of_tenant(format!("tenant {tenant}"));
    if *layers == Layers::All {
        request.head.caller = request.head.caller.principal("she").access_token(b"hers");
        // Names of logical calls, some of them used again, and for something else.
        if rng.u32(0..4) == 0 {
            let mut meta = Meta::default();
            meta.idempotency_key =
                Some(format!("{label} {} {}", rng.u32(0..400), if rng.u32(0..50) == 0 { 0 } else { asks }).into());
            request.head.meta = Some(Arc::new(meta));
        }
    }
    let left = match rng.u32(0..100) {
        0 => Some(Duration::ZERO),
        1..10 => Some(Duration::from_millis(rng.u64(1..50))),
        _ => None,
    };
    request.head.deadline.soft = left.map(|left| Instant::now() + left);
    (request, label)
}

/// Makes one call, or part of it.
async fn one(world: Shared, service: StackService<u64, String>, call: Request<u64>, label: &'static str) {
    let polls = {
        let rng = &mut lock(&world).rng;
        if rng.u32(0..10) == 0 { rng.u32(0..4) } else { u32::MAX }
    };
    let answer = at_most(polls, service.answer(call)).await;
    let mut world = lock(&world);
    let ends = world.calls.0.entry(label.to_owned()).or_default();
    match answer {
        None => ends.cancelled += 1,
        Some(Err(error)) => panic!("the stack ends in its rescue step: {error}"),
        Some(Ok(response)) => {
            let how = match response.served {
                Served::Shared => Some("shared"),
                Served::Cache { stale: false, .. } => Some("fresh"),
                Served::Cache { stale: true, .. } => Some("stale"),
                Served::Replay => Some("replayed"),
                _ => None,
            };
            how.into_iter().for_each(|how| *ends.served.entry(how).or_default() += 1);
            let by = response.facts.as_ref().and_then(|facts| facts.layer.zip(facts.reason));
            match by {
                Some((layer, reason)) => *ends.refusals.entry((layer, reason.as_str())).or_default() += 1,
                None if response.result.as_ref().is_ok_and(|text| text == "done") => ends.answered += 1,
                None => ends.failed += 1,
            }
        }
    }
}

/// Polls a future so often and no more. `None`: that was not enough, and it is gone.
async fn at_most<F: Future>(polls: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// What a handler does.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answer,
    Code(i64),
    Throttle,
    NotSent,
    Panic,
    Hang,
}

impl Fate {
    fn draw(rng: &mut Rng, sick: bool, hurried: bool) -> Self {
        match rng.u32(0..if sick { 140 } else { 1000 }) {
            55..65 if hurried => Self::Answer,
            0..20 => Self::Code(-32603),
            20..30 => Self::Throttle,
            30..50 => Self::NotSent,
            50..55 => Self::Panic,
            55..65 => Self::Hang,
            65..75 => Self::Code(-32602),
            75..80 => Self::Code(123_456),
            _ => Self::Answer,
        }
    }

    /// What it is called in `error_type` and `rpc_response_status_code`.
    const fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Answer => ("", ""),
            Self::Code(-32603) => ("-32603", "-32603"),
            Self::Code(-32602) => ("-32602", "-32602"),
            Self::Code(_) => ("application_error", "_OTHER"),
            Self::Throttle => ("throttled", ""),
            Self::NotSent => ("not_sent", ""),
            Self::Panic => ("panic", ""),
            Self::Hang => ("timeout", ""),
        }
    }
}

/// An attempt that has reached the handler. Dropped before its end, it is repeated no more.
struct Attempt {
    world: Shared,
    repeated: bool,
    ended: bool,
}

impl Attempt {
    fn ends(&mut self, tool: &str, fate: Fate) {
        self.ended = true;
        let handler = &mut lock(&self.world).handler;
        let (error, code) = fate.labels();
        *handler.ends.entry((tool.to_owned(), error, code)).or_default() += 1;
        if self.repeated {
            match fate {
                // An error of the application's own is an answer.
                Fate::Answer | Fate::Code(123_456) => handler.repeats.good += 1,
                _ => handler.repeats.bad += 1,
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.repeated && !self.ended {
            lock(&self.world).handler.repeats.cut_short += 1;
        }
    }
}

fn attempt(world: Shared, request: Request<u64>) -> impl Future<Output = Result<Response<String>, BoxError>> {
    let tool = request.head.target.label().to_owned();
    let (fate, takes) = {
        let World { rng, handler, hurried, .. } = &mut *lock(&world);
        handler.began += 1;
        handler.spares += u64::from(request.head.spare);
        let takes = if rng.u32(0..40) == 0 { 200 } else { rng.u64(0..5) };
        // The agent that goes in circles asks for what cannot be.
        let fate = if request.params == 7 { Fate::Code(-32602) } else { Fate::draw(rng, tool.starts_with("sick"), *hurried) };
        (fate, takes)
    };
    let repeated = request.head.attempt > 0 && !request.head.spare;
    let mut attempt = Attempt { world, repeated, ended: false };
    async move {
        if takes > 0 {
            pass(&attempt.world, takes).await;
        }
        if matches!(fate, Fate::Hang) {
            std::future::pending::<()>().await;
        }
        attempt.ends(&tool, fate);
        match fate {
            Fate::Code(code) => Ok(Response::from_error(ErrorObject::new(code, "no"))),
            Fate::NotSent => Err(Transport::not_sent("refused").into()),
            Fate::Panic => panic!("planted"),
            Fate::Throttle => {
                outcome::throttled(None);
                Ok(Response::new("not now".to_owned()))
            }
            Fate::Answer | Fate::Hang => Ok(Response::new("done".to_owned())),
        }
    }
}

/// Those that are planted are no news.
fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&"planted") {
                told(panic);
            }
        }));
    });
}
