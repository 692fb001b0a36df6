use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::{Coalesce, CoalesceLayer};
use crate::{
    call::{
        Admission, Caller, Criticality, Deadline, ErrorObject, HARD_TIMEOUT_KEY, Meta, Method, Notify, Peer, Progress, Repeats,
        Request, Response, Served, TIMEOUT_KEY, Target, TargetPolicy, Verdict,
    },
    catalogue::Catalogue,
    classify::code,
    error::{BoxError, Clock, Panicked, Reason, Rejected, SharedFailure, TimedOut, Transport, find},
    outcome::Word,
    testing::{Outcome, Script, Step, reading_tool, safe_tool, tool},
    timeout::TimeoutLayer,
};

const SECOND: Duration = Duration::from_secs(1);

fn layer() -> CoalesceLayer {
    CoalesceLayer::new().single_caller()
}

fn after(delay: Duration) -> Step {
    Step::After(delay, Ok(Response::new("answered")))
}

fn asks(target: &Arc<Target>) -> Request<()> {
    Request::new(target.clone(), ())
}

fn until(target: &Arc<Target>, end: Duration) -> Request<()> {
    let mut request = asks(target);
    request.head.deadline = Deadline { soft: Some(request.head.arrived + end), ..Deadline::default() };
    request
}

/// A call, boxed so that it can be dropped.
fn boxed(service: &mut Coalesce<Script>, request: Request<()>) -> Pin<Box<impl Future<Output = Outcome> + use<>>> {
    Box::pin(service.call(request))
}

fn is_pending<F: Future>(future: &mut Pin<Box<F>>) -> bool {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

/// 10,000 callers who miss at once are one call.
#[tokio::test(start_paused = true)]
async fn a_herd_is_one_call() {
    let (script, target, layer) = (Script::new([after(SECOND)]), reading_tool("t"), layer());
    let service = layer.layer(script.clone());
    let calls = (0..10_000).map(|_| tokio::spawn(service.clone().oneshot(asks(&target))));
    let outcomes: Vec<Outcome> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let served = |served| outcomes.iter().filter(|outcome| outcome.as_ref().unwrap().served == served).count();
    assert_eq!((served(Served::Attempt), served(Served::Shared)), (1, 9_999));
    assert_eq!((script.calls(), layer.handle().under_way()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_call_outlives_the_first_and_dies_with_the_last() {
    let alive = Arc::new(());
    let handler = {
        let alive = alive.clone();
        service_fn(move |_: Request<()>| {
            let held = alive.clone();
            async move {
                sleep(SECOND).await;
                drop(held);
                Ok::<_, BoxError>(Response::new("answered"))
            }
        })
    };
    let (layer, target) = (layer(), reading_tool("t"));
    let mut service = layer.layer(handler);
    let mut calls: Vec<_> = (0..3).map(|_| Box::pin(service.call(asks(&target)))).collect();
    assert!(calls.iter_mut().all(is_pending));
    let last = calls.pop().unwrap();
    drop(calls);
    // Held here, by the service, by the call under way, and by the last for a call of its own.
    assert_eq!((Arc::strong_count(&alive), layer.handle().under_way()), (4, 1));
    let response = last.await.unwrap();
    assert_eq!((response.result, response.served), (Ok("answered"), Served::Shared));

    let mut calls: Vec<_> = (0..3).map(|_| Box::pin(service.call(asks(&target)))).collect();
    assert!(calls.iter_mut().all(is_pending));
    drop(calls);
    assert_eq!((Arc::strong_count(&alive), layer.handle().under_way()), (2, 0), "nobody waits, and yet the call goes on");
}

/// What had been under way when a call came may be shared; what has ended may not.
#[tokio::test(start_paused = true)]
async fn who_comes_after_the_end_makes_a_call_of_its_own() {
    let (script, target) = (Script::new([after(SECOND), after(SECOND)]), reading_tool("t"));
    let mut service = layer().layer(script.clone());
    let (mut first, mut idle) = (boxed(&mut service, asks(&target)), boxed(&mut service, asks(&target)));
    assert!(is_pending(&mut first) && is_pending(&mut idle));
    first.await.unwrap();
    // The other one has not looked yet, so the answer is still kept for it.
    service.call(asks(&target)).await.unwrap();
    assert_eq!(script.calls(), 2);
    assert_eq!(idle.await.unwrap().served, Served::Shared);
}

/// Who joins fares as the first does: so the first must not fare worse than who joins would have.
#[tokio::test(start_paused = true)]
async fn nobody_joins_a_call_that_fares_worse() {
    type Change = fn(&mut Request<()>);
    let changes: [(&str, Change); 5] = [
        ("sheddable", |first| first.head.caller = first.head.caller.clone().criticality(Criticality::Sheddable)),
        ("must not wait", |first| first.head.admission = Admission::NoWait),
        ("spare", |first| first.head.spare = true),
        ("the sender repeats it", |first| {
            first.head.meta = Some(Arc::new(Meta { attempt: Some(1), ..Meta::default() }));
        }),
        ("the sender repeats some of it", |first| {
            first.head.meta = Some(Arc::new(Meta { attempt: Some(1), repeats: Repeats::Unexecuted, ..Meta::default() }));
        }),
    ];
    for (what, change) in changes {
        let (script, target) = (Script::new([after(SECOND), after(SECOND), after(SECOND)]), reading_tool("t"));
        let mut service = layer().layer(script.clone());
        let mut first = asks(&target);
        change(&mut first);
        let (mut first, mut second) = (boxed(&mut service, first), boxed(&mut service, asks(&target)));
        assert!(is_pending(&mut first) && is_pending(&mut second));
        assert_eq!(script.calls(), 2, "{what}");
        assert_eq!((first.await.unwrap().served, second.await.unwrap().served), (Served::Attempt, Served::Attempt), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_waiter_has_its_own_deadline_and_the_call_the_latest() {
    let (script, target) = (Script::new([after(30 * SECOND)]), reading_tool("t"));
    // The timer of each attempt is further in, as in a stack.
    let inner = TimeoutLayer::deadline_only().layer(script.clone());
    let service = layer().layer(inner);
    let calls = [10, 40, 20].map(|seconds| tokio::spawn(service.clone().oneshot(until(&target, seconds * SECOND))));
    let began = Instant::now();
    let ended = calls.map(|call| async move { (call.await.unwrap(), began.elapsed()) });
    let [first, second, third] = <[_; 3]>::try_from(join_all(ended).await).unwrap();
    for ((outcome, at), seconds) in [(first, 10), (third, 20)] {
        let timed_out = outcome.unwrap_err().downcast_ref::<TimedOut>().copied();
        assert_eq!(timed_out, Some(TimedOut { clock: Clock::Soft, after: seconds * SECOND }));
        assert!((seconds * SECOND..seconds * SECOND + Duration::from_millis(50)).contains(&at), "{at:?}");
    }
    assert_eq!((second.0.unwrap().result, second.1.as_secs(), script.calls()), (Ok("answered"), 30, 1));
}

/// As it would be told that waits alone.
#[tokio::test(start_paused = true)]
async fn who_gives_less_than_a_fair_time_is_hurried_beside_one_who_waits() {
    let target = reading_tool("t");
    let service = layer().layer(Script::new([Step::Hang]));
    let _patient = tokio::spawn(service.clone().oneshot(until(&target, 55 * SECOND)));
    for (gives, granted, clock, verdict) in [
        (10, Some(55 * SECOND), Clock::Patience, Verdict::Hurried),
        (10, None, Clock::Soft, Verdict::Ambiguous { retry_after: None, overload: true }),
        // Another stack in front of this one hands on a little less than it has.
        (20, Some(21 * SECOND), Clock::Soft, Verdict::Ambiguous { retry_after: None, overload: true }),
    ] {
        let mut request = until(&target, gives * SECOND);
        request.head.granted = granted;
        let error = service.clone().oneshot(request).await.unwrap_err();
        assert_eq!(error.downcast_ref::<TimedOut>().copied(), Some(TimedOut { clock, after: gives * SECOND }));
        assert_eq!(Verdict::of_error(&*error), verdict);
    }
}

/// The timer further in gives the attempt its verdict, which breakers live on.
#[tokio::test(start_paused = true)]
async fn the_last_waiter_leaves_the_last_word_to_the_timer_further_in() {
    let target = reading_tool("t");
    let service = layer().layer(TimeoutLayer::deadline_only().layer(Script::new([Step::Hang])));
    let first = tokio::spawn(service.clone().oneshot(until(&target, 10 * SECOND)));
    advance(5 * SECOND).await;
    let second = tokio::spawn(service.oneshot(until(&target, 10 * SECOND)));
    let own = first.await.unwrap().unwrap_err();
    assert!(own.is::<TimedOut>());
    let shared = second.await.unwrap().unwrap_err();
    assert_eq!(find::<TimedOut>(&*shared).map(|timed_out| timed_out.after), Some(15 * SECOND), "since the call was made");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_with_its_source() {
    let failed = || Step::After(SECOND, Err(Transport::not_sent("refused").into()));
    let refused = Step::After(SECOND, Err(Rejected::new("breaker", Reason::BreakerOpen).into()));
    let script = Script::new([failed(), failed(), refused]);
    let (service, target) = (layer().layer(script.clone()), reading_tool("t"));
    let alone = service.clone().oneshot(asks(&target)).await.unwrap_err();
    assert!(alone.is::<Transport>(), "who waits alone has the error itself");
    for verdict in [Verdict::NotSent, Verdict::LocalReject] {
        let (one, other) = tokio::join!(service.clone().oneshot(asks(&target)), service.clone().oneshot(asks(&target)));
        for error in [one.unwrap_err(), other.unwrap_err()] {
            assert!(error.is::<SharedFailure>());
            assert_eq!(Verdict::of_error(&*error), verdict);
        }
    }
    assert_eq!(script.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_panic_reaches_all_as_an_error() {
    let handler = service_fn(async |_: Request<()>| -> Outcome {
        sleep(SECOND).await;
        std::panic::resume_unwind(Box::new("as told"))
    });
    let (layer, target) = (layer(), reading_tool("t"));
    let service = layer.layer(handler);
    let outcomes = join_all((0..3).map(|_| service.clone().oneshot(asks(&target)))).await;
    assert!(outcomes.into_iter().all(|outcome| find::<Panicked>(&*outcome.unwrap_err()).is_some()));
    assert_eq!(layer.handle().under_way(), 0);
}

struct Deaf;

impl Notify for Deaf {
    fn progress(&self, _progress: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// How many calls reach the handler of two that are made at once.
async fn calls(layer: CoalesceLayer, requests: [Request<()>; 2]) -> usize {
    let script = Script::new([after(SECOND), after(SECOND)]);
    let service = layer.layer(script.clone());
    let outcomes = join_all(requests.map(|request| service.clone().oneshot(request))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    script.calls()
}

/// The next hop, told what the leader of a shared call gives it, would give up while others still wait.
#[tokio::test(start_paused = true)]
async fn the_next_hop_is_told_of_no_end_that_may_move() {
    let said = Arc::new(std::sync::Mutex::new(Vec::new()));
    let handler = {
        let said = said.clone();
        service_fn(move |call: Request<()>| {
            let mut meta = serde_json::Map::from_iter([TIMEOUT_KEY, HARD_TIMEOUT_KEY].map(|key| (key.to_owned(), 1000.into())));
            Meta::onward(&call.head).apply(&mut meta);
            said.lock().unwrap().push(Meta::read(&meta));
            std::future::ready(Ok::<_, BoxError>(Response::new("answered")))
        })
    };
    let target = reading_tool("t");
    let hurried = || until(&target, SECOND);
    let bare = ServiceBuilder::new().layer(layer()).service(handler.clone());
    assert!(bare.oneshot(hurried()).await.is_ok());
    let limited = ServiceBuilder::new().layer(layer()).layer(TimeoutLayer::new(2 * SECOND)).service(handler);
    assert!(limited.oneshot(hurried()).await.is_ok());
    let said = said.lock().unwrap();
    assert_eq!((said[0].timeout, said[0].hard_timeout), (None, None));
    assert_eq!((said[1].timeout, said[1].hard_timeout), (Some(2 * SECOND), None), "what the operator grants is no caller's");
}

#[tokio::test(start_paused = true)]
async fn another_capacity_holds_for_services_that_are_there() {
    let steps = (0..3).map(|_| Step::After(SECOND, Ok(Response::new("done"))));
    let (layer, script, target) = (layer(), Script::new(steps), reading_tool("t"));
    let (handle, service) = (layer.handle(), layer.layer(script.clone()));
    assert_eq!(handle.capacity(), 4096);
    for (capacity, calls) in [(0, 2), (1, 3)] {
        handle.set_capacity(capacity);
        let pair = [asks(&target), asks(&target)].map(|request| service.clone().oneshot(request));
        assert!(join_all(pair).await.iter().all(Result::is_ok));
        assert_eq!((script.calls(), handle.capacity()), (calls, capacity));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_shared_and_what_is_not() {
    let pair = |target: Arc<Target>| [asks(&target), asks(&target)];
    assert_eq!(calls(layer(), pair(reading_tool("t"))).await, 1);
    assert_eq!(calls(layer(), pair(tool("t"))).await, 2, "not safe");
    assert_eq!(calls(layer(), pair(safe_tool("t"))).await, 2, "safe to repeat, and perhaps a write");
    assert_eq!(calls(layer().capacity(0), pair(reading_tool("t"))).await, 2, "no room");
    assert_eq!(calls(CoalesceLayer::new().capacity(0).single_caller(), pair(reading_tool("t"))).await, 2, "no room still");
    assert_eq!(calls(CoalesceLayer::new(), pair(reading_tool("t"))).await, 2, "nobody knows who calls");

    let of = |method: Method| pair(Catalogue::new("up").resolve(&method, None, None));
    assert_eq!(calls(layer(), of(Method::ResourcesRead)).await, 1);
    assert_eq!(calls(layer(), of(Method::Ping)).await, 2, "keeps the connection alive");
    assert_eq!(calls(layer(), of(Method::ResourcesSubscribe)).await, 2, "changes something, if the same twice");
    let unsafe_read = TargetPolicy::default().read_only(true).idempotent(false);
    let target = Catalogue::new("up").tool("t", unsafe_read).resolve(&Method::ToolsCall, Some("t"), None);
    assert_eq!(calls(layer(), pair(target)).await, 2);

    let heard = pair(reading_tool("t")).map(|mut request| {
        request.head.peer = Some(Peer::new(Deaf));
        request
    });
    assert_eq!(calls(layer(), heard).await, 2, "each wants to hear of its own call");
}

#[tokio::test(start_paused = true)]
async fn only_callers_of_one_identity_share() {
    let (target, caller) = (reading_tool("t"), Caller::of_tenant("a").access_token(b"1"));
    let pair = |other: Caller| {
        [caller.clone(), other].map(|caller| {
            let mut request = asks(&target);
            request.head.caller = caller;
            request
        })
    };
    let shared = async |other| calls(CoalesceLayer::new(), pair(other)).await == 1;
    assert!(shared(caller.clone()).await);
    assert!(!shared(Caller::of_tenant("b").access_token(b"1")).await);
    assert!(!shared(Caller::of_tenant("a").access_token(b"2")).await);
    assert!(!shared(caller.clone().principal("p")).await);
    assert!(!shared(Caller::of_tenant("a")).await);
}

/// Two that wait, of which one is never polled again, and one that gets on all the same.
#[tokio::test(start_paused = true)]
async fn one_that_is_not_polled_holds_up_nobody() {
    let (script, target) = (Script::new([after(SECOND)]), reading_tool("t"));
    let mut service = layer().layer(script);
    let mut lazy = boxed(&mut service, asks(&target));
    assert!(is_pending(&mut lazy));
    let other = tokio::spawn(service.call(asks(&target)));
    assert!(tokio::time::timeout(2 * SECOND, other).await.unwrap().unwrap().is_ok());
    assert!(lazy.now_or_never().unwrap().is_ok());
}

/// A handler that rings while it is being polled, and then says that it is not ready: whoever came meanwhile must be woken.
#[test]
fn nobody_sleeps_through_a_wake_up_that_comes_while_the_call_is_polled() {
    const ROUNDS: usize = 2_000;
    let polls = Arc::new(AtomicUsize::new(0));
    let handler = {
        let polls = polls.clone();
        service_fn(move |_: Request<()>| {
            let polls = polls.clone();
            let mut left = 5;
            std::future::poll_fn(move |cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                left -= 1;
                if left == 0 {
                    return Poll::Ready(Ok::<_, BoxError>(Response::new("answered")));
                }
                let waker = cx.waker().clone();
                std::thread::yield_now();
                waker.wake();
                Poll::Pending
            })
        })
    };
    let (service, target) = (layer().layer(handler), reading_tool("t"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    runtime.block_on(async {
        for round in 0..ROUNDS {
            let calls: Vec<_> = (0..4).map(|_| tokio::spawn(service.clone().oneshot(asks(&target)))).collect();
            // One leaves at a moment that nobody chooses.
            calls[round % 4].abort();
            let all = join_all(calls);
            let mut ended = pin!(tokio::time::timeout(10 * SECOND, all));
            let ended = ended.as_mut().await;
            assert!(ended.is_ok(), "round {round}: somebody sleeps for ever");
        }
    });
    assert!(polls.load(Ordering::Relaxed) >= ROUNDS);
}

/// The handler's word and attempts go along.
#[tokio::test(start_paused = true)]
async fn what_is_known_of_the_answer_is_shared() {
    let throttled = Response::new("busy").with_word(Word::Throttled { retry_after: None });
    let service = layer().layer(Script::new([Step::After(SECOND, Ok(throttled))]));
    let target = reading_tool("t");
    let (one, other) = tokio::join!(service.clone().oneshot(asks(&target)), service.clone().oneshot(asks(&target)));
    assert_eq!(one.unwrap().word, other.unwrap().word);
}

/// A call that is made while the one before it is being dropped has the place, and keeps it.
#[tokio::test(start_paused = true)]
async fn a_call_that_takes_the_place_of_a_dying_one_keeps_it() {
    type Service = Coalesce<tower::util::BoxCloneSyncService<Request<()>, Response<&'static str>, BoxError>>;
    type Call = Pin<Box<dyn Future<Output = Outcome> + Send>>;
    type Again = Arc<std::sync::Mutex<(Option<Service>, Option<Call>)>>;

    /// Dropped, it calls again.
    struct Dying(Again, Arc<Target>);

    impl Drop for Dying {
        fn drop(&mut self) {
            let Ok(mut again) = self.0.try_lock() else { return };
            if let Some(mut service) = again.0.take() {
                again.1 = Some(Box::pin(service.call(asks(&self.1))));
            }
        }
    }

    let (again, target, calls) = (Again::default(), reading_tool("t"), Arc::new(AtomicUsize::new(0)));
    let handler = {
        let (again, target, calls) = (again.clone(), target.clone(), calls.clone());
        service_fn(move |_: Request<()>| {
            let dying = Dying(again.clone(), target.clone());
            calls.fetch_add(1, Ordering::Relaxed);
            async move {
                sleep(SECOND).await;
                drop(dying);
                Ok::<_, BoxError>(Response::new("answered"))
            }
        })
    };
    let layer = layer();
    let mut service = layer.layer(tower::util::BoxCloneSyncService::new(handler));
    let mut first = Box::pin(service.call(asks(&target)));
    assert!(is_pending(&mut first));
    again.lock().unwrap().0 = Some(service.clone());
    drop(first);
    let second = again.lock().unwrap().1.take().unwrap();
    assert_eq!(layer.handle().under_way(), 1, "its place was taken away by the one before it");
    let (second, third) = tokio::join!(second, service.call(asks(&target)));
    assert_eq!((second.unwrap().served, third.unwrap().served), (Served::Attempt, Served::Shared));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_of_one_client_is_not_shared() {
    let asked = || {
        let mut response = Response::new("give me a name");
        response.verdict = Some(Verdict::InputRequired);
        Step::After(SECOND, Ok(response))
    };
    let cannot = || {
        let error = ErrorObject::new(code::MISSING_REQUIRED_CLIENT_CAPABILITY, "elicitation");
        Step::After(SECOND, Ok(Response::from_error(error)))
    };
    for leaders_alone in [asked(), cannot()] {
        let script = Script::new([leaders_alone, after(SECOND), after(SECOND)]);
        let (target, mut service) = (reading_tool("t"), layer().layer(script.clone()));
        let calls: Vec<_> = (0..3).map(|_| service.call(asks(&target))).collect();
        let outcomes = join_all(calls).await;
        let own = |outcome: &Outcome| outcome.as_ref().is_ok_and(|response| response.result == Ok("answered"));
        assert_eq!(outcomes.iter().map(own).collect::<Vec<_>>(), [false, true, true]);
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap().served == Served::Attempt));
        assert_eq!(script.calls(), 3);
    }
}
