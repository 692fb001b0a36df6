use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::FutureExt;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};

use super::TimeoutLayer;
use crate::{
    call::{Deadline, Meta, Method, Notify, Peer, Progress, Request, Response, Target},
    catalogue::Catalogue,
    error::{BoxError, Clock, TimedOut},
    metrics::TIMEOUTS,
    testing::{Script, Step, tool},
};

const SECOND: Duration = Duration::from_secs(1);

struct Deaf;

impl Notify for Deaf {
    fn progress(&self, _progress: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn request(soft: u32, hard: u32) -> Request<()> {
    let now = Instant::now();
    let mut request = Request::new(tool("t"), ());
    request.head.deadline = Deadline { soft: Some(now + soft * SECOND), idle: Some(2 * SECOND), hard: Some(now + hard * SECOND) };
    request.head.peer = Some(Peer::new(Deaf));
    request
}

/// Which clock ends this call when its handler hangs, and after how long.
async fn ended(layer: TimeoutLayer, request: Request<()>) -> (Clock, Duration) {
    let error = layer.layer(Script::new([Step::Hang])).oneshot(request).await.unwrap_err();
    let TimedOut { clock, after } = *error.downcast_ref().unwrap();
    (clock, after)
}

#[tokio::test(start_paused = true)]
async fn the_earliest_clock_ends_a_call_that_hangs() {
    assert_eq!(ended(TimeoutLayer::new(SECOND), request(5, 9)).await, (Clock::Attempt, SECOND));
    assert_eq!(ended(TimeoutLayer::new(7 * SECOND), request(5, 9)).await, (Clock::Soft, 5 * SECOND));
    assert_eq!(ended(TimeoutLayer::deadline_only(), request(9, 5)).await, (Clock::Hard, 5 * SECOND));
    // Where both come at once, the call is over.
    assert_eq!(ended(TimeoutLayer::new(5 * SECOND), request(5, 9)).await, (Clock::Soft, 5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn only_an_attempt_that_may_be_followed_by_another_has_a_limit_of_its_own() {
    assert_eq!(ended(TimeoutLayer::repeatable(SECOND), request(5, 9)).await, (Clock::Soft, 5 * SECOND));
    let mut repeatable = request(5, 9);
    repeatable.head.repeatable = true;
    assert_eq!(ended(TimeoutLayer::repeatable(SECOND), repeatable).await, (Clock::Attempt, SECOND));
}

#[tokio::test(start_paused = true)]
async fn another_limit_holds_for_services_that_are_there() {
    let layer = TimeoutLayer::deadline_only();
    let (handle, service) = (layer.handle(), layer.layer(Script::new([Step::Hang, Step::Hang])));
    let end = async |repeatable| {
        let mut request = request(5, 9);
        request.head.repeatable = repeatable;
        let error = service.clone().oneshot(request).await.unwrap_err();
        error.downcast_ref::<TimedOut>().map(|timed_out| timed_out.clock)
    };
    assert_eq!(handle.limit(), None);
    handle.set_limit(SECOND);
    assert_eq!(handle.limit(), Some(SECOND));
    assert_eq!((end(true).await, end(false).await), (Some(Clock::Attempt), Some(Clock::Soft)));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_zero_is_none() {
    assert_eq!(ended(TimeoutLayer::new(Duration::ZERO), request(5, 9)).await, (Clock::Soft, 5 * SECOND));
    let mut repeatable = request(5, 9);
    repeatable.head.repeatable = true;
    assert_eq!(ended(TimeoutLayer::repeatable(Duration::ZERO), repeatable).await, (Clock::Soft, 5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_the_very_end_is_heard() {
    let script = Script::new([Step::After(SECOND, Ok(Response::new("just in time")))]);
    let response = TimeoutLayer::new(SECOND).layer(script).oneshot(request(5, 9)).await.unwrap();
    assert_eq!(response.result, Ok("just in time"));
}

/// A handler that reports progress once a second, `steps` times, and then hangs.
async fn reporting(layer: TimeoutLayer, request: Request<()>, steps: u32) -> (Clock, Duration) {
    let service = service_fn(move |call: Request<()>| async move {
        let peer = call.head.peer.unwrap();
        for step in 0..steps {
            sleep(SECOND).await;
            peer.progress(Progress { progress: f64::from(step), total: None, message: None }).await?;
        }
        std::future::pending::<Result<Response<()>, BoxError>>().await
    });
    let error = layer.layer(service).oneshot(request).await.unwrap_err();
    let TimedOut { clock, after } = *error.downcast_ref().unwrap();
    (clock, after)
}

#[tokio::test(start_paused = true)]
async fn progress_moves_the_end_until_it_stops_or_the_hard_end_comes() {
    assert_eq!(reporting(TimeoutLayer::deadline_only(), request(3, 60), 2).await, (Clock::Idle, 4 * SECOND));
    assert_eq!(reporting(TimeoutLayer::deadline_only(), request(3, 60), 10).await, (Clock::Idle, 12 * SECOND));
    assert_eq!(reporting(TimeoutLayer::deadline_only(), request(3, 6), 10).await, (Clock::Hard, 6 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_commit_lifts_the_limit_of_an_attempt_that_can_no_longer_be_repeated() {
    let repeatable = || {
        let mut request = request(10, 60);
        request.head.repeatable = true;
        request
    };
    assert_eq!(reporting(TimeoutLayer::repeatable(2 * SECOND), repeatable(), 1).await, (Clock::Soft, 10 * SECOND));
    // Too late to commit.
    assert_eq!(reporting(TimeoutLayer::repeatable(SECOND / 2), repeatable(), 1).await, (Clock::Attempt, SECOND / 2));
}

/// A handler that asks a person from the second `at` on, for `seconds`, and then hangs.
async fn asking(request: Request<()>, at: u64, seconds: u64) -> (Clock, Duration) {
    let service = service_fn(move |call: Request<()>| async move {
        sleep(Duration::from_secs(at)).await;
        let asking = call.head.peer.as_ref().map(Peer::ask);
        sleep(Duration::from_secs(seconds)).await;
        drop(asking);
        std::future::pending::<Result<Response<()>, BoxError>>().await
    });
    let began = Instant::now();
    let error = TimeoutLayer::deadline_only().layer(service).oneshot(request).await.unwrap_err();
    let TimedOut { clock, after } = *error.downcast_ref().unwrap();
    assert_eq!(began.elapsed(), after, "the timer fires when it says");
    (clock, after)
}

#[tokio::test(start_paused = true)]
async fn all_clocks_but_the_hard_one_stand_still_while_a_person_is_asked() {
    // Asked within the time there is, and answered within it or long after.
    assert_eq!(asking(request(5, 60), 1, 2).await, (Clock::Soft, 7 * SECOND));
    assert_eq!(asking(request(5, 60), 1, 30).await, (Clock::Soft, 35 * SECOND));
    // Never answered: that a person takes all the time that there is says nothing of the target.
    assert_eq!(asking(request(5, 60), 1, 600).await, (Clock::Patience, 60 * SECOND));
    // Where it has had its own time before, it does.
    assert_eq!(asking(request(50, 60), 49, 600).await, (Clock::Hard, 60 * SECOND));
}

/// Calls of a stack's two attempts, one after the other, at a target that takes so long. `None`: it hangs.
async fn attempts(layer: &TimeoutLayer, target: &Arc<Target>, takes: [Option<Duration>; 2]) -> [Result<Duration, Clock>; 2] {
    let mut ended = [Err(Clock::Hard); 2];
    for (attempt, takes) in (0..).zip(takes) {
        let mut request = request(20, 60);
        request.head.target = target.clone();
        (request.head.attempt, request.head.repeatable) = (attempt, true);
        let answers = takes.map_or(Step::Hang, |takes| Step::After(takes, Ok(Response::new("done"))));
        let began = Instant::now();
        let outcome = layer.layer(Script::new([answers])).oneshot(request).await;
        let clock = |error: BoxError| error.downcast_ref::<TimedOut>().unwrap().clock;
        ended[attempt as usize] = outcome.map(|_| began.elapsed()).map_err(clock);
    }
    ended
}

/// What takes longer than the limit would never be answered, however often it was asked.
#[tokio::test(start_paused = true)]
async fn a_target_that_takes_longer_than_the_limit_is_learned_by_one_call() {
    let (layer, target, slow) = (TimeoutLayer::repeatable(2 * SECOND), tool("t"), Some(5 * SECOND));
    assert_eq!(attempts(&layer, &target, [slow, slow]).await, [Err(Clock::Attempt), Ok(5 * SECOND)]);
    for _ in 0..3 {
        assert_eq!(attempts(&layer, &target, [slow, slow]).await, [Ok(5 * SECOND), Ok(5 * SECOND)]);
    }
    // Nobody else's target is.
    assert_eq!(attempts(&layer, &tool("u"), [slow, slow]).await, [Err(Clock::Attempt), Ok(5 * SECOND)]);
    // Where all have a limit, all have it.
    let all = TimeoutLayer::new(2 * SECOND);
    assert_eq!(attempts(&all, &target, [slow, slow]).await, [Err(Clock::Attempt), Err(Clock::Attempt)]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_hangs_costs_one_limit() {
    let (layer, target, quick) = (TimeoutLayer::repeatable(2 * SECOND), tool("t"), Some(SECOND));
    for _ in 0..3 {
        assert_eq!(attempts(&layer, &target, [None, quick]).await, [Err(Clock::Attempt), Ok(SECOND)]);
    }
    // Of a call of a mixed lot, the second attempt has the time that there is, whatever others take.
    assert_eq!(attempts(&layer, &target, [None, Some(5 * SECOND)]).await, [Err(Clock::Attempt), Ok(5 * SECOND)]);
    assert_eq!(attempts(&layer, &target, [quick, quick]).await, [Ok(SECOND), Ok(SECOND)]);
    assert_eq!(attempts(&layer, &target, [None, quick]).await, [Err(Clock::Attempt), Ok(SECOND)]);
}

/// Else it would work on for an attempt that was given up long ago.
#[tokio::test(start_paused = true)]
async fn the_next_hop_is_told_when_the_attempt_is_given_up() {
    let told = async |layer: &TimeoutLayer, attempt: u32| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let service = {
            let seen = seen.clone();
            service_fn(move |call: Request<()>| {
                let mut said = serde_json::Map::new();
                Meta::onward(&call.head).apply(&mut said);
                let said = Meta::read(&said);
                assert_eq!(said.hard_timeout, Some(9 * SECOND), "progress may move the other");
                seen.lock().unwrap().push(said.timeout);
                std::future::ready(Ok::<_, BoxError>(Response::new(())))
            })
        };
        let mut request = request(5, 9);
        (request.head.repeatable, request.head.attempt) = (true, attempt);
        layer.layer(service).oneshot(request).await.unwrap();
        seen.lock().unwrap().pop().flatten()
    };
    assert_eq!(told(&TimeoutLayer::repeatable(2 * SECOND), 0).await, Some(2 * SECOND));
    assert_eq!(told(&TimeoutLayer::repeatable(2 * SECOND), 1).await, Some(5 * SECOND));
    assert_eq!(told(&TimeoutLayer::repeatable(7 * SECOND), 0).await, Some(5 * SECOND));
    assert_eq!(told(&TimeoutLayer::new(2 * SECOND), 1).await, Some(2 * SECOND));
    assert_eq!(told(&TimeoutLayer::deadline_only(), 0).await, Some(5 * SECOND));
}

/// How an attempt ends that its caller gives up after `seconds` of the `granted` ones, once it has waited for its slot for
/// `waited`.
async fn given_up(layer: TimeoutLayer, seconds: u32, granted: Duration, waited: Duration) -> (Clock, Duration) {
    let mut request = request(seconds, 600);
    request.head.granted = Some(granted);
    sleep(waited).await;
    request.head.attempt_at = Instant::now();
    ended(layer, request).await
}

#[tokio::test(start_paused = true)]
async fn a_timeout_before_a_fair_time_is_the_callers_patience() {
    let limited = || TimeoutLayer::repeatable(20 * SECOND);
    let (at_once, minute) = (Duration::ZERO, 60 * SECOND);
    assert_eq!(given_up(limited(), 4, minute, at_once).await, (Clock::Patience, 4 * SECOND));
    // As long as a hop in front that has the same limit gives it, and a little less.
    assert_eq!(given_up(limited(), 20, minute, at_once).await, (Clock::Soft, 20 * SECOND));
    assert_eq!(given_up(limited(), 18, minute, at_once).await, (Clock::Soft, 18 * SECOND));
    assert_eq!(given_up(limited(), 17, minute, at_once).await, (Clock::Patience, 17 * SECOND));
    // What it spent in a line it was not given.
    assert_eq!(given_up(limited(), 20, minute, 3 * SECOND).await, (Clock::Patience, 17 * SECOND));
    // No attempt is fairly given more than a call.
    assert_eq!(given_up(limited(), 9, 10 * SECOND, at_once).await, (Clock::Soft, 9 * SECOND));
    assert_eq!(given_up(limited(), 8, 10 * SECOND, at_once).await, (Clock::Patience, 8 * SECOND));
    // Without a limit, it is what the call may take; where that may take for ever, nothing is enough.
    assert_eq!(given_up(TimeoutLayer::deadline_only(), 40, minute, at_once).await, (Clock::Patience, 40 * SECOND));
    assert_eq!(given_up(TimeoutLayer::deadline_only(), 54, minute, at_once).await, (Clock::Soft, 54 * SECOND));
    assert_eq!(given_up(TimeoutLayer::deadline_only(), 500, Duration::MAX, at_once).await, (Clock::Patience, 500 * SECOND));
    // The operator's own limit is the operator's word, whatever the caller says.
    assert_eq!(given_up(TimeoutLayer::new(SECOND), 4, minute, at_once).await, (Clock::Attempt, SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_task_is_given_up_at_its_own_end_and_proves_nothing() {
    for layer in [TimeoutLayer::new(SECOND), TimeoutLayer::repeatable(SECOND)] {
        let mut request = request(500, 600);
        request.head.target = Catalogue::new("up").resolve(&Method::TasksResult, None, None);
        request.head.repeatable = true;
        assert_eq!(ended(layer, request).await, (Clock::Patience, 500 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_person_took_to_answer_was_not_given_to_the_target() {
    let mut request = request(5, 600);
    request.head.granted = Some(30 * SECOND);
    assert_eq!(asking(request, 1, 100).await, (Clock::Patience, 105 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn each_attempt_that_is_given_up_counts_under_its_clock() {
    let recorder = DebuggingRecorder::new();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let counted = || {
        let series = recorder.snapshotter().snapshot().into_vec().into_iter();
        let mut by_clock: Vec<_> = series
            .filter(|(key, .., value)| key.key().name() == TIMEOUTS.name && *value != DebugValue::Counter(0))
            .map(|(key, .., value)| (key.key().labels().find(|label| label.key() == "kind").unwrap().value().to_owned(), value))
            .collect();
        by_clock.sort_by(|one, other| one.0.cmp(&other.0));
        by_clock
    };
    for _ in 0..2 {
        ended(TimeoutLayer::deadline_only(), request(5, 9)).await;
    }
    ended(TimeoutLayer::new(SECOND), request(5, 9)).await;
    assert_eq!(counted(), [("attempt".to_owned(), DebugValue::Counter(1)), ("soft".to_owned(), DebugValue::Counter(2))]);
}

#[tokio::test]
async fn it_is_ready_when_the_inner_service_is() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<()>, Response<()>>();
    let mut service = TimeoutLayer::new(SECOND).layer(mock);
    handle.allow(0);
    assert!(service.ready().now_or_never().is_none());
    handle.allow(1);
    assert!(service.ready().await.is_ok());
}
