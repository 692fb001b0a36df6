use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

use super::{DeadlineLayer, Limits, LimitsError, Settings};
use crate::{
    call::{Deadline, Meta, Method, Request, Response},
    catalogue::Catalogue,
    error::{BoxError, Reason, Rejected},
    testing::tool,
};

const SECOND: Duration = Duration::from_secs(1);

fn limits(soft: Option<Duration>, hard: Option<Duration>) -> Limits {
    Limits::try_new(Settings { soft, idle: None, hard }).unwrap()
}

async fn stamped(limits: Limits, request: Request<()>) -> Result<Deadline, BoxError> {
    let handler = service_fn(async |call: Request<()>| Ok::<_, BoxError>(Response::new(call.head.deadline)));
    Ok(DeadlineLayer::new(limits).layer(handler).oneshot(request).await?.result?)
}

#[tokio::test(start_paused = true)]
async fn a_callers_own_deadline_can_only_shorten() {
    let now = Instant::now();
    let limits = limits(Some(10 * SECOND), Some(20 * SECOND));
    let mut request = Request::new(tool("t"), ());
    request.head.deadline = Deadline { soft: Some(now + 3 * SECOND), hard: Some(now + 99 * SECOND), idle: None };
    let expected = Deadline { soft: Some(now + 3 * SECOND), hard: Some(now + 20 * SECOND), idle: None };
    assert_eq!(stamped(limits, request).await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn other_limits_hold_for_services_that_are_there() {
    let layer = DeadlineLayer::default();
    let (handle, now) = (layer.handle(), Instant::now());
    let service =
        layer.layer(service_fn(async |call: Request<()>| Ok::<_, BoxError>(Response::new(call.head.deadline.end(None)))));
    let end = async || service.clone().oneshot(Request::new(tool("t"), ())).await.unwrap().result.unwrap();
    assert_eq!(end().await.map(|(end, _)| end - now), Some(55 * SECOND));
    assert_eq!(handle.limits(), Limits::default());
    let shorter = limits(Some(3 * SECOND), Some(9 * SECOND));
    handle.set_limits(shorter);
    assert_eq!(end().await.map(|(end, _)| end - now), Some(3 * SECOND));
    assert_eq!((handle.limits(), shorter.settings().hard), (shorter, Some(9 * SECOND)));
    handle.set_limits(Limits::NONE);
    assert_eq!(end().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_too_late_is_refused() {
    let mut request = Request::new(tool("t"), ());
    request.head.deadline.soft = Some(request.head.arrived);
    let error = stamped(Limits::default(), request).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Rejected>().map(Rejected::reason), Some(Reason::Deadline));
}

#[tokio::test(start_paused = true)]
async fn a_limit_beyond_the_end_of_time_is_no_limit() {
    let limits = limits(Some(Duration::MAX), Some(Duration::MAX));
    assert_eq!(stamped(limits, Request::new(tool("t"), ())).await.unwrap(), Deadline::default());
}

#[tokio::test(start_paused = true)]
async fn the_sender_may_say_how_long_it_waits() {
    let mut request = Request::new(tool("t"), ());
    let meta = Meta { timeout: Some(4 * SECOND), ..Meta::default() };
    request.head.meta = Some(meta.into());
    let arrived = request.head.arrived;
    let deadline = stamped(limits(Some(10 * SECOND), None), request).await.unwrap();
    assert_eq!(deadline.soft, Some(arrived + 4 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_sender_may_say_how_long_it_waits_in_any_case() {
    let said = |timeout, hard_timeout| {
        let mut request = Request::new(tool("t"), ());
        request.head.meta = Some(Meta { timeout, hard_timeout, ..Meta::default() }.into());
        request
    };
    let arrived = Instant::now();
    let ours = limits(Some(10 * SECOND), Some(20 * SECOND));
    let stamped = async |timeout, hard| stamped(ours, said(timeout, hard)).await.unwrap();
    let both = stamped(Some(4 * SECOND), Some(9 * SECOND)).await;
    assert_eq!((both.soft, both.hard), (Some(arrived + 4 * SECOND), Some(arrived + 9 * SECOND)));
    // Nothing that is heard of the call moves it.
    assert_eq!(both.end(Some(arrived + 8 * SECOND)).map(|(end, _)| end), Some(arrived + 4 * SECOND), "no idle time here");
    let idle = Deadline { idle: Some(5 * SECOND), ..both };
    assert_eq!(idle.end(Some(arrived + 8 * SECOND)).map(|(end, _)| end), Some(arrived + 9 * SECOND));
    let hard = stamped(None, Some(4 * SECOND)).await;
    assert_eq!(hard.end(None).map(|(end, _)| end), Some(arrived + 4 * SECOND));
    assert_eq!(stamped(None, Some(99 * SECOND)).await.hard, Some(arrived + 20 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn what_a_call_could_have_had_is_known_where_its_sender_gives_it_less() {
    let granted = async |limits: Limits, timeout: Option<Duration>| {
        let mut request = Request::new(tool("t"), ());
        request.head.meta = Some(Meta { timeout, ..Meta::default() }.into());
        let handler = service_fn(async |call: Request<()>| Ok::<_, BoxError>(Response::new(call.head.granted)));
        DeadlineLayer::new(limits).layer(handler).oneshot(request).await.unwrap().result.unwrap()
    };
    let ours = limits(Some(10 * SECOND), Some(20 * SECOND));
    assert_eq!(granted(ours, Some(4 * SECOND)).await, Some(10 * SECOND));
    for as_much in [None, Some(10 * SECOND), Some(99 * SECOND)] {
        assert_eq!(granted(ours, as_much).await, None);
    }
    assert_eq!(granted(limits(None, Some(20 * SECOND)), Some(4 * SECOND)).await, Some(20 * SECOND));
    assert_eq!(granted(Limits::NONE, Some(4 * SECOND)).await, Some(Duration::MAX), "as long as it takes");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_task_has_the_hard_end_only() {
    let waiting = || Request::new(Catalogue::new("up").resolve(&Method::TasksResult, None, None), ());
    let hard = Some(waiting().head.arrived + 600 * SECOND);
    assert_eq!(stamped(Limits::default(), waiting()).await.unwrap(), Deadline { hard, ..Deadline::default() });
    let mut own = waiting();
    own.head.meta = Some(Meta { timeout: Some(4 * SECOND), ..Meta::default() }.into());
    assert_eq!(
        stamped(Limits::default(), own).await.unwrap().end(None).map(|(end, _)| end),
        hard.map(|hard| hard - 596 * SECOND)
    );
}

#[test]
fn limits_that_cannot_hold_do_not_build() {
    let settings = |soft, idle, hard| Settings { soft: Some(soft), idle: Some(idle), hard: Some(hard) };
    let error = Limits::try_new(settings(9 * SECOND, SECOND, 8 * SECOND)).unwrap_err();
    assert_eq!(error, LimitsError::SoftAboveHard { soft: 9 * SECOND, hard: 8 * SECOND });
    assert_eq!(error.to_string(), "soft is 9s, but must be no longer than hard, which is 8s");
    let error = Limits::try_new(settings(SECOND, 9 * SECOND, 8 * SECOND)).unwrap_err();
    assert_eq!(error, LimitsError::IdleAboveHard { idle: 9 * SECOND, hard: 8 * SECOND });
    // As long as the call itself may take is not too long.
    assert!(Limits::try_new(settings(8 * SECOND, 8 * SECOND, 8 * SECOND)).is_ok());
    assert_eq!(Limits::try_new(Settings::default()), Ok(Limits::default()));
    // Zero is none, as absent is.
    assert_eq!(Limits::try_new(settings(Duration::ZERO, Duration::ZERO, Duration::ZERO)), Ok(Limits::NONE));
}

#[tokio::test(start_paused = true)]
async fn one_end_for_every_call() {
    let request = Request::new(tool("t"), ());
    let end = Some(request.head.arrived + 5 * SECOND);
    let expected = Deadline { soft: end, idle: None, hard: end };
    assert_eq!(stamped(Limits::at_most(5 * SECOND), request).await.unwrap(), expected);
    assert_eq!(Limits::at_most(Duration::ZERO), Limits::NONE);
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_when_the_inner_service_is() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<()>, Response<()>>();
    let mut service = DeadlineLayer::default().layer(mock);
    handle.allow(0);
    assert!(service.ready().now_or_never().is_none());
    handle.allow(1);
    assert!(service.ready().await.is_ok());
}
