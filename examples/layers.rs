//! The layers in a bare `tower::ServiceBuilder`, around an async function: no SDK, no network.
//!
//! `cargo run --example layers`
//!
//! A word counter fails now and then. The layers stand in the order of `buttress::Stack`; tower's own `map_request` and
//! `concurrency_limit` stand among them.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use buttress::{
    BoxError,
    attempt::AttemptLayer,
    breaker::BreakerLayer,
    call::{Method, Request, Response, TargetPolicy},
    catalogue::Catalogue,
    concurrency::ConcurrencyLayer,
    deadline::{DeadlineLayer, Limits},
    outcome,
    panic::PanicLayer,
    quota::QuotaLayer,
    rescue::RescueLayer,
    retry::{FullJitter, RetryLayer},
    timeout::TimeoutLayer,
};
use governor::Quota;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

const MS: Duration = Duration::from_millis(1);

/// Every third attempt finds the backend busy, and says so.
async fn count_words(call: Request<String>) -> Result<Response<String>, BoxError> {
    static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
    if ATTEMPTS.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
        outcome::throttled(Duration::from_millis(20));
        return Ok(Response::new("the counter is busy".to_owned()));
    }
    assert!(!call.params.contains("panic"), "as the text asked for");
    Ok(Response::new(format!("{} words", call.params.split_whitespace().count())))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let ten_a_minute = Quota::per_minute(NonZeroU32::new(10).ok_or("ten is not zero")?);
    let mut service = ServiceBuilder::new()
        .layer(RescueLayer::default())
        .layer(DeadlineLayer::new(Limits::at_most(Duration::from_secs(5))))
        .layer(QuotaLayer::new().per_tenant(ten_a_minute))
        .layer(RetryLayer::default().backoff(FullJitter::try_new(20 * MS, 50 * MS, 1000 * MS)?))
        .layer(BreakerLayer::default())
        .layer(ConcurrencyLayer::default())
        .layer(AttemptLayer::new())
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .layer(PanicLayer::new())
        .map_request(|call: Request<String>| call.map(|text| text.trim().to_owned()))
        .concurrency_limit(8)
        .service(service_fn(count_words));

    let only_reads = TargetPolicy::default().read_only(true);
    let catalogue = Catalogue::new("words").tool("count", only_reads);
    let target = catalogue.resolve(&Method::ToolsCall, Some("count"), None);

    for text in ["one", " two words ", "and now three", "please panic"].into_iter().cycle().take(12) {
        let response = service.ready().await?.call(Request::new(target.clone(), text.to_owned())).await?;
        let attempts = response.attempts;
        match response.result {
            Ok(answer) => println!("{text:?}: {answer} (attempts: {attempts})"),
            Err(error) => println!("{text:?}: {error}"),
        }
    }
    Ok(())
}
