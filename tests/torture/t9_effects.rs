//! T9: what a call has done, and what its caller is told. Two tenants, every fault, callers who leave at every poll.
//!
//! The backend counts the effects of each logical call. Whoever is told of a success must have had exactly one; whoever is told
//! that nothing was done, none; whoever is told that nobody knows, one at most. So it must be with retries, hedges, coalescing
//! and the cache on, with callers who leave whenever they like, and with those who send a call again under its idempotency key.
//!
//! Each case comes twice: by itself, for every fault and with its caller leaving at every poll; and in a storm of calls that meet
//! faults and leave at random. Calls of the tools that may be repeated have as many effects as they like; they are here for the
//! layers that only they meet, whose answers must not reach the other tenant and whose waiters must not hang.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    num::NonZeroU64,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use buttress::{
    BoxError, Stack, StackService,
    breaker::BreakerLayer,
    cache::CacheLayer,
    call::{
        Annotations, CallParams, CallResult, Caller, Digest, Facts, Meta, Method, Request, Response, ResultKind, Target,
        TargetPolicy, Verdict,
    },
    catalogue::{Catalogue, Scope},
    coalesce::CoalesceLayer,
    deadline::Limits,
    error::Reason,
    fault::{Fault, FaultHandle, FaultLayer, Lost, Plan, Trouble},
    hedge::HedgeLayer,
    idempotency::{IdempotencyLayer, InMemory},
    retry::{FullJitter, RetryLayer},
};
use fastrand::Rng;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::time::{Instant, sleep};
use tower::service_fn;

use crate::{
    report::{Run, Table, count, seconds},
    world::{Load, drive, run, seeds},
};

const MEGABYTE: NonZeroU64 = NonZeroU64::new(1 << 20).unwrap();
const MS: Duration = Duration::from_millis(1);
/// How long a call may take, and an attempt after which another may follow.
const CALL: Duration = Duration::from_secs(5);
const ATTEMPT: Duration = Duration::from_secs(1);
/// The most that a call may take longer.
const LATE: Duration = Duration::from_millis(50);

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Tool {
    /// Says nothing about itself: a second call may be a second effect.
    Pay,
    /// The same, called under an idempotency key, and sent again by its caller.
    PayUnderKey,
    /// Safe to repeat, by the operator's word.
    Put,
    /// Only reads, and may be kept.
    Look,
}

impl Tool {
    const ALL: [Self; 4] = [Self::Pay, Self::PayUnderKey, Self::Put, Self::Look];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::PayUnderKey => "pay under a key",
            Self::Put => "put",
            Self::Look => "look",
        }
    }

    /// Whether its effects are counted against it.
    const fn once(self) -> bool {
        matches!(self, Self::Pay | Self::PayUnderKey)
    }
}

/// What a caller sends.
#[derive(Debug, Clone)]
struct Ask {
    /// The logical call.
    number: usize,
    /// What the server sees: for a look, one of a few things that both tenants look at.
    what: String,
    tenant: usize,
}

impl CallParams for Ask {
    fn arguments(&self) -> Option<Digest> {
        Some(Digest::of(self.what.as_bytes()))
    }
}

/// What it is answered: whose it is.
#[derive(Debug, Clone)]
enum Answer {
    Of {
        tenant: usize,
    },
    /// By the stack. `in_progress`: because another call under the key was.
    Refused {
        in_progress: bool,
    },
}

impl CallResult for Answer {
    fn kind(&self) -> ResultKind {
        match self {
            Self::Of { .. } => ResultKind::Complete,
            Self::Refused { .. } => ResultKind::ToolError,
        }
    }

    fn tool_error(_text: String, facts: &Facts) -> Result<Self, String> {
        Ok(Self::Refused { in_progress: facts.reason == Some(Reason::InProgress) })
    }
}

/// The backend's account.
#[derive(Debug, Clone, Default)]
struct Backend(Arc<Mutex<Account>>);

#[derive(Debug, Default)]
struct Account {
    effects: HashMap<usize, usize>,
    at_work: usize,
    /// When the caller of each call left.
    left: HashMap<usize, Instant>,
    /// How long the backend worked on for a caller who had left.
    worst: Duration,
}

impl Backend {
    fn lock(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works for 50 ms, with its effect in the middle.
    async fn work(self, ask: Ask) -> Result<Response<Answer>, BoxError> {
        self.lock().at_work += 1;
        let _at_work = AtWork { backend: self.clone(), number: ask.number };
        sleep(20 * MS).await;
        *self.lock().effects.entry(ask.number).or_default() += 1;
        sleep(30 * MS).await;
        Ok(Response::new(Answer::Of { tenant: ask.tenant }))
    }
}

/// The backend works on a call. Dropped: it is done, or has been told to stop.
struct AtWork {
    backend: Backend,
    number: usize,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut account = self.backend.lock();
        account.at_work -= 1;
        if let Some(left) = account.left.get(&self.number) {
            account.worst = account.worst.max(left.elapsed());
        }
    }
}

/// A stack around a backend, and what steers both.
struct Scene {
    service: StackService<Ask, Answer>,
    backend: Backend,
    faults: FaultHandle,
    keys: InMemory,
    targets: HashMap<Tool, Arc<Target>>,
}

impl Scene {
    /// `careless`: the operator says of the tool that pays that it may be repeated, which it may not.
    fn new(seed: u64, careless: bool) -> Self {
        let (backend, keys, fault) = (Backend::default(), InMemory::default(), FaultLayer::seeded(seed));
        let stack = Stack::new()
            .deadline(Limits::at_most(CALL))
            .attempt_limit(ATTEMPT)
            .idempotency(IdempotencyLayer::new(keys.clone()))
            .retry(RetryLayer::default().backoff(FullJitter::default().seeded(seed)))
            .cache(CacheLayer::new(MEGABYTE))
            .coalesce(CoalesceLayer::new())
            .hedge(HedgeLayer::new())
            .breaker(BreakerLayer::default().seeded(seed))
            .fault(fault.clone());
        let service = {
            let backend = backend.clone();
            stack.service(service_fn(move |call: Request<Ask>| backend.clone().work(call.params)))
        };
        let policy = TargetPolicy::default;
        let catalogue = Catalogue::new("upstream")
            .tool(Tool::Pay.as_str(), if careless { policy().idempotent(true) } else { policy() })
            .tool(Tool::PayUnderKey.as_str(), policy())
            .tool(Tool::Put.as_str(), policy().idempotent(true))
            .tool(Tool::Look.as_str(), policy().idempotent(true).cache_for(Duration::from_secs(1)))
            .trust_annotations();
        let reads = Annotations::default().read_only(true);
        catalogue.learn(&Method::ToolsCall, Scope::Public, [(Tool::Look.as_str(), reads)]);
        let resolve = |tool: Tool| catalogue.resolve(&Method::ToolsCall, Some(tool.as_str()), None);
        let targets = Tool::ALL.map(|tool| (tool, resolve(tool))).into();
        Self { service, backend, faults: fault.handle(), keys, targets }
    }

    fn request(&self, tool: Tool, number: usize) -> Request<Ask> {
        let tenant = number % 2;
        let what = if tool == Tool::Look { (number / 2 % 3).to_string() } else { number.to_string() };
        let mut request = Request::new(self.targets[&tool].clone(), Ask { number, what, tenant });
        request.head.caller = Caller::of_tenant(tenant.to_string()).access_token(tenant.to_string().as_bytes());
        if tool == Tool::PayUnderKey {
            let mut meta = Meta::default();
            meta.idempotency_key = Some(number.to_string().into());
            request.head.meta = Some(Arc::new(meta));
        }
        request
    }

    /// Makes a call, and leaves as `leave` says. A look, and a call under a key, may go on for others who want the same.
    fn call(&self, tool: Tool, number: usize, leave: Leave) -> impl Future<Output = Told> + Send + 'static + use<> {
        let (request, service, backend) = (self.request(tool, number), self.service.clone(), self.backend.clone());
        async move {
            let (tenant, began) = (request.params.tenant, Instant::now());
            let ended = leave.along(async move { service.answer(request).await }, || {
                if matches!(tool, Tool::Pay | Tool::Put) {
                    backend.lock().left.insert(number, Instant::now());
                }
            });
            let told = ended.await.map(|outcome| Told::of(&outcome, tenant));
            match told {
                Some(told) if began.elapsed() <= CALL + LATE => told,
                Some(_) => Told::Hung,
                None => Told::Left,
            }
        }
    }
}

/// When a caller leaves.
#[derive(Debug, Clone, Copy)]
enum Leave {
    Never,
    /// Right after this many polls.
    Polls(usize),
    After(Duration),
}

impl Leave {
    /// `None`: its caller has left, and said so right before.
    async fn along<F: Future>(self, call: F, leaves: impl FnOnce()) -> Option<F::Output> {
        let mut call = pin!(call);
        let ended = match self {
            Self::Never => return Some(call.await),
            Self::After(after) => tokio::select! {
                biased;
                outcome = call.as_mut() => Some(outcome),
                () = sleep(after) => None,
            },
            Self::Polls(polls) => {
                let mut made = 0;
                poll_fn(|cx| {
                    if made == polls {
                        return Poll::Ready(None);
                    }
                    made += 1;
                    match call.as_mut().poll(cx) {
                        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                        Poll::Pending if made == polls => Poll::Ready(None),
                        Poll::Pending => Poll::Pending,
                    }
                })
                .await
            }
        };
        if ended.is_none() {
            leaves();
        }
        ended
    }
}

/// What a caller is told, in the order in which what it knows of one call adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Refused,
    Left,
    Unknown,
    Claimed,
    Foreign,
    Hung,
}

impl Told {
    fn of(outcome: &Result<Response<Answer>, BoxError>, tenant: usize) -> Self {
        match (Verdict::of(outcome), outcome.as_ref().map(|response| &response.result)) {
            (_, Ok(Ok(Answer::Of { tenant: of }))) if *of != tenant => Self::Foreign,
            (Verdict::Ok, Ok(Ok(Answer::Of { .. }))) => Self::Claimed,
            (Verdict::Throttled { .. } | Verdict::NotSent | Verdict::Denied | Verdict::SessionLost, _) => Self::Refused,
            // The first call under the key has not been answered: nothing is said of that one.
            (Verdict::LocalReject, Ok(Ok(Answer::Refused { in_progress: true }))) => Self::Unknown,
            (Verdict::LocalReject, _) => Self::Refused,
            _ => Self::Unknown,
        }
    }
}

/// What came of some logical calls of one tool.
#[derive(Debug, Clone, Copy)]
struct Tally {
    calls: usize,
    claimed: usize,
    claimed_least: usize,
    claimed_most: usize,
    refused: usize,
    refused_most: usize,
    unknown: usize,
    unknown_most: usize,
    foreign: usize,
    hung: usize,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            calls: 0,
            claimed: 0,
            claimed_least: usize::MAX,
            claimed_most: 0,
            refused: 0,
            refused_most: 0,
            unknown: 0,
            unknown_most: 0,
            foreign: 0,
            hung: 0,
        }
    }
}

impl Tally {
    fn add(&mut self, told: Told, effects: usize) {
        self.calls += 1;
        match told {
            Told::Claimed => {
                self.claimed += 1;
                self.claimed_least = self.claimed_least.min(effects);
                self.claimed_most = self.claimed_most.max(effects);
            }
            Told::Refused => {
                self.refused += 1;
                self.refused_most = self.refused_most.max(effects);
            }
            Told::Unknown | Told::Left => {
                self.unknown += 1;
                self.unknown_most = self.unknown_most.max(effects);
            }
            Told::Foreign => self.foreign += 1,
            Told::Hung => self.hung += 1,
        }
    }

    fn join(&mut self, other: &Self) {
        self.calls += other.calls;
        self.claimed += other.claimed;
        self.claimed_least = self.claimed_least.min(other.claimed_least);
        self.claimed_most = self.claimed_most.max(other.claimed_most);
        self.refused += other.refused;
        self.refused_most = self.refused_most.max(other.refused_most);
        self.unknown += other.unknown;
        self.unknown_most = self.unknown_most.max(other.unknown_most);
        self.foreign += other.foreign;
        self.hung += other.hung;
    }
}

/// What came of a scenario.
#[derive(Debug, Default)]
struct Came {
    tallies: HashMap<Tool, Tally>,
    doubts: usize,
    /// Of each row of [`WORK`]: how often.
    worked: [usize; WORK.len()],
    left_behind: usize,
    cancelled: Duration,
}

/// What the layers must have done for the rest to prove anything: a row's name, the counter, and the value of one of its labels.
const WORK: [(&str, &str, Option<&str>); 4] = [
    ("hedges that won", "buttress_hedges_total", Some("won")),
    ("calls that joined another", "buttress_coalesced_calls_total", None),
    ("answers from the cache", "buttress_cache_lookups_total", Some("hit")),
    ("answers that a key replayed", "buttress_idempotency_hits_total", Some("done")),
];

impl Came {
    fn join(&mut self, other: &Self) {
        for (tool, tally) in &other.tallies {
            self.tallies.entry(*tool).or_default().join(tally);
        }
        self.doubts += other.doubts;
        self.worked.iter_mut().zip(other.worked).for_each(|(sum, more)| *sum += more);
        self.left_behind += other.left_behind;
        self.cancelled = self.cancelled.max(other.cancelled);
    }

    fn count(&mut self, scene: &Scene, told: HashMap<(Tool, usize), Told>) {
        let account = scene.backend.lock();
        for ((tool, number), told) in told {
            let effects = account.effects.get(&number).copied().unwrap_or_default();
            self.tallies.entry(tool).or_default().add(told, effects);
        }
        self.left_behind += account.at_work + scene.keys.running();
        self.cancelled = self.cancelled.max(account.worst);
    }
}

/// Runs a scenario with a recorder of its own: what it leaves on the gauges, it has left behind.
fn watched(scenario: impl Future<Output = Came>) -> Came {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let mut came = metrics::with_local_recorder(&recorder, || run(scenario));
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let label = |wanted| key.key().labels().any(|label| label.key() == "fault" && label.value() == wanted);
        let is = |(_, name, wanted): &(&str, &str, Option<&str>)| {
            let labelled = |wanted: &str| key.key().labels().any(|label| label.value() == wanted);
            key.key().name() == *name && wanted.is_none_or(labelled)
        };
        if let (Some(row), DebugValue::Counter(times)) = (WORK.iter().position(is), &value) {
            came.worked[row] += usize::try_from(*times).unwrap_or(usize::MAX);
        }
        match value {
            DebugValue::Gauge(level) => {
                let in_use = ["_in_flight", "_queue_length"].iter().any(|end| key.key().name().ends_with(end));
                came.left_behind += usize::from(in_use && level.into_inner() != 0.0);
            }
            DebugValue::Counter(times) if ["internal_error", "unavailable", "reset", "hang", "panic"].into_iter().any(label) => {
                came.doubts += usize::try_from(times).unwrap_or(usize::MAX);
            }
            DebugValue::Counter(_) | DebugValue::Histogram(_) => {}
        }
    }
    came
}

fn faults() -> Vec<Option<Fault>> {
    let throttled = Fault::Throttled { retry_after: None };
    let refused = [throttled, Fault::NotSent, Fault::TooEarly, Fault::Unauthorized, Fault::Forbidden, Fault::SessionLost];
    let failed = [Fault::ToolError, Fault::InternalError, Fault::Unavailable, Fault::Reset, Fault::Hang, Fault::Panic];
    let both = |fault: fn(Lost) -> Fault| [fault(Lost::Request), fault(Lost::Answer)];
    let all = refused.into_iter().chain(failed.into_iter().flat_map(both));
    [None].into_iter().chain(all.map(Some)).collect()
}

/// One call by itself, meeting this fault at every other attempt or so, or at each; its caller leaves at every poll in turn. One
/// under a key is sent again afterwards.
fn alone(tool: Tool, fault: Option<Fault>, slow: bool, careless: bool) -> Came {
    let mut came = Came::default();
    for polls in 0.. {
        let mut ended = false;
        for (seed, share) in [(0, 0.6), (1, 0.6), (2, 1.0)] {
            came.join(&watched(async {
                let scene = Scene::new(seed, careless);
                let trouble = Trouble::new(fault.map(|fault| (fault, share))).expect("a share");
                let slow = if slow { 2.0 } else { 0.0 };
                let trouble = trouble.slow(1.0, Duration::ZERO, Duration::from_secs_f64(slow)).expect("a delay");
                scene.faults.inject(Plan::all(trouble));
                let mut told = scene.call(tool, 0, Leave::Polls(polls)).await;
                ended |= told != Told::Left;
                if tool == Tool::PayUnderKey && told != Told::Claimed {
                    told = told.max(scene.call(tool, 0, Leave::Never).await);
                }
                // Whatever is still on its way has its time to arrive.
                sleep(CALL).await;
                let mut came = Came::default();
                came.count(&scene, HashMap::from([((tool, 0), told)]));
                came
            }));
        }
        if ended && polls > 2 || polls > 200 {
            break;
        }
    }
    came
}

/// Calls of all tools and of both tenants, whose callers leave as they like. Those under a key are sent twice at once now and
/// then, and again until their caller has an answer, thrice at most.
fn storm(seed: u64, lasts: Duration, careless: bool) -> Came {
    watched(async move {
        let scene = Scene::new(seed, careless);
        let faults: Vec<_> = faults().into_iter().flatten().collect();
        let share = 0.3 / faults.len() as f64;
        let trouble = Trouble::new(faults.into_iter().map(|fault| (fault, share))).expect("shares");
        scene.faults.inject(Plan::all(trouble.slow(0.3, Duration::ZERO, 2000 * MS).expect("a delay")));
        let mut rng = Rng::with_seed(seed);
        let calls = drive(Load::steady(40.0, lasts).arrivals(seed), |number| {
            let tool = Tool::ALL[rng.usize(..Tool::ALL.len())];
            let mut leave = || match rng.u32(..100) {
                0..15 => Leave::After(Duration::from_secs_f64(rng.f64() * rng.f64() * 3.0)),
                15..25 => Leave::Polls(rng.usize(..12)),
                _ => Leave::Never,
            };
            let leaves = [leave(), leave(), leave()];
            let twice = tool == Tool::PayUnderKey && rng.bool();
            let calls = leaves.map(|leave| scene.call(tool, number, leave));
            async move {
                let [first, second, third] = calls;
                let told = match tool {
                    Tool::PayUnderKey if twice => {
                        let (first, second) = tokio::join!(first, second);
                        first.max(second).max(third.await)
                    }
                    Tool::PayUnderKey => first.await.max(second.await).max(third.await),
                    _ => first.await,
                };
                ((tool, number), told)
            }
        });
        let told = calls.await.into_iter().map(|done| done.value).collect();
        sleep(CALL).await;
        let mut came = Came::default();
        came.count(&scene, told);
        came
    })
}

fn experiment(run: Run, storms: u64, lasts: Duration, careless: bool) {
    let cases: Vec<(Tool, Option<Fault>, bool)> = Tool::ALL
        .into_iter()
        .flat_map(|tool| faults().into_iter().flat_map(move |fault| [(tool, fault, false), (tool, fault, true)]))
        .collect();
    let mut came = Came::default();
    let all = seeds(cases.len() as u64 + storms, |number| {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        match cases.get(number) {
            Some(&(tool, fault, slow)) => alone(tool, fault, slow, careless),
            None => storm((number - cases.len()) as u64, lasts, careless),
        }
    });
    all.iter().for_each(|one| came.join(one));

    let columns = [
        "calls",
        "foreign answers",
        "hung",
        "claimed",
        "effects, least",
        "most",
        "refused",
        "effects",
        "unknown, or left",
        "effects, most",
    ];
    let mut table = Table::new(run, "T9", "what calls have done, and what their callers are told", &columns);
    for tool in Tool::ALL {
        let tally = came.tallies.get(&tool).copied().unwrap_or_default();
        let mut figures = vec![count(tally.calls), count(tally.foreign).at_most(0.0), count(tally.hung).at_most(0.0)];
        figures.push(count(tally.claimed).at_least(1.0));
        if tool.once() {
            figures.extend([count(tally.claimed_least).at_least(1.0), count(tally.claimed_most).at_most(1.0)]);
            figures.extend([count(tally.refused).at_least(1.0), count(tally.refused_most).at_most(0.0)]);
            figures.extend([count(tally.unknown).at_least(1.0), count(tally.unknown_most).at_most(1.0)]);
        }
        table.row(tool.as_str(), figures);
    }
    table.row("faults that leave a doubt", [count(came.doubts).at_least(1.0)]);
    for ((name, ..), times) in WORK.into_iter().zip(came.worked) {
        table.row(name, [count(times).at_least(1.0)]);
    }
    table.row("left behind: work, keys, gauges", [count(came.left_behind).at_most(0.0)]);
    table.row("the backend hears that a caller has left within", [seconds(came.cancelled.as_secs_f64()).at_most(0.01)]);
    table.finish();
}

#[test]
fn short() {
    experiment(Run::Short, 2, Duration::from_secs(20), false);
}

#[test]
#[ignore = "torture: whole, in release"]
fn whole() {
    experiment(Run::Whole, 40, Duration::from_secs(300), false);
}

/// The operator says of a tool that pays that it may be repeated; so does a retry that does not ask.
#[test]
fn planted() {
    experiment(Run::Planted, 1, Duration::from_secs(20), true);
}
