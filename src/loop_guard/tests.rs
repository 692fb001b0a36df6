use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::Quota;
use tower::{Layer, Service};

use super::{LoopGuardLayer, Policy, Settings};
use crate::{
    Mode,
    call::{CallParams, Caller, Digest, ErrorObject, Method, Request, Response, Target, Verdict},
    catalogue::Catalogue,
    error::{BoxError, Reason, Rejected, TimedOut, Transport},
    testing::{Outcome, tool},
};

const SECOND: Duration = Duration::from_secs(1);

fn of_agent(target: &Arc<Target>, agent: &str, params: &'static str) -> Request<&'static str> {
    let mut request = Request::new(target.clone(), params);
    request.head.caller = Caller::of_tenant("acme").agent(agent);
    request
}

fn reason(outcome: &Outcome) -> Option<(Reason, Duration)> {
    let rejected: &Rejected = outcome.as_ref().err()?.downcast_ref()?;
    Some((rejected.reason(), rejected.delay()?))
}

/// Answers `params` as the verdict that it names.
async fn as_told(call: Request<&'static str>) -> Outcome {
    let answer = |verdict| {
        let mut response = Response::new("text");
        response.verdict = Some(verdict);
        Ok(response)
    };
    match call.params {
        "ok" => answer(Verdict::Ok),
        "tool error" => answer(Verdict::ToolError),
        "input required" => answer(Verdict::InputRequired),
        "denied" => Ok(Response::from_error(ErrorObject::new(-32600, "denied"))),
        "throttled" => answer(Verdict::Throttled { retry_after: None }),
        "not sent" => Err(Transport::not_sent("refused").into()),
        "refused" => Err(Rejected::new("quota", Reason::Quota).into()),
        "timeout" => Err(TimedOut { clock: crate::error::Clock::Soft, after: SECOND }.into()),
        other => Err(Transport::unknown(other).into()),
    }
}

/// How many of a hundred calls at once reach the handler.
async fn reached(layer: &LoopGuardLayer, params: &'static str) -> usize {
    let mut service = layer.layer(tower::service_fn(as_told));
    let target = tool("t");
    let mut reached = 0;
    for _ in 0..100 {
        let outcome = service.call(of_agent(&target, "a", params)).await;
        reached += usize::from(reason(&outcome).is_none());
    }
    reached
}

#[tokio::test(start_paused = true)]
async fn what_counts_and_what_does_not() {
    for (params, expected) in [
        ("tool error", 2),
        ("denied", 2),
        ("timeout", 2),
        ("reset", 2),
        ("ok", 100),
        ("input required", 100),
        ("throttled", 100),
        ("not sent", 100),
        ("refused", 100),
    ] {
        assert_eq!(reached(&LoopGuardLayer::default(), params).await, expected, "{params}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_agents_and_targets_are_counted_apart() {
    let layer = LoopGuardLayer::default();
    let mut service = layer.layer(tower::service_fn(as_told));
    let (one, other) = (tool("one"), tool("other"));
    for _ in 0..2 {
        assert_eq!(reason(&service.call(of_agent(&one, "a", "fails")).await), None);
    }
    assert_eq!(reason(&service.call(of_agent(&one, "a", "fails")).await), Some((Reason::Loop, SECOND)));
    for another in [of_agent(&one, "b", "fails"), of_agent(&one, "a", "fails otherwise"), of_agent(&other, "a", "fails")] {
        assert_eq!(reason(&service.call(another).await), None);
    }
    let mut elsewhere = of_agent(&one, "a", "fails");
    elsewhere.head.caller = Caller::of_tenant("umbrella").agent("a");
    assert_eq!(reason(&service.call(elsewhere).await), None);
    let initialize = Catalogue::new("up").resolve(&Method::Initialize, None, None);
    for _ in 0..10 {
        assert_eq!(reason(&service.call(of_agent(&initialize, "a", "fails")).await), None);
    }
}

/// Two parts: arguments, and what they continue.
#[derive(Clone)]
struct Continued(&'static str, Option<&'static str>);

impl CallParams for Continued {
    fn arguments(&self) -> Option<Digest> {
        Some(Digest::of(self.0.as_bytes()))
    }

    fn continuation(&self) -> Option<Digest> {
        self.1.map(|state| Digest::of(state.as_bytes()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_continuation_is_another_call_and_what_cannot_be_compared_is_left_alone() {
    let fails = tower::service_fn(async |_: Request<Continued>| Err::<Response<()>, BoxError>("fails".into()));
    let mut service = LoopGuardLayer::default().layer(fails);
    let target = tool("t");
    for state in [None, Some("1"), Some("2")] {
        for expected in [false, false, true] {
            let error = service.call(Request::new(target.clone(), Continued("x", state))).await.unwrap_err();
            assert_eq!(error.is::<Rejected>(), expected);
        }
    }

    #[derive(Clone)]
    struct Opaque;
    impl CallParams for Opaque {}
    let fails = tower::service_fn(async |_: Request<Opaque>| Err::<Response<()>, BoxError>("fails".into()));
    let mut service = LoopGuardLayer::default().layer(fails);
    for _ in 0..100 {
        assert!(!service.call(Request::new(target.clone(), Opaque)).await.unwrap_err().is::<Rejected>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_handle_reads_forgives_and_changes() {
    let layer = LoopGuardLayer::default();
    let handle = layer.handle();
    let mut service = layer.layer(tower::service_fn(as_told));
    let target = tool("t");
    let caller = of_agent(&target, "a", "").head.caller;
    let mut fails = async || reason(&service.call(of_agent(&target, "a", "fails")).await).map(|(reason, _)| reason);
    assert_eq!((handle.agent(&caller), handle.agents()), (None, 0));
    for _ in 0..4 {
        assert_eq!(fails().await, None);
        tokio::time::advance(4 * SECOND).await;
    }
    assert_eq!(fails().await, None);
    assert_eq!(fails().await, Some(Reason::Loop));
    let state = handle.agent(&caller).unwrap();
    assert_eq!((state.calls, state.longest, state.blocked, state.refused), (1, 5, 1, 1));

    handle.set_mode(Mode::Observe);
    assert_eq!((fails().await, handle.mode()), (None, Mode::Observe));
    handle.set_mode(Mode::Enforce);
    assert_eq!(fails().await, Some(Reason::Loop));
    assert!(handle.forgive(&caller) && !handle.forgive(&caller));
    assert_eq!(fails().await, None);

    let strict = Policy::try_new(Settings { failures_to_block: 1, free_failures: 0, ..Settings::default() }).unwrap();
    handle.set_policy(strict);
    assert_eq!(fails().await, Some(Reason::Loop));
    handle.forgive_all();
    assert_eq!((handle.agents(), handle.policy()), (0, strict));
}

#[tokio::test(start_paused = true)]
async fn agents_without_failures_take_no_memory_and_a_success_forgets() {
    let layer = LoopGuardLayer::default();
    let handle = layer.handle();
    let mut service = layer.layer(tower::service_fn(as_told));
    let target = tool("t");
    for agent in ["a", "b", "c"] {
        assert!(service.call(of_agent(&target, agent, "ok")).await.is_ok());
    }
    assert_eq!(handle.agents(), 0);
    let flips = std::sync::atomic::AtomicBool::new(true);
    let mut flaky = layer.layer(tower::service_fn(|_: Request<&'static str>| {
        let fails = flips.swap(false, std::sync::atomic::Ordering::Relaxed);
        async move { if fails { Err(BoxError::from("fails")) } else { Ok(Response::new("done")) } }
    }));
    assert!(flaky.call(of_agent(&target, "a", "x")).await.is_err());
    assert_eq!(handle.agents(), 1);
    assert!(flaky.call(of_agent(&target, "a", "x")).await.is_ok());
    assert_eq!(handle.agents(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_budget_refuses_by_its_own_reason() {
    let budget = Some(Quota::per_minute(NonZeroU32::new(3).unwrap()));
    let layer = LoopGuardLayer::new(Policy::try_new(Settings { budget, ..Settings::default() }).unwrap());
    assert_eq!(reached(&layer, "ok").await, 3);
    let mut service = layer.layer(tower::service_fn(as_told));
    let outcome = service.call(of_agent(&tool("t"), "a", "ok")).await;
    assert_eq!(reason(&outcome), Some((Reason::Quota, 20 * SECOND)));
}

/// Trials that are dropped before, and while, they run.
#[tokio::test(start_paused = true)]
async fn a_dropped_trial_leaves_room_for_the_next() {
    let (layer, target) = (LoopGuardLayer::default(), tool("t"));
    let mut service = layer.layer(tower::service_fn(as_told));
    for _ in 0..2 {
        assert!(service.call(of_agent(&target, "b", "fails")).await.is_err());
    }
    tokio::time::advance(SECOND).await;
    let hangs = tower::service_fn(|_: Request<&'static str>| std::future::pending::<Outcome>());
    let mut hanging = layer.layer(hangs);
    for _ in 0..3 {
        let trial = hanging.call(of_agent(&target, "b", "fails"));
        assert_eq!(reason(&service.call(of_agent(&target, "b", "fails")).await), Some((Reason::Loop, SECOND)));
        let mut trial = Box::pin(trial);
        assert!(futures_util::poll!(trial.as_mut()).is_pending());
    }
    assert_eq!(reason(&service.call(of_agent(&target, "b", "fails")).await), None);
}
