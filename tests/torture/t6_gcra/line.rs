//! Calls that wait for their turn, on a runtime's own clock: whole milliseconds.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use buttress::{
    BoxError,
    call::{Admission, Caller, Request, Response},
    error::{Reason, Rejected},
    quota::QuotaLayer,
};
use fastrand::Rng;
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep},
};
use tower::{Layer, Service};

use super::{
    checker::{Findings, Limit},
    limiters::{TowerWindow, nanos, quota, tools},
    plain::DEAREST,
};
use crate::world;

const CHUNKS: u64 = 64;
const MS: u64 = 1_000_000;

/// A call on its way: its number among those that arrived, whose it is, its cost, and whether it turns out not to be sent.
#[derive(Debug, Clone, Copy)]
struct Call {
    number: usize,
    tenant: usize,
    cost: u32,
    /// How long it is under way until then.
    shed_after: Option<u64>,
}

/// What reached the handler, in that order, and when.
type Book = Arc<Mutex<Vec<(Call, u64)>>>;

#[derive(Clone)]
struct Handler {
    book: Book,
    began: Instant,
}

impl Service<Request<Call>> for Handler {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Call>) -> Self::Future {
        let call = request.params;
        self.book.lock().unwrap_or_else(PoisonError::into_inner).push((call, nanos(self.began.elapsed())));
        Box::pin(async move {
            if let Some(after) = call.shed_after {
                sleep(Duration::from_millis(after)).await;
                return Err(Rejected::new("concurrency", Reason::QueueFull).into());
            }
            Ok(Response::new(()))
        })
    }
}

/// Wrong is a call that overtakes another under the only limit that there is.
pub fn run(sequences: u64) -> Findings {
    let callers: Vec<Caller> = ["a", "b", "c", "d"].map(Caller::of_tenant).into();
    let chunk = |seed| {
        world::run(async {
            let mut rng = Rng::with_seed(seed);
            let mut findings = Findings::default();
            for _ in 0..sequences.div_ceil(CHUNKS) {
                sequence(&mut rng, &mut findings, &callers).await;
                findings.sequences += 1;
            }
            findings
        })
    };
    Findings::merge(world::seeds(CHUNKS, chunk))
}

fn limit(rng: &mut Rng) -> Limit {
    Limit { period_ns: rng.u64(1..50) * MS, burst: rng.u32(1..DEAREST) }
}

fn gap(rng: &mut Rng, limit: Limit) -> Duration {
    Duration::from_millis(match rng.u8(0..10) {
        0..5 => 0,
        5..9 => rng.u64(0..=limit.period_ns / MS),
        _ => rng.u64(0..=2 * limit.period_ns / MS * u64::from(limit.burst)),
    })
}

async fn sequence(rng: &mut Rng, findings: &mut Findings, callers: &[Caller]) {
    // A target remembers every layer that it has met: new ones for each.
    let tools = tools(DEAREST);
    let (own, shared) = (rng.bool().then(|| limit(rng)), limit(rng));
    let layer = QuotaLayer::new().overall(quota(shared));
    let layer = own.map_or(layer.clone(), |own| layer.per_tenant(quota(own)));
    let patience = Duration::from_nanos(shared.period_ns * rng.u64(1..30));
    let layer = layer.wait(patience, rng.u32(1..20));
    let handler = Handler { book: Book::default(), began: Instant::now() };
    let (book, mut service) = (handler.book.clone(), layer.layer(handler));
    let mut calls: Vec<AbortHandle> = Vec::new();
    for number in 0..rng.usize(4..40) {
        sleep(gap(rng, own.unwrap_or(shared))).await;
        let call = Call {
            number,
            tenant: rng.usize(0..callers.len()),
            cost: if rng.bool() { 1 } else { rng.u32(1..=shared.burst) },
            shed_after: (rng.u8(0..6) == 0).then(|| rng.u64(0..100)),
        };
        let mut request = Request::new(tools[call.cost as usize - 1].clone(), call);
        request.head.caller = callers[call.tenant].clone();
        if rng.u8(0..8) == 0 {
            request.head.admission = Admission::NoWait;
        }
        calls.push(tokio::spawn(service.call(request)).abort_handle());
        if rng.u8(0..5) == 0 {
            // In the line it leaves it; at the handler it stays counted.
            calls[rng.usize(0..calls.len())].abort();
        }
        findings.calls += 1;
    }
    sleep(patience + Duration::from_secs(1)).await;
    assert_eq!(layer.handle().waiting(), 0, "somebody still waits");
    let book = std::mem::take(&mut *book.lock().unwrap_or_else(PoisonError::into_inner));
    if own.is_none() {
        findings.wrong += book.windows(2).filter(|pair| pair[0].0.number > pair[1].0.number).count();
    }
    let sent = |tenant: Option<usize>| {
        let sent = book.iter().filter(|(call, _)| call.shed_after.is_none() && tenant.is_none_or(|tenant| call.tenant == tenant));
        sent.map(|(call, at)| (*at, call.cost)).collect::<Vec<_>>()
    };
    findings.check(shared, sent(None));
    if let Some(own) = own {
        (0..callers.len()).for_each(|tenant| findings.check(own, sent(Some(tenant))));
    }
}

/// tower's rate limit reads the runtime's clock too, and knows no cost.
pub fn tower(sequences: u64, make: impl Fn(Limit) -> TowerWindow + Sync) -> Findings {
    let chunk = |seed| {
        world::run(async {
            let mut rng = Rng::with_seed(seed);
            let mut findings = Findings::default();
            for _ in 0..sequences.div_ceil(CHUNKS) {
                let limit = limit(&mut rng);
                let (mut limiter, began, mut sent) = (make(limit), Instant::now(), Vec::new());
                for _ in 0..rng.usize(4..40) {
                    sleep(gap(&mut rng, limit)).await;
                    findings.calls += 1;
                    if limiter.passes() {
                        sent.push((nanos(began.elapsed()), 1));
                    }
                }
                findings.sequences += 1;
                findings.check(limit, sent);
            }
            findings
        })
    };
    Findings::merge(world::seeds(CHUNKS, chunk))
}
