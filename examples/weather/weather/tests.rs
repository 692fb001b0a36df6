//! What the stack and a model hear of each failure.

use std::time::Duration;

use buttress::{
    BoxError,
    attempt::AttemptLayer,
    call::{Method, Request, Response, Verdict},
    catalogue::Catalogue,
};
use tower::{Layer, ServiceExt, service_fn};

use super::failure::Asked;
use crate::open_meteo::ApiError;

/// A handler that only fails, as the stack judges it; and its text.
async fn judged(asked: Asked, error: ApiError) -> (Verdict, String) {
    let handler = service_fn(move |_: Request<()>| {
        let error = error.clone();
        async move { Ok::<_, BoxError>(Response::new(asked.explain()(error))) }
    });
    let target = Catalogue::new("weather").resolve(&Method::ToolsCall, Some("any"), None);
    let response = AttemptLayer::new().layer(handler).oneshot(Request::new(target, ())).await.unwrap();
    (response.verdict.unwrap(), response.result.unwrap())
}

#[tokio::test]
async fn a_failure_is_counted_by_what_it_did() {
    let after = Some(Duration::from_secs(1));
    let throttled = ApiError::Throttled { retry_after: after };
    for asked in [Asked::Read, Asked::BeforeWrite, Asked::Write] {
        assert_eq!(judged(asked, throttled.clone()).await.0, Verdict::Throttled { retry_after: after });
        assert_eq!(judged(asked, ApiError::NotSent).await.0, Verdict::NotSent);
    }
    assert_eq!(judged(Asked::Read, ApiError::Ambiguous).await.0, Verdict::AMBIGUOUS);
    assert_eq!(judged(Asked::Write, ApiError::Ambiguous).await.0, Verdict::AMBIGUOUS);
}

#[tokio::test]
async fn a_write_that_never_left_is_not_in_doubt() {
    let (verdict, text) = judged(Asked::BeforeWrite, ApiError::Ambiguous).await;
    assert_eq!(verdict, Verdict::NotSent);
    assert!(text.contains("nothing was reported"), "{text}");
}

#[tokio::test]
async fn an_answer_is_counted_against_nobody() {
    for error in [ApiError::UnknownCity("Olso".into()), ApiError::Rejected { status: 400, reason: "too hot".into() }] {
        // No word was said, so the verdict is on the answer, which here is a plain one.
        assert_eq!(judged(Asked::Write, error).await.0, Verdict::Ok);
    }
    let (_, text) = judged(Asked::Read, ApiError::UnknownCity("Olso".into())).await;
    assert!(text.contains("\"Olso\"") && text.contains("spelling"), "{text}");
    let rejected = ApiError::Rejected { status: 400, reason: "It is too hot.".into() };
    let (_, text) = judged(Asked::Write, rejected).await;
    assert_eq!(text, "The weather service rejected the call (400): It is too hot. Nothing was done.");
}
