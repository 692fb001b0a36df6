use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::HedgeLayer;
use crate::{
    breaker::BreakerLayer,
    call::{Admission, Meta, Notify, Peer, Progress, Repeats, Request, Response, Target, Verdict},
    classify::ended,
    concurrency::ConcurrencyLayer,
    error::{BoxError, HttpStatus, Reason, Rejected, Transport},
    retry::{FullJitter, RetryLayer},
    testing::{reading_tool, safe_tool, tool},
};

type Outcome = Result<Response<&'static str>, BoxError>;

const MS: Duration = Duration::from_millis(1);

/// After how long the handler answers, and what.
type Step = (Duration, fn() -> Outcome);

/// What the handler does: as told, else "done" after 10 ms.
#[derive(Clone, Default)]
struct Handler {
    steps: Arc<Mutex<VecDeque<Step>>>,
    heads: Arc<Mutex<Vec<(u32, Admission, bool)>>>,
    alive: Arc<()>,
}

impl Handler {
    fn then(&self, after: Duration, outcome: fn() -> Outcome) {
        self.steps.lock().unwrap().push_back((after, outcome));
    }

    fn calls(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    fn running(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }

    fn service(
        &self,
    ) -> impl Service<Request<()>, Response = Response<&'static str>, Error = BoxError, Future: Send> + Clone + use<> {
        let Self { steps, heads, alive } = self.clone();
        let alive = Arc::downgrade(&alive);
        service_fn(move |request: Request<()>| {
            heads.lock().unwrap().push((request.head.attempt, request.head.admission, request.head.spare));
            let (after, outcome) = steps.lock().unwrap().pop_front().unwrap_or((10 * MS, done));
            let running = alive.upgrade();
            async move {
                sleep(after).await;
                drop(running);
                let _request = request;
                outcome()
            }
        })
    }
}

fn done() -> Outcome {
    Ok(Response::new("done"))
}

fn second() -> Outcome {
    Ok(Response::new("second"))
}

fn reset() -> Outcome {
    Err(Transport::unknown("reset").into())
}

fn refused() -> Outcome {
    Err(Transport::not_sent("refused").into())
}

async fn call<S>(service: &S, target: &Arc<Target>) -> Outcome
where
    S: Service<Request<()>, Response = Response<&'static str>, Error = BoxError> + Clone,
{
    service.clone().oneshot(Request::new(target.clone(), ())).await
}

/// 400 calls of 10 ms: the percentile is known, and the budget is full.
async fn warm<S>(service: &S, target: &Arc<Target>, handler: &Handler)
where
    S: Service<Request<()>, Response = Response<&'static str>, Error = BoxError> + Clone,
{
    for _ in 0..400 {
        call(service, target).await.unwrap();
    }
    handler.heads.lock().unwrap().clear();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_stalls_is_answered_by_the_second_attempt() {
    let (handler, target) = (Handler::default(), safe_tool("t"));
    let layer = HedgeLayer::new();
    let service = layer.layer(handler.service());
    warm(&service, &target, &handler).await;
    handler.then(60_000 * MS, done);
    handler.then(10 * MS, second);
    let began = Instant::now();
    assert!(layer.handle().delay(&target).is_some_and(|delay| (10 * MS..12 * MS).contains(&delay)));
    let response = call(&service, &target).await.unwrap();
    assert_eq!((response.result, response.attempts), (Ok("second"), 2));
    assert!(began.elapsed() < 25 * MS, "{:?}", began.elapsed());
    assert_eq!(handler.running(), 0, "the loser goes on");
    assert_eq!(*handler.heads.lock().unwrap(), [(0, Admission::Wait, false), (1, Admission::NoWait, true)]);
}

fn denied() -> Outcome {
    Err(HttpStatus { code: 403, retry_after: None, in_session: false }.into())
}

fn answered_now() -> Outcome {
    let mut response = Response::new("no");
    (response.verdict, response.completed) = (Some(Verdict::NotSent), Some(Instant::now()));
    Ok(response)
}

/// Whoever asks how long the call took is not told when the first attempt failed.
#[tokio::test(start_paused = true)]
async fn an_answer_that_waited_for_the_other_attempt_is_not_of_its_own_time() {
    let (handler, target) = (Handler::default(), reading_tool("t"));
    let service = HedgeLayer::new().layer(handler.service());
    warm(&service, &target, &handler).await;
    handler.then(100 * MS, answered_now);
    handler.then(400 * MS, refused);
    let outcome = call(&service, &target).await;
    assert_eq!((Verdict::of(&outcome), ended(&outcome)), (Verdict::NotSent, Instant::now()));
}

/// That the call itself is refused is told at once, whichever attempt hears of it.
#[tokio::test(start_paused = true)]
async fn what_no_other_attempt_would_mend_waits_for_none() {
    for (first, then) in [((400, denied as fn() -> Outcome), (60_000, done as _)), ((60_000, done as _), (400, denied as _))] {
        for (target, verdict) in [(reading_tool("t"), Verdict::Denied), (safe_tool("t"), Verdict::AMBIGUOUS)] {
            let handler = Handler::default();
            let service = HedgeLayer::new().layer(handler.service());
            warm(&service, &target, &handler).await;
            handler.then(first.0 * MS, first.1);
            handler.then(then.0 * MS, then.1);
            let began = Instant::now();
            // A write may have been made by the other.
            assert_eq!(Verdict::of(&call(&service, &target).await), verdict);
            assert!(began.elapsed() < 450 * MS, "{:?}", began.elapsed());
            assert_eq!((handler.calls(), handler.running()), (2, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_share_holds_for_services_that_are_there() {
    let (handler, target) = (Handler::default(), safe_tool("t"));
    let layer = HedgeLayer::new();
    let (service, handle) = (layer.layer(handler.service()), layer.handle());
    assert_eq!((handle.share(), handle.earned(&target)), (0.05, None));
    warm(&service, &target, &handler).await;
    assert!(handle.earned(&target).is_some_and(|earned| (19.9..20.1).contains(&earned)));
    assert!(handle.set_share(0.7).is_err() && handle.set_share(f64::NAN).is_err());
    handle.set_share(0.0).unwrap();
    handler.then(100 * MS, done);
    assert_eq!(call(&service, &target).await.unwrap().attempts, 1);
    handle.set_share(0.1).unwrap();
    handler.then(100 * MS, done);
    assert_eq!((call(&service, &target).await.unwrap().attempts, handle.share()), (2, 0.1));
}

#[tokio::test(start_paused = true)]
async fn the_first_may_still_win_and_the_second_is_dropped() {
    let (handler, target) = (Handler::default(), safe_tool("t"));
    let service = HedgeLayer::new().layer(handler.service());
    warm(&service, &target, &handler).await;
    handler.then(15 * MS, done);
    handler.then(60_000 * MS, second);
    let response = call(&service, &target).await.unwrap();
    assert_eq!((response.result, response.attempts, handler.calls(), handler.running()), (Ok("done"), 1, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failure_waits_for_the_other_and_two_failures_are_the_first_ones() {
    let (handler, target) = (Handler::default(), safe_tool("t"));
    let service = HedgeLayer::new().layer(handler.service());
    warm(&service, &target, &handler).await;
    // The first fails while the second is under way; the second, while the first is.
    handler.then(15 * MS, reset);
    handler.then(50 * MS, second);
    assert_eq!(call(&service, &target).await.unwrap().result, Ok("second"));
    handler.then(50 * MS, done);
    handler.then(10 * MS, reset);
    assert_eq!(call(&service, &target).await.unwrap().result, Ok("done"));
    handler.then(15 * MS, refused);
    handler.then(10 * MS, refused);
    let error = call(&service, &target).await.unwrap_err();
    assert_eq!(Verdict::of_error(&*error), Verdict::NotSent);
}

/// Whatever the first says of itself, the second may have done it.
#[tokio::test(start_paused = true)]
async fn the_doubt_of_the_second_is_not_forgotten_by_the_first() {
    let (handler, target) = (Handler::default(), safe_tool("t"));
    let service = HedgeLayer::new().layer(handler.service());
    warm(&service, &target, &handler).await;
    // The first ends before the second, and after it.
    for first in [15, 50] {
        handler.then(first * MS, refused);
        handler.then(10 * MS, reset);
        let error = call(&service, &target).await.unwrap_err();
        assert_eq!((Verdict::of_error(&*error), handler.calls()), (Verdict::AMBIGUOUS, 2), "{first}");
        handler.heads.lock().unwrap().clear();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_safe_or_not_known_is_not_hedged() {
    for target in [tool("t"), crate::catalogue::Catalogue::new("up").resolve(&crate::call::Method::Ping, None, None)] {
        let handler = Handler::default();
        let service = HedgeLayer::new().layer(handler.service());
        warm(&service, &target, &handler).await;
        handler.then(1_000 * MS, done);
        call(&service, &target).await.unwrap();
        assert_eq!(handler.calls(), 1, "{target}");
    }
    // A sender that repeats nothing that takes long leaves that to us.
    for (repeats, attempts) in [(Repeats::All, 1), (Repeats::Unexecuted, 2)] {
        let (handler, target) = (Handler::default(), safe_tool("t"));
        let service = HedgeLayer::new().layer(handler.service());
        warm(&service, &target, &handler).await;
        handler.then(1_000 * MS, done);
        let mut request = Request::new(target, ());
        request.head.meta = Some(Arc::new(Meta { attempt: Some(1), repeats, ..Meta::default() }));
        service.clone().oneshot(request).await.unwrap();
        assert_eq!(handler.calls(), attempts, "{repeats:?}");
    }
    // Too few calls, and no budget.
    let (handler, target) = (Handler::default(), safe_tool("t"));
    let service = HedgeLayer::new().layer(handler.service());
    for _ in 0..30 {
        handler.then(1_000 * MS, done);
        call(&service, &target).await.unwrap();
    }
    assert_eq!(handler.calls(), 30);
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_hedges() {
    let (handler, target) = (Handler::default(), safe_tool("t"));
    let service = HedgeLayer::try_new(0.1).unwrap().layer(handler.service());
    warm(&service, &target, &handler).await;
    // Each of these is worth a hedge, until the percentile knows.
    for _ in 0..200 {
        for _ in 0..2 {
            handler.then(100 * MS, done);
        }
        call(&service, &target).await.unwrap();
    }
    assert!((200..=240).contains(&handler.calls()), "{}", handler.calls());
}

#[tokio::test(start_paused = true)]
async fn a_call_is_retried_or_hedged_whichever_comes_first() {
    let (handler, target) = (Handler::default(), safe_tool("t"));
    let retry = RetryLayer::default().backoff(FullJitter::try_new(30 * MS, 30 * MS, 30 * MS).unwrap().seeded(3));
    let service = HedgeLayer::new().layer(retry.layer(handler.service()));
    warm(&service, &target, &handler).await;
    // Fails before the hedge is due: retried, and however long that takes, not hedged.
    handler.then(MS, reset);
    handler.then(500 * MS, done);
    let response = call(&service, &target).await.unwrap();
    assert_eq!((response.result, response.attempts, handler.calls()), (Ok("done"), 2, 2));
    // Hedged: what fails then is not retried.
    handler.heads.lock().unwrap().clear();
    handler.then(15 * MS, reset);
    handler.then(10 * MS, reset);
    call(&service, &target).await.unwrap_err();
    assert_eq!(handler.calls(), 2);
}

/// A hedge that finds no room costs nothing, and leaves the call to the retry.
#[tokio::test(start_paused = true)]
async fn a_hedge_that_is_refused_leaves_the_turn_to_the_retry() {
    let (handler, target) = (Handler::default(), safe_tool("t"));
    let retry = RetryLayer::default().backoff(FullJitter::default().seeded(3));
    let limit = ConcurrencyLayer::new(std::num::NonZeroU32::MIN);
    let service = HedgeLayer::new().layer(retry.layer(limit.layer(handler.service())));
    warm(&service, &target, &handler).await;
    handler.then(50 * MS, reset);
    let response = call(&service, &target).await.unwrap();
    assert_eq!((response.result, response.attempts, handler.calls()), (Ok("done"), 2, 2));
    assert_eq!(handler.heads.lock().unwrap()[1], (1, Admission::NoWait, false), "the second is the retry's");
}

#[tokio::test(start_paused = true)]
async fn what_a_refused_hedge_cost_is_given_back() {
    let (handler, target, layer) = (Handler::default(), safe_tool("t"), HedgeLayer::new());
    let service = layer.layer(handler.service());
    let limited = layer.layer(ConcurrencyLayer::new(std::num::NonZeroU32::MIN).layer(handler.service()));
    warm(&service, &target, &handler).await;
    warm(&service, &target, &handler).await;
    // As many as there can be tokens, and then one that is let through.
    for _ in 0..22 {
        handler.then(50 * MS, done);
        assert_eq!(call(&limited, &target).await.unwrap().attempts, 1);
    }
    handler.then(60_000 * MS, done);
    assert_eq!(call(&service, &target).await.unwrap().attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_is_not_closed_does_not_probe_with_a_hedge() {
    let (handler, target) = (Handler::default(), safe_tool("t"));
    let service = BreakerLayer::default().seeded(1).layer(handler.service());
    for _ in 0..6 {
        handler.then(MS, reset);
        call(&service, &target).await.unwrap_err();
    }
    advance(600_000 * MS).await;
    let mut hedge = Request::new(target.clone(), ());
    hedge.head.spare = true;
    let error = service.clone().oneshot(hedge).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Rejected>().map(Rejected::reason), Some(Reason::BreakerOpen));
    assert!(call(&service, &target).await.is_ok(), "the probe is left to a call that somebody waits for");
}

struct Deaf;

impl Notify for Deaf {
    fn progress(&self, _progress: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[tokio::test(start_paused = true)]
async fn progress_settles_the_race() {
    let (handler, target) = (Handler::default(), safe_tool("t"));
    let service = HedgeLayer::new().layer(handler.service());
    warm(&service, &target, &handler).await;
    let begin = |peer: &Peer| {
        let mut request = Request::new(target.clone(), ());
        request.head.peer = Some(peer.clone());
        tokio::spawn(service.clone().oneshot(request))
    };
    // Heard of before the hedge is due.
    let peer = Peer::new(Deaf);
    handler.then(50 * MS, done);
    let answered = begin(&peer);
    sleep(5 * MS).await;
    peer.progress(Progress { progress: 1.0, total: None, message: None }).await.unwrap();
    assert_eq!((answered.await.unwrap().unwrap().result, handler.calls()), (Ok("done"), 1));
    // Heard of while both are under way.
    let peer = Peer::new(Deaf);
    handler.then(50 * MS, done);
    handler.then(30 * MS, second);
    let answered = begin(&peer);
    sleep(20 * MS).await;
    assert_eq!(handler.calls(), 3);
    peer.progress(Progress { progress: 1.0, total: None, message: None }).await.unwrap();
    assert_eq!(answered.await.unwrap().unwrap().result, Ok("done"));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_takes_both_attempts_along() {
    let (handler, target) = (Handler::default(), safe_tool("t"));
    let service = HedgeLayer::new().layer(handler.service());
    warm(&service, &target, &handler).await;
    handler.then(1_000 * MS, done);
    handler.then(1_000 * MS, second);
    let call = tokio::time::timeout(50 * MS, call(&service, &target)).await;
    assert!(call.is_err());
    assert_eq!((handler.calls(), handler.running()), (2, 0));
}

#[test]
fn a_share_that_cannot_be_is_refused_and_named() {
    for share in [0.0, -1.0, 0.51, f64::NAN] {
        let error = HedgeLayer::try_new(share).unwrap_err();
        assert!(error.to_string().contains(&share.to_string()) && error.to_string().contains("0.5"), "{error}");
    }
    assert!(HedgeLayer::try_new(0.5).is_ok());
}

/// What is given up was at least so slow: if only answers counted, a tool that stalls would look as fast as it is at its best.
#[tokio::test(start_paused = true)]
async fn attempts_that_are_given_up_count_as_slow() {
    let (handler, target, layer) = (Handler::default(), safe_tool("t"), HedgeLayer::new());
    let service = layer.layer(handler.service());
    warm(&service, &target, &handler).await;
    // The losers of twenty races, and as many slow answers as do not matter by themselves.
    for _ in 0..20 {
        handler.then(1_000 * MS, done);
        handler.then(10 * MS, second);
        assert_eq!(call(&service, &target).await.unwrap().result, Ok("second"));
    }
    assert!(layer.handle().delay(&target).is_some_and(|delay| delay < 12 * MS));
    for n in 0..32 {
        handler.then(if n < 16 { 30 * MS } else { 10 * MS }, done);
        call(&service, &target).await.unwrap();
    }
    assert!(layer.handle().delay(&target).is_some_and(|delay| delay >= 20 * MS), "{:?}", layer.handle().delay(&target));

    // Callers who leave.
    let (handler, target, layer) = (Handler::default(), safe_tool("t"), HedgeLayer::new());
    let service = layer.layer(handler.service());
    warm(&service, &target, &handler).await;
    for _ in 0..60 {
        (0..2).for_each(|_| handler.then(1_000 * MS, done));
        assert!(tokio::time::timeout(50 * MS, call(&service, &target)).await.is_err());
        handler.steps.lock().unwrap().clear();
    }
    assert!(layer.handle().delay(&target).is_some_and(|delay| delay >= 30 * MS), "{:?}", layer.handle().delay(&target));
}

/// What the retry further in repeated took longer than the tool does, so it says nothing of the tool.
#[tokio::test(start_paused = true)]
async fn answers_of_several_attempts_do_not_count() {
    let (handler, target, layer) = (Handler::default(), safe_tool("t"), HedgeLayer::new());
    let service = layer.layer(handler.service());
    for _ in 0..100 {
        handler.then(10 * MS, || {
            let mut response = Response::new("done");
            response.attempts = 2;
            Ok(response)
        });
        call(&service, &target).await.unwrap();
    }
    assert_eq!(layer.handle().delay(&target), None);
    for _ in 0..100 {
        handler.then(10 * MS, reset);
        call(&service, &target).await.unwrap_err();
    }
    assert_eq!(layer.handle().delay(&target), None, "nor do failures");
}
