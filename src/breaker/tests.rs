use std::{sync::Arc, time::Duration};

use tokio::time::advance;
use tower::{Layer, Service, ServiceExt};

use super::{Breaker, BreakerLayer, Policy};
use crate::{
    call::{Request, Response, Target, Verdict},
    error::{BoxError, Reason, Rejected, Transport},
    testing::{Outcome, Script, Step, tool},
};

fn failing() -> Step {
    Step::Answer(Err(Transport::unknown("reset").into()))
}

fn answered(verdict: Verdict) -> Step {
    let mut response = Response::new("as judged");
    response.verdict = Some(verdict);
    Step::Answer(Ok(response))
}

fn breaker(script: &Script) -> Breaker<Script> {
    BreakerLayer::new(Policy::default()).seeded(1).layer(script.clone())
}

async fn call(service: &mut Breaker<Script>, target: &Arc<Target>) -> Outcome {
    service.ready().await?.call(Request::new(target.clone(), ())).await
}

fn refusal(outcome: Outcome) -> Option<Rejected> {
    outcome.err()?.downcast_ref().copied()
}

#[tokio::test(start_paused = true)]
async fn six_failures_open_it_and_the_refusal_says_for_how_long() {
    let script = Script::new((0..6).map(|_| failing()));
    let (mut service, target) = (breaker(&script), tool("t"));
    for _ in 0..6 {
        assert_eq!(refusal(call(&mut service, &target).await), None);
    }
    let refused = refusal(call(&mut service, &target).await).unwrap();
    assert_eq!((refused.layer(), refused.reason(), script.calls()), ("breaker", Reason::BreakerOpen, 6));
    advance(refused.delay().unwrap()).await;
    assert!(call(&mut service, &target).await.is_ok(), "the probe");
    assert!(call(&mut service, &target).await.is_ok(), "the ramp lets the next one in");
}

/// Invariant 3: what this stack refuses, and what a caller leaves, is no failure of the upstream's. And what is the
/// caller's own fault, or the tool's answer, is none either.
#[tokio::test(start_paused = true)]
async fn only_failures_of_the_upstream_count() {
    let rejected = || Step::Answer(Err(BoxError::from(Rejected::new("concurrency", Reason::QueueFull))));
    let verdicts = [
        Verdict::ToolError,
        Verdict::ClientFault,
        Verdict::Denied,
        Verdict::SessionLost,
        Verdict::InputRequired,
        Verdict::Task,
        Verdict::Cancelled,
    ];
    let steps = verdicts.into_iter().cycle().take(70).map(answered).chain((0..70).map(|_| rejected()));
    let script = Script::new(steps);
    let (mut service, target) = (breaker(&script), tool("t"));
    for _ in 0..140 {
        assert_ne!(refusal(call(&mut service, &target).await).map(|refused| refused.layer()), Some("breaker"));
    }
    assert_eq!(script.calls(), 140);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_makes_room_for_the_next() {
    let script = Script::new((0..6).map(|_| failing()).chain([Step::Hang]));
    let (mut service, target) = (breaker(&script), tool("t"));
    for _ in 0..6 {
        let _ = call(&mut service, &target).await;
    }
    advance(Duration::from_secs(5)).await;
    let probe = service.call(Request::new(target.clone(), ()));
    assert_eq!(refusal(call(&mut service, &target).await).map(|refused| refused.reason()), Some(Reason::BreakerOpen));
    drop(probe);
    assert!(call(&mut service, &target).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_sick_tool_does_not_shut_out_another() {
    let script = Script::new((0..6).map(|_| failing()));
    let (mut service, sick, well) = (breaker(&script), tool("sick"), tool("well"));
    for _ in 0..6 {
        let _ = call(&mut service, &sick).await;
    }
    assert!(refusal(call(&mut service, &sick).await).is_some());
    assert!(call(&mut service, &well).await.is_ok());
}
