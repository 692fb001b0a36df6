use std::time::Duration;

use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

use super::{DeadlineLayer, Limits};
use crate::{
    call::{Deadline, Request, Response},
    error::{BoxError, Reason, Rejected},
    testing::tool,
};

const SECOND: Duration = Duration::from_secs(1);

async fn stamped(limits: Limits, request: Request<()>) -> Result<Deadline, BoxError> {
    let handler = service_fn(async |call: Request<()>| Ok::<_, BoxError>(Response::new(call.head.deadline)));
    Ok(DeadlineLayer::new(limits).layer(handler).oneshot(request).await?.result?)
}

#[tokio::test(start_paused = true)]
async fn a_callers_own_deadline_can_only_shorten() {
    let now = Instant::now();
    let limits = Limits::NONE.soft(10 * SECOND).hard(20 * SECOND);
    let mut request = Request::new(tool("t"), ());
    request.head.deadline = Deadline { soft: Some(now + 3 * SECOND), hard: Some(now + 99 * SECOND), idle: None };
    let expected = Deadline { soft: Some(now + 3 * SECOND), hard: Some(now + 20 * SECOND), idle: None };
    assert_eq!(stamped(limits, request).await.unwrap(), expected);
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
    let limits = Limits::NONE.soft(Duration::MAX).hard(Duration::MAX);
    assert_eq!(stamped(limits, Request::new(tool("t"), ())).await.unwrap(), Deadline::default());
}
