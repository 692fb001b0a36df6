use std::{borrow::Cow, num::NonZeroU32, sync::Arc, time::Duration};

use governor::Quota;
use tower::{Layer, Service};

use super::{LoopGuardLayer, Policy, Settings};
use crate::{
    Mode,
    call::{
        Arrival, CallParams, Caller, Digest, ErrorObject, Identify, Meta, Method, OneTenant, Request, Response, Session, Target,
        Verdict,
    },
    catalogue::Catalogue,
    error::{BoxError, HttpStatus, Reason, Rejected, TimedOut, Transport},
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
        "refused as wrong" => Ok(Response::from_error(ErrorObject::new(-32600, "wrong"))),
        "denied" => Err(HttpStatus::new(403).into()),
        "throttled" => answer(Verdict::Throttled { retry_after: None }),
        "not sent" => Err(Transport::not_sent("refused").into()),
        "refused" => Err(Rejected::new("quota", Reason::Quota).into()),
        "timeout" => Err(TimedOut { clock: crate::error::Clock::Soft, after: SECOND }.into()),
        other => Err(Transport::unknown(other).into()),
    }
}

/// What is denied for ever is a loop like any other; what is denied until the token is renewed is none.
#[tokio::test(start_paused = true)]
async fn a_renewed_token_makes_a_denied_call_another() {
    let (layer, target) = (LoopGuardLayer::default(), tool("t"));
    let mut service = layer.layer(tower::service_fn(as_told));
    let mut reached = 0;
    for second in 0..600 {
        let mut call = of_agent(&target, "a", "denied");
        let token: &[u8] = if second < 300 { b"old" } else { b"renewed" };
        call.head.caller = call.head.caller.principal("ada").access_token(token);
        reached += usize::from(reason(&service.call(call).await).is_none());
        assert!(second != 300 || reached == 6, "the new token is another try");
        tokio::time::advance(SECOND).await;
    }
    assert_eq!(reached, 10);
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
        ("refused as wrong", 2),
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

/// Methods that no revision defines share one target.
#[derive(Clone)]
struct Named(&'static str);

impl CallParams for Named {
    fn arguments(&self) -> Option<Digest> {
        Some(Digest::of(b"{}"))
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        Some(self.0.into())
    }
}

#[tokio::test(start_paused = true)]
async fn what_shares_a_target_is_told_apart_by_its_name() {
    let fails = tower::service_fn(async |_: Request<Named>| Err::<Response<()>, BoxError>("fails".into()));
    let mut service = LoopGuardLayer::default().layer(fails);
    let catalogue = Catalogue::new("up");
    for name in ["x/alpha", "x/beta"] {
        let target = catalogue.resolve(&Method::from_wire(name), None, None);
        for expected in [false, false, true] {
            let error = service.call(Request::new(target.clone(), Named(name))).await.unwrap_err();
            assert_eq!(error.is::<Rejected>(), expected, "{name}");
        }
    }
}

/// As [`OneTenant`] tells the users of one client program over HTTP without sessions.
fn user_of_a_client(token: &'static str) -> Caller {
    let (parts, ()) = http::Request::builder().header("authorization", token).body(()).unwrap().into_parts();
    OneTenant.identify(&Arrival { parts: Some(&parts), client: Some("claude-ai") })
}

#[tokio::test(start_paused = true)]
async fn nobody_pays_for_what_another_user_of_the_same_client_did() {
    let (layer, target) = (LoopGuardLayer::default(), tool("t"));
    let mut service = layer.layer(tower::service_fn(as_told));
    let mut fails = async |caller: &Caller, session| {
        let mut request = Request::new(target.clone(), "tool error");
        (request.head.caller, request.head.session) = (caller.clone(), session);
        reason(&service.call(request).await).is_some()
    };
    let [alice, bob] = ["alice", "bob"].map(user_of_a_client);
    let [carol, dave] = ["carol", "dave"].map(|name| alice.clone().principal(name));
    for (caller, session) in [(&alice, None), (&bob, None), (&carol, None), (&dave, None), (&alice, Some(Session::new()))] {
        for refused in [false, false, true] {
            assert_eq!(fails(caller, session).await, refused, "{caller:?} {session:?}");
        }
    }
    // Whoever asks about a caller is told of all sessions.
    assert_eq!(layer.handle().agent(&alice).map(|state| (state.calls, state.refused)), Some((2, 2)));
    assert!(layer.handle().forgive(&alice));
    assert_eq!((layer.handle().agent(&alice), layer.handle().agents()), (None, 3));
}

/// How many calls of an agent reach the handler, which its client marks as these attempts.
async fn marked(attempts: impl IntoIterator<Item = u32>, every: Duration) -> usize {
    let (mut service, target) = (LoopGuardLayer::default().layer(tower::service_fn(as_told)), tool("t"));
    let mut reached = 0;
    for attempt in attempts {
        let mut request = of_agent(&target, "a", "reset");
        request.head.meta = Some(Arc::new(Meta { attempt: Some(attempt), ..Meta::default() }));
        reached += usize::from(reason(&service.call(request).await).is_none());
        tokio::time::advance(every).await;
    }
    reached
}

#[tokio::test(start_paused = true)]
async fn what_a_client_repeats_is_one_call() {
    assert_eq!(marked([1, 2, 3].repeat(4), 10 * SECOND).await, 12, "four calls, of which each is made three times");
    assert_eq!(marked([1; 12], 10 * SECOND).await, 5);
    assert_eq!(marked([2; 300], 2 * SECOND).await, 14, "six that count, and eight more, are all that a forger gets");
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_other_words_each_time_is_a_loop_too() {
    let numbers = std::sync::atomic::AtomicU32::new(0);
    let layer = LoopGuardLayer::default();
    let mut service = layer.layer(tower::service_fn(|_: Request<&'static str>| {
        let number = numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            Ok::<_, BoxError>(Response::<&'static str>::from_error(ErrorObject::new(1234, format!("no city (request {number})"))))
        }
    }));
    let target = tool("t");
    for _ in 0..300 {
        drop(service.call(of_agent(&target, "a", "same")).await);
        tokio::time::advance(2 * SECOND).await;
    }
    assert_eq!(numbers.into_inner(), 11, "ten, and a trial after five minutes");
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
