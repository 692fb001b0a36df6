//! T10: agents in a loop. Fifty agents of one tenant, a fifth of them stuck on a call that fails, a tenth polling, a few who mend
//! their arguments and fail all the same, among other tenants. How much of it reaches the backend, and who suffers?
//!
//! A stuck agent makes its call every 2 s for ten minutes, in one of five ways: the tool says no (`isError`), it does so and the
//! client marks each call as a repetition, it says no in other words each time (when it was asked), the tool breaks (-32603,
//! which leaves the outcome in doubt and counts against the tool), or the agent goes to and fro between two such calls. A poll's
//! answer stays the same for a minute at a time. All others ask for something new each time, of the same tool that the stuck
//! agents call, and the backend is busy enough that a call more is felt.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use buttress::{
    BoxError, Stack, StackService,
    call::{CallParams, CallResult, Caller, Digest, ErrorObject, Facts, Meta, Request, Response, ResultKind, Target, Verdict},
    loop_guard::LoopGuardLayer,
};
use fastrand::Rng;
use tokio::{task::JoinSet, time::Instant};
use tower::service_fn;

use crate::{
    report::{Run, Table, count, ratio, seconds, share},
    world::{Account, Backend, Discipline, Done, Load, Machine, Work, drive, run, seeds, tool},
};

const TEN_MINUTES: Duration = Duration::from_secs(600);
/// Agents get stuck, and others begin, within this time.
const BEGINNING: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_secs(2);
const SIZE: Duration = Duration::from_millis(50);
const AGENTS: usize = 50;
const OTHER_TENANTS: usize = 5;

/// What an agent asks.
#[derive(Debug, Clone)]
enum Ask {
    /// The tool says no.
    Denied(String),
    /// The tool says no, and when.
    Reworded(String),
    /// The tool breaks.
    Broken(String),
    /// How far a job is.
    Status(String),
    /// Anything else.
    New(u64),
}

impl CallParams for Ask {
    fn arguments(&self) -> Option<Digest> {
        Some(Digest::of(format!("{self:?}").as_bytes()))
    }
}

#[derive(Debug, Clone)]
struct Answer {
    text: String,
    is_error: bool,
}

impl CallResult for Answer {
    fn kind(&self) -> ResultKind {
        if self.is_error { ResultKind::ToolError } else { ResultKind::Complete }
    }

    fn digest(&self) -> Option<Digest> {
        Some(Digest::of(self.text.as_bytes()))
    }

    fn tool_error(text: String, _facts: &Facts) -> Result<Self, String> {
        Ok(Self { text, is_error: true })
    }
}

/// What an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Denied,
    Reworded,
    Broken,
    Marking,
    ToAndFro,
    Polling,
    Mending,
    Neighbour,
    OtherTenant,
}

impl Kind {
    const STUCK: [Self; 5] = [Self::Denied, Self::Broken, Self::ToAndFro, Self::Reworded, Self::Marking];

    /// Of fifty agents ten are stuck, five are polling and three mend their arguments; of those beyond fifty each is a tenant of
    /// its own.
    fn of(agent: usize) -> Self {
        match agent {
            0..10 => Self::STUCK[agent % 5],
            10..15 => Self::Polling,
            15..18 => Self::Mending,
            18..AGENTS => Self::Neighbour,
            _ => Self::OtherTenant,
        }
    }
}

/// One call, as its agent saw it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    agent: usize,
    /// The backend answered it.
    answered: bool,
    took: Duration,
}

/// What came of a scenario.
struct Came {
    seen: Vec<Seen>,
    /// How many calls of each agent reached the backend.
    reached: HashMap<usize, usize>,
}

impl Came {
    fn calls(&self, kind: Kind) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(move |seen| Kind::of(seen.agent) == kind)
    }

    fn p99(&self, kinds: &[Kind]) -> f64 {
        Account::of(kinds.iter().flat_map(|kind| self.calls(*kind)).map(|seen| seen.took.as_secs_f64())).percentile(0.99)
    }
}

/// Ten minutes of all agents, with or without those who are stuck.
fn scenario(stack: &Stack, stuck: bool, seed: u64) -> Came {
    run(async {
        let backend = Backend::new(Machine { servers: 2.0, ..Machine::default() }, Discipline::Shared);
        let reached = Arc::new(Mutex::new(HashMap::<usize, usize>::new()));
        let began = Instant::now();
        let service = {
            let (backend, reached) = (backend.clone(), reached.clone());
            stack.service(service_fn(move |call: Request<Ask>| {
                let agent = call.head.caller.agent_name().and_then(|name| name.parse().ok()).unwrap_or(usize::MAX);
                *reached.lock().unwrap_or_else(PoisonError::into_inner).entry(agent).or_default() += 1;
                let work = backend.work(Work::of(SIZE));
                async move {
                    work.await;
                    Ok::<_, BoxError>(answer(&call.params, began))
                }
            }))
        };
        let target = tool("lookup", false);
        let mut agents = JoinSet::new();
        for agent in (if stuck { 0 } else { 10 })..AGENTS + OTHER_TENANTS {
            agents.spawn(live(service.clone(), target.clone(), agent, Rng::with_seed(seed << 8 | agent as u64)));
        }
        let seen = agents.join_all().await.into_iter().flatten().collect();
        let reached = std::mem::take(&mut *reached.lock().unwrap_or_else(PoisonError::into_inner));
        Came { seen, reached }
    })
}

fn answer(ask: &Ask, began: Instant) -> Response<Answer> {
    let said = |text: String, is_error| Response::new(Answer { text, is_error });
    match ask {
        Ask::Denied(what) => said(format!("there is no {what}"), true),
        Ask::Reworded(what) => said(format!("there is no {what} (asked at {:?})", began.elapsed()), true),
        Ask::Broken(what) => Response::from_error(ErrorObject::new(-32603, format!("no {what}"))),
        Ask::Status(job) => said(format!("{job} runs for {} min", began.elapsed().as_secs() / 60), false),
        Ask::New(number) => said(number.to_string(), false),
    }
}

/// An agent's calls. Those of the others come when they come, so that only the backend's state tells how long they take.
async fn live(service: StackService<Ask, Answer>, target: Arc<Target>, agent: usize, mut rng: Rng) -> Vec<Seen> {
    let kind = Kind::of(agent);
    let tenant = if kind == Kind::OtherTenant { format!("tenant {agent}") } else { "acme".to_owned() };
    let caller = Caller::of_tenant(tenant).agent(agent.to_string());
    let begins = BEGINNING.mul_f64(rng.f64());
    let times: Vec<Duration> = match kind {
        Kind::Neighbour => Load::steady(0.5, TEN_MINUTES).arrivals(rng.u64(..)).collect(),
        Kind::OtherTenant => Load::steady(2.0, TEN_MINUTES).arrivals(rng.u64(..)).collect(),
        _ => (0..300).map(|number| EVERY * number).collect(),
    };
    let calls = drive(times.into_iter().map(|at| begins + at), |number| {
        let ask = match kind {
            Kind::Denied | Kind::Marking => Ask::Denied(format!("city {agent}")),
            Kind::Reworded => Ask::Reworded(format!("city {agent}")),
            Kind::Broken => Ask::Broken(format!("city {agent}")),
            Kind::ToAndFro if number % 2 == 0 => Ask::Denied(format!("file {agent}")),
            Kind::ToAndFro => Ask::Denied(format!("directory {agent}")),
            Kind::Polling => Ask::Status(format!("job {agent}")),
            Kind::Mending => Ask::Denied(format!("city {agent}, spelled in way {number}")),
            Kind::Neighbour | Kind::OtherTenant => Ask::New(rng.u64(..)),
        };
        let (service, target, caller) = (service.clone(), target.clone(), caller.clone());
        async move {
            let mut request = Request::new(target, ask);
            request.head.caller = caller;
            if kind == Kind::Marking {
                let mut meta = Meta::default();
                meta.attempt = Some(2);
                request.head.meta = Some(meta.into());
            }
            service.answer(request).await.is_ok_and(|response| response.verdict != Some(Verdict::LocalReject))
        }
    });
    let seen = |done: Done<bool>| Seen { agent, answered: done.value, took: done.ended - done.arrived };
    calls.await.into_iter().map(seen).collect()
}

#[expect(clippy::cast_precision_loss, reason = "no experiment counts to 2^52")]
fn experiment(run: Run, stack: impl Fn() -> Stack + Sync, how_many: u64) {
    let came = seeds(how_many, |seed| (scenario(&stack(), true, seed), scenario(&stack(), false, seed)));
    let columns = ["agents", "calls made", "reached the backend, mean", "worst", "answered", "p99", "p99 / nobody stuck"];
    let mut table = Table::new(run, "T10", "ten minutes among agents in a loop", &columns);
    let both = came.iter().map(|(with, _)| with).collect::<Vec<_>>();
    for (kind, name) in [
        (Kind::Denied, "stuck: the tool says no"),
        (Kind::Reworded, "stuck: the tool says no, in other words each time"),
        (Kind::Marking, "stuck: the tool says no, and each call is marked as a repetition"),
        (Kind::Broken, "stuck: the tool breaks"),
        (Kind::ToAndFro, "stuck: to and fro between two calls"),
        (Kind::Polling, "polling"),
        (Kind::Mending, "mending their arguments"),
        (Kind::Neighbour, "their neighbours in the tenant"),
        (Kind::OtherTenant, "other tenants"),
    ] {
        let agents: Vec<usize> = (0..AGENTS + OTHER_TENANTS).filter(|agent| Kind::of(*agent) == kind).collect();
        let reached = |came: &Came, agent| came.reached.get(agent).copied().unwrap_or_default();
        let per_agent = Account::of(both.iter().flat_map(|came| agents.iter().map(|agent| reached(came, agent) as f64)));
        let calls: Vec<&Seen> = both.iter().flat_map(|came| came.calls(kind)).collect();
        let answered = calls.iter().filter(|seen| seen.answered).count() as f64 / calls.len() as f64;
        let p99 = Account::of(both.iter().map(|came| came.p99(&[kind]))).mean();
        let made = count(calls.len() / both.len() / agents.len());
        let (mean, worst) = (ratio(per_agent.mean()), ratio(per_agent.worst()));
        let agents = count(agents.len());
        match kind {
            Kind::Denied | Kind::Marking | Kind::Reworded | Kind::Broken | Kind::ToAndFro => {
                table.row(name, [agents, made, mean, worst.at_most(15.0), share(answered)]);
            }
            Kind::Polling | Kind::Mending => {
                table.row(name, [agents, made, mean, worst, share(answered).at_least(1.0), seconds(p99)]);
            }
            Kind::Neighbour | Kind::OtherTenant => {
                let alone = Account::of(came.iter().map(|(_, alone)| alone.p99(&[kind]))).mean();
                let times = ratio(p99 / alone).at_most(1.02);
                table.row(name, [agents, made, mean, worst, share(answered).at_least(1.0), seconds(p99), times]);
            }
        }
    }
    table.finish();
}

fn guarded() -> Stack {
    Stack::new().loop_guard(LoopGuardLayer::default())
}

#[test]
fn short() {
    experiment(Run::Short, guarded, 1);
}

#[test]
#[ignore = "torture: whole, in release"]
fn whole() {
    experiment(Run::Whole, guarded, 12);
}

/// Nobody looks: 300 calls an agent, and a breaker that opens for all because of a few.
#[test]
fn planted() {
    experiment(Run::Planted, Stack::new, 1);
}
