//! What a stack owes those before it and behind it: one that repeats in front of one that repeats, targets that are slow,
//! upstreams that are sick.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use buttress::{
    BoxError, Stack, StackService,
    breaker::{BreakerLayer, State},
    call::{
        Annotations, CallResult, Caller, Facts, Head, Meta, Method, Request, Response, ResultKind, TIMEOUT_KEY, Target,
        TargetPolicy, Verdict,
    },
    catalogue::{Catalogue, Scope},
    coalesce::CoalesceLayer,
    concurrency::ConcurrencyLayer,
    deadline::Limits,
    error::Transport,
    hedge::HedgeLayer,
    quota::{Per, QuotaLayer},
    retry::RetryLayer,
};
use governor::Quota;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower::service_fn;

const SECOND: Duration = Duration::from_secs(1);

/// What a tool says, or what is said in its place.
#[derive(Debug, Clone, PartialEq)]
enum Said {
    Fine,
    Refused(Value),
}

impl CallResult for Said {
    fn kind(&self) -> ResultKind {
        if *self == Self::Fine { ResultKind::Complete } else { ResultKind::ToolError }
    }

    fn said_facts(&self) -> Option<Value> {
        if let Self::Refused(facts) = self { Some(facts.clone()) } else { None }
    }

    fn tool_error(_text: String, facts: &Facts) -> Result<Self, String> {
        serde_json::to_value(facts).map(Self::Refused).map_err(|error| error.to_string())
    }
}

fn reads(catalogue: &Catalogue) -> Arc<Target> {
    catalogue.learn(&Method::ToolsCall, Scope::Public, [("forecast", Annotations::default().read_only(true))]);
    catalogue.resolve(&Method::ToolsCall, Some("forecast"), None)
}

/// How many attempts reach a backend that fails so often, behind our server, behind our client: and whether it ends well.
async fn behind_two(client: Catalogue, fails: u32, failure: fn() -> Transport) -> (bool, u32) {
    let attempts = Arc::new(AtomicU32::new(0));
    let server: StackService<(), Said> = {
        let attempts = attempts.clone();
        Stack::new().service(service_fn(move |_: Request<()>| {
            let fails = attempts.fetch_add(1, Ordering::Relaxed) < fails;
            std::future::ready(if fails { Err(BoxError::from(failure())) } else { Ok(Response::new(Said::Fine)) })
        }))
    };
    let served = reads(&Catalogue::new("server").trust_annotations());
    let client_target = reads(&client);
    let client = Stack::new().service(service_fn(move |call: Request<()>| {
        let mut onward = Request::new(served.clone(), ());
        let mut said = serde_json::Map::new();
        Meta::onward(&call.head).apply(&mut said);
        onward.head.meta = Some(Arc::new(Meta::read(&said)));
        let answer = server.answer(onward);
        async move { Ok::<_, BoxError>(Response::from_result(answer.await?.result)) }
    }));
    let answer = client.answer(Request::new(client_target, ())).await.unwrap();
    (answer.result == Ok(Said::Fine), attempts.load(Ordering::Relaxed))
}

/// A failure is repeated by one of the two, whatever the client believes: not by both, and not by neither.
#[tokio::test(start_paused = true)]
async fn what_fails_behind_two_stacks_is_repeated_by_one() {
    let clients: [fn() -> Catalogue; 3] = [
        || Catalogue::new("client"),
        || Catalogue::new("client").trust_next_hop(),
        || Catalogue::new("client").trust_next_hop().trust_annotations(),
    ];
    for (number, client) in clients.into_iter().enumerate() {
        for failure in [|| Transport::unknown("reset"), || Transport::not_sent("refused")] {
            assert_eq!(behind_two(client(), 1, failure).await, (true, 2), "client {number}, {}", failure());
            assert_eq!(behind_two(client(), 9, failure).await, (false, 3), "client {number}, {}", failure());
        }
    }
}

/// Calls of two tools that take 50 ms, by one who waits for 10 and another who waits: how many of the other's are answered.
async fn beside_one_in_a_hurry(stack: &Stack, a_second: u32) -> (u32, u32) {
    let service = stack.service(service_fn(async |_: Request<()>| {
        sleep(Duration::from_millis(50)).await;
        Ok::<_, BoxError>(Response::new("done".to_owned()))
    }));
    let catalogue = Catalogue::new("up").tool("a", TargetPolicy::default()).tool("b", TargetPolicy::default());
    let call = async |name, tenant: &'static str, timeout| {
        let mut request = Request::new(catalogue.resolve(&Method::ToolsCall, Some(name), None), ());
        request.head.caller = Caller::of_tenant(tenant);
        request.head.meta = Some(Arc::new(Meta::read(json!({ TIMEOUT_KEY: timeout }).as_object().unwrap())));
        let answer = service.answer(request).await.unwrap();
        (answer.result == Ok("done".to_owned()), answer.facts.map(|facts| facts.class))
    };
    let (mut answered, mut asked) = (0, 0);
    for _ in 0..60 {
        for name in ["a", "b"] {
            for _ in 0..a_second {
                assert_eq!(call(name, "hurried", Some(10)).await, (false, Some("outcome_unknown")));
            }
            asked += 1;
            answered += u32::from(call(name, "patient", None).await.0);
        }
        sleep(SECOND).await;
    }
    (answered, asked)
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_too_short_costs_nobody_else_a_tool() {
    for a_second in [3, 12] {
        assert_eq!(beside_one_in_a_hurry(&Stack::new(), a_second).await, (120, 120));
    }
}

/// How the breaker of a client fares whose trusted server says this of every call, where its caller gives it so much time.
async fn in_front_of_one_that_says(facts: Value, timeout: Option<u64>) -> Option<State> {
    let breaker = BreakerLayer::default();
    let handle = breaker.handle();
    let service = Stack::new().breaker(breaker).service(service_fn(move |_: Request<()>| {
        std::future::ready(Ok::<_, BoxError>(Response::new(Said::Refused(facts.clone()))))
    }));
    let target = Catalogue::new("up").trust_next_hop().resolve(&Method::ToolsCall, Some("a"), None);
    for _ in 0..40 {
        let mut request = Request::new(target.clone(), ());
        request.head.meta = Some(Arc::new(Meta::read(json!({ TIMEOUT_KEY: timeout }).as_object().unwrap())));
        service.answer(request).await.unwrap();
    }
    handle.target(&target).map(|status| status.state)
}

#[tokio::test(start_paused = true)]
async fn a_next_hop_without_time_is_no_failure_where_the_caller_gave_none() {
    let cut_short = json!({ "class": "outcome_unknown", "retryable": false, "hurried": true });
    let refused = json!({ "class": "local_reject", "retryable": true, "layer": "concurrency", "reason": "deadline" });
    for facts in [cut_short, refused] {
        assert_eq!(in_front_of_one_that_says(facts.clone(), Some(10)).await, Some(State::Closed), "{facts}");
        assert_eq!(in_front_of_one_that_says(facts, None).await, Some(State::Open), "it had all the time that there was");
    }
}

/// Else whoever gives no time could have as much of it as he likes.
#[tokio::test(start_paused = true)]
async fn what_a_next_hop_refuses_for_want_of_time_is_counted_by_quotas() {
    let ten = Quota::per_hour(NonZeroU32::new(10).unwrap());
    let stack = Stack::new().quota(QuotaLayer::new().per_tenant(ten));
    let service = stack.service(service_fn(|_: Request<()>| {
        let facts = json!({ "class": "local_reject", "retryable": true, "layer": "concurrency", "reason": "deadline" });
        std::future::ready(Ok::<_, BoxError>(Response::new(Said::Refused(facts))))
    }));
    let target = Catalogue::new("up").trust_next_hop().resolve(&Method::ToolsCall, Some("a"), None);
    let mut request = Request::new(target.clone(), ());
    request.head.meta = Some(Arc::new(Meta::read(json!({ TIMEOUT_KEY: 10 }).as_object().unwrap())));
    let answer = service.answer(request).await.unwrap();
    assert_eq!(answer.verdict, Some(Verdict::RemoteReject { retry_after: None }));
    assert_eq!(stack.handles().quota.standing(Per::TENANT, &Head::new(target)).unwrap().remaining, 9);
}

/// A stack with a quota behind a stack that trusts it: how many calls of a light tenant are answered beside a noisy one.
#[tokio::test(start_paused = true)]
async fn who_is_over_its_quota_at_the_next_hop_costs_nobody_else_the_tool() {
    let second = Quota::per_second(NonZeroU32::MIN);
    let server: StackService<(), Said> =
        Stack::new().quota(QuotaLayer::new().per_tenant(second)).service(service_fn(async |_: Request<()>| {
            sleep(SECOND / 50).await;
            Ok::<_, BoxError>(Response::new(Said::Fine))
        }));
    let served = Catalogue::new("server").resolve(&Method::ToolsCall, Some("t"), None);
    let client = Stack::new();
    let service = client.service(service_fn(move |call: Request<()>| {
        let mut onward = Request::new(served.clone(), ());
        onward.head.caller = call.head.caller;
        let answer = server.answer(onward);
        async move { Ok::<_, BoxError>(Response::from_result(answer.await?.result)) }
    }));
    let target = Catalogue::new("client").trust_next_hop().resolve(&Method::ToolsCall, Some("t"), None);
    let call = |tenant: &'static str| {
        let mut request = Request::new(target.clone(), ());
        request.head.caller = Caller::of_tenant(tenant);
        service.answer(request)
    };
    let mut light = Vec::new();
    for n in 0..1200 {
        tokio::spawn(call("noisy"));
        if n % 40 == 0 {
            light.push(tokio::spawn(call("light")));
        }
        sleep(SECOND / 20).await;
    }
    for answer in light {
        assert_eq!(answer.await.unwrap().unwrap().result, Ok(Said::Fine));
    }
    assert_eq!(client.handles().breaker.target(&target).map(|status| status.state), Some(State::Closed));
}

/// Of a tool that resets every call until its breaker opens, and whose hop then says this of whatever comes: the breaker's state,
/// and how often the last call was made.
async fn probed_by_one_of_whom_is_said(facts: Value) -> (Option<State>, u32) {
    let (stack, calls) = (Stack::new(), Arc::new(AtomicU32::new(0)));
    let service = {
        let calls = calls.clone();
        stack.service(service_fn(move |_: Request<()>| {
            let reset = calls.fetch_add(1, Ordering::Relaxed) < 6;
            let refused = Response::new(Said::Refused(facts.clone()));
            std::future::ready(if reset { Err(BoxError::from(Transport::unknown("reset"))) } else { Ok(refused) })
        }))
    };
    let target = Catalogue::new("up").trust_next_hop().resolve(&Method::ToolsCall, Some("t"), None);
    let state = || stack.handles().breaker.target(&target).map(|status| status.state);
    for _ in 0..6 {
        service.answer(Request::new(target.clone(), ())).await.unwrap();
    }
    assert_eq!(state(), Some(State::Open));
    sleep(60 * SECOND).await;
    service.answer(Request::new(target.clone(), ())).await.unwrap();
    (state(), calls.load(Ordering::Relaxed) - 6)
}

/// Nothing has reached the tool, so nothing is known of it.
#[tokio::test(start_paused = true)]
async fn whom_the_next_hop_refuses_for_its_own_doing_is_no_probe() {
    let refused = |reason: &str, more: Value| {
        let mut facts = json!({ "class": "local_reject", "retryable": true, "reason": reason });
        facts.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        facts
    };
    for (facts, calls) in [
        (refused("loop", json!({ "layer": "loop_guard", "retryAfterMs": 10 })), 1),
        (refused("key_reused", json!({ "layer": "idempotency" })), 1),
        (refused("in_progress", json!({ "layer": "idempotency" })), 1),
        (refused("quota", json!({ "layer": "quota", "retryable": false, "scope": "tenant" })), 1),
        (refused("quota", json!({ "layer": "quota", "retryAfterMs": 60_000, "scope": "agent_and_target" })), 1),
    ] {
        assert_eq!(probed_by_one_of_whom_is_said(facts.clone()).await, (Some(State::HalfOpen), calls), "{facts}");
    }
}

/// As it would for a backend that says so.
#[tokio::test(start_paused = true)]
async fn a_call_over_its_quota_at_the_next_hop_is_repeated_when_that_has_room() {
    let calls = Arc::new(AtomicU32::new(0));
    let service = {
        let calls = calls.clone();
        Stack::new().service(service_fn(move |_: Request<()>| {
            let facts = json!({ "class": "local_reject", "reason": "quota", "scope": "tenant", "retryAfterMs": 1500 });
            let first = calls.fetch_add(1, Ordering::Relaxed) == 0;
            std::future::ready(Ok::<_, BoxError>(Response::new(if first { Said::Refused(facts) } else { Said::Fine })))
        }))
    };
    let target = Catalogue::new("up").trust_next_hop().resolve(&Method::ToolsCall, Some("t"), None);
    let began = Instant::now();
    let answer = service.answer(Request::new(target, ())).await.unwrap();
    assert_eq!((answer.result, answer.attempts), (Ok(Said::Fine), 2));
    assert!(began.elapsed() >= 3 * SECOND / 2);
}

/// Else a stack behind another would never see that its tool hangs.
#[tokio::test(start_paused = true)]
async fn a_tool_that_hangs_opens_the_breaker_of_whoever_is_given_nearly_all_the_time() {
    let breaker = BreakerLayer::default();
    let handle = breaker.handle();
    let hangs = service_fn(|_: Request<()>| std::future::pending::<Result<Response<String>, BoxError>>());
    let service = Stack::new().breaker(breaker).service(hangs);
    let target = Catalogue::new("up").tool("a", TargetPolicy::default()).resolve(&Method::ToolsCall, Some("a"), None);
    for _ in 0..6 {
        let mut request = Request::new(target.clone(), ());
        request.head.meta = Some(Arc::new(Meta::read(json!({ TIMEOUT_KEY: 19_990 }).as_object().unwrap())));
        service.answer(request).await.unwrap();
    }
    assert_eq!(handle.target(&target).map(|status| status.state), Some(State::Open));
}

/// `tasks/result` answers when the task has ended (2025-11-25).
#[tokio::test(start_paused = true)]
async fn a_task_of_two_minutes_is_waited_for_and_one_of_an_hour_opens_no_breaker() {
    let (breaker, calls) = (BreakerLayer::default(), Arc::new(AtomicU32::new(0)));
    let handle = breaker.handle();
    let task = Arc::new(Mutex::new(120 * SECOND));
    let service = {
        let (task, calls) = (task.clone(), calls.clone());
        Stack::new().breaker(breaker).hedge(HedgeLayer::new()).service(service_fn(move |_: Request<()>| {
            calls.fetch_add(1, Ordering::Relaxed);
            let takes = *task.lock().unwrap();
            async move {
                sleep(takes).await;
                Ok::<_, BoxError>(Response::new("done".to_owned()))
            }
        }))
    };
    let target = Catalogue::new("up").resolve(&Method::TasksResult, None, None);
    let answer = async || service.answer(Request::new(target.clone(), ())).await.unwrap().result;
    for _ in 0..30 {
        assert_eq!(answer().await, Ok("done".to_owned()));
    }
    *task.lock().unwrap() = 3600 * SECOND;
    for _ in 0..30 {
        assert!(answer().await.is_err());
    }
    assert_eq!(calls.load(Ordering::Relaxed), 60, "each asked once");
    assert_eq!(handle.target(&target).map(|status| status.state), Some(State::Closed));
}

/// A report of 25 s, with attempts that are given up after 20.
#[tokio::test(start_paused = true)]
async fn a_read_that_takes_longer_than_an_attempt_may_is_answered() {
    let calls = Arc::new(AtomicU32::new(0));
    let service = {
        let calls = calls.clone();
        Stack::new().service(service_fn(move |_: Request<()>| {
            calls.fetch_add(1, Ordering::Relaxed);
            async {
                sleep(25 * SECOND).await;
                Ok::<_, BoxError>(Response::new("report".to_owned()))
            }
        }))
    };
    let target = reads(&Catalogue::new("up").trust_annotations());
    for (attempts, took) in [(2, 45), (3, 25), (4, 25), (5, 25)] {
        let began = Instant::now();
        let answer = service.answer(Request::new(target.clone(), ())).await.unwrap();
        assert_eq!((answer.result, calls.load(Ordering::Relaxed)), (Ok("report".to_owned()), attempts));
        assert_eq!(began.elapsed().as_secs(), took);
    }
}

/// One stack in front of two upstreams.
#[tokio::test(start_paused = true)]
async fn a_sick_upstream_does_not_use_up_the_budget_of_another() {
    let service = Stack::new()
        .breaker(BreakerLayer::off())
        .service(service_fn(async |_: Request<()>| Err::<Response<String>, _>(BoxError::from(Transport::not_sent("refused")))));
    let [sick, other] = ["sick", "other"].map(|name| Catalogue::new(name).resolve(&Method::ToolsCall, Some("t"), None));
    for _ in 0..40 {
        service.answer(Request::new(sick.clone(), ())).await.unwrap();
    }
    let attempts = async |target| service.answer(Request::new(target, ())).await.unwrap().attempts;
    assert_eq!((attempts(sick).await, attempts(other).await), (1, 3));
}

/// Calls of two seconds, one at a time, five of them each second, with five seconds each.
#[tokio::test(start_paused = true)]
async fn a_shared_call_that_would_come_too_late_does_not_wait() {
    let wasted = async |coalesce: bool| {
        let late = Arc::new(Mutex::new(Duration::ZERO));
        let limit = ConcurrencyLayer::new(NonZeroU32::MIN).queue(64);
        let mut stack = Stack::new().concurrency(limit).deadline(Limits::at_most(5 * SECOND)).retry(RetryLayer::off());
        if coalesce {
            stack = stack.coalesce(CoalesceLayer::new().single_caller());
        }
        let service = stack.breaker(BreakerLayer::off()).service(service_fn(async |_: Request<String>| {
            sleep(2 * SECOND).await;
            Ok::<_, BoxError>(Response::new("done".to_owned()))
        }));
        let target = reads(&Catalogue::new("up").trust_annotations());
        let calls = (0..60_u32).map(|n| {
            let (service, target, late) = (service.clone(), target.clone(), late.clone());
            tokio::spawn(async move {
                sleep(n * SECOND / 5).await;
                let began = Instant::now();
                let answer = service.answer(Request::new(target, n.to_string())).await.unwrap();
                if answer.result != Ok("done".to_owned()) {
                    *late.lock().unwrap() += began.elapsed();
                }
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
        *late.lock().unwrap()
    };
    let (shared, plain) = (wasted(true).await, wasted(false).await);
    assert!(shared < plain + 10 * SECOND, "waited for nothing: {shared:?}, and {plain:?} where nothing is shared");
}
