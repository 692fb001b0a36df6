//! Refusals that the example's own stack does not come to, from tighter stacks around the same handler.

use std::{num::NonZeroU32, time::Duration};

use buttress::{
    Stack,
    breaker::{BreakerLayer, Policy, Settings},
    call::TIMEOUT_KEY,
    concurrency::ConcurrencyLayer,
    deadline::Limits,
    metrics::{BREAKER_TRANSITIONS, CLIENT_DURATION, CONCURRENCY_IN_FLIGHT, IN_FLIGHT, QUEUE_LENGTH, RETRIES, RETRIES_SKIPPED},
    quota::QuotaLayer,
    retry::{Budget, RetryLayer},
};
use governor::{Quota, RateLimiter};
use reqwest::{StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    ask::{Answer, Ask, FORECAST},
    bench::{Bench, Every, backend, calm, mute},
    books::Books,
    message::Message,
    patience::{until, within},
    stand_in::Options,
    weather::OBSERVATIONS,
};

const ONE: NonZeroU32 = NonZeroU32::MIN;

fn assert_refused(answer: &Answer, reason: &str, words: &str) {
    assert_eq!((&*answer.class, answer.reason.as_deref()), ("local_reject", Some(reason)), "{answer:?}");
    assert!(answer.text.starts_with(words) && answer.text.contains("Nothing was done."), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retries_each_fault_reaches_its_caller() {
    let backend = backend(Options { seed: 1, calm: false }).await;
    let stack = Stack::new().retry(RetryLayer::off()).deadline(Limits::at_most(Duration::from_secs(2)));
    let bench = Bench::new("without-retries", stack, &backend.url()).await;
    let books = Books::default();
    // One deck, which holds every kind of fault.
    let ask = Ask::forecast("Oslo");
    for _ in 0..10 {
        for answer in bench.ask_at_once(vec![ask.clone(); 10]).await {
            books.count(&ask, &answer);
        }
    }
    let faults = &backend.stats().faults["/v1/forecast"];
    let dealt = |kinds: &[&str]| kinds.iter().map(|kind| i64::try_from(faults[kind]).unwrap()).sum::<i64>();
    let (throttled, in_doubt) = (["throttled"], ["unavailable", "reset_before", "reset_after", "error_after", "hang"]);
    assert_eq!(books.all("throttled"), dealt(&throttled));
    assert_eq!(books.all("ambiguous"), dealt(&in_doubt));
    assert_eq!(books.all("ok"), 100 - dealt(&throttled) - dealt(&in_doubt));
    assert_eq!(bench.sum(RETRIES, &[]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_refuses_in_words_and_over_http_with_a_status() {
    let backend = calm().await;
    let quota = QuotaLayer::new().per_target(Quota::per_hour(ONE));
    let bench = Bench::new("quota", Stack::new().quota(quota), &backend.url()).await;
    assert!(bench.ask(Ask::forecast("Oslo")).await.is("ok"));
    let refused = bench.ask(Ask::forecast("Oslo")).await;
    assert_refused(&refused, "quota", "Rate limited: \"get_forecast\" on \"quota\" allows 1 call an hour, all callers together.");

    let read = Message::modern("resources/read", json!({ "uri": OBSERVATIONS }));
    assert_eq!(read.post(&bench.mcp).await.status(), StatusCode::OK);
    let refused = read.post(&bench.mcp).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = refused.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&seconds), "{seconds}");
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["code"], 429, "{body}");
    assert_eq!(bench.refusals("quota", "quota").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_of_governors_refuses() {
    let backend = calm().await;
    let limiter = RateLimiter::direct(Quota::per_hour(ONE));
    let bench = Bench::new("rate-limit", Stack::new().rate_limit(limiter.into()), &backend.url()).await;
    assert!(bench.ask(Ask::forecast("Oslo")).await.is("ok"));
    let refused = bench.ask(Ask::forecast("Oslo")).await;
    assert_refused(&refused, "rate_limit", "Rate limited: \"get_forecast\" on \"rate-limit\"");
    assert_eq!(bench.refusals("rate_limit", "rate_limit").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_full_refuses_and_who_waits_gets_the_slot() {
    let (_mute, api) = mute().await;
    let stack = Stack::new().concurrency(ConcurrencyLayer::new(ONE).queue(1)).attempt_limit(None);
    let bench = Bench::new("queue", stack, &api).await;
    let runs = bench.begin(Ask::forecast("Oslo")).await;
    bench.wait_for(CONCURRENCY_IN_FLIGHT, &[], 1).await;
    let waits = bench.begin(Ask::forecast("Oslo")).await;
    bench.wait_for(QUEUE_LENGTH, &[], 1).await;
    assert_refused(&bench.ask(Ask::forecast("Oslo")).await, "queue_full", "Busy: \"get_forecast\" on \"queue\"");
    assert_eq!(bench.refusals("concurrency", "queue_full").await, 1);

    let cancelled = [("error_type", "cancelled")];
    runs.cancel(None).await.unwrap();
    bench.wait_for(CLIENT_DURATION, &cancelled, 1).await;
    bench.wait_for(QUEUE_LENGTH, &[], 0).await;
    assert_eq!(bench.sum(CONCURRENCY_IN_FLIGHT, &[]).await, 1, "the slot is the next one's");
    waits.cancel(None).await.unwrap();
    bench.wait_for(CLIENT_DURATION, &cancelled, 2).await;
    for gauge in [CONCURRENCY_IN_FLIGHT, IN_FLIGHT] {
        bench.wait_for(gauge, &[], 0).await;
    }
}

/// A retry does not wait for a slot: the caller gets the answer that there was.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_finds_no_slot_is_refused() {
    // Nobody listens here, until the first attempt has failed.
    let (listener, api) = mute().await;
    let address = listener.local_addr().unwrap();
    drop(listener);
    let retry = RetryLayer::default().backoff(Every(Duration::from_secs(2)));
    let stack = Stack::new().concurrency(ConcurrencyLayer::new(ONE)).retry(retry).attempt_limit(None);
    let bench = Bench::new("no-slot", stack, &api).await;
    let fails = bench.begin(Ask::forecast("Oslo")).await;
    bench.wait_for(CLIENT_DURATION, &[("error_type", "not_sent")], 1).await;

    let _mute = TcpListener::bind(address).await.unwrap();
    let takes_the_slot = bench.begin(Ask::forecast("Oslo")).await;
    bench.wait_for(CONCURRENCY_IN_FLIGHT, &[], 1).await;
    let answer = Answer::of_response(within("the refused retry", fails.rx).await.unwrap());
    assert_eq!(answer.class, "not_sent", "{answer:?}");
    assert_eq!(bench.sum(RETRIES, &[("outcome", "refused")]).await, 1);
    assert_eq!(bench.refusals("concurrency", "no_slot").await, 0, "no call was answered with it");
    takes_the_slot.cancel(None).await.unwrap();
    bench.wait_for(CONCURRENCY_IN_FLIGHT, &[], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_any_time_is_too_late() {
    let backend = calm().await;
    let bench = Bench::new("deadline", Stack::new(), &backend.url()).await;
    let hurry = json!({ TIMEOUT_KEY: 0 });
    let call =
        Message::modern("tools/call", json!({ "name": FORECAST, "arguments": { "city": "Oslo", "days": 3 }, "_meta": hurry }));
    let refused = call.post(&bench.mcp).await;
    assert_eq!(refused.status(), StatusCode::OK, "a refused tool call is a result");
    let refused = refused.text().await.unwrap();
    assert!(refused.contains("Too late: ") && refused.contains("Nothing was done."), "{refused}");
    let read = Message::modern("resources/read", json!({ "uri": OBSERVATIONS, "_meta": hurry }));
    assert_eq!(read.post(&bench.mcp).await.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(bench.refusals("deadline", "deadline").await, 2);
    assert_eq!(backend.stats().requests.len(), 0, "nothing was done");
}

/// Each reason for not repeating a call that nothing forbids to repeat.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_of_no_use_is_skipped() {
    let mut backend = calm().await;
    backend.stop().await;
    let in_an_hour = Every(Duration::from_secs(3600));
    let retry = RetryLayer::default;
    for (upstream, reason, retry) in [
        ("last-attempt", "limit", retry()),
        ("no-budget", "no_budget", retry().budget(Budget::try_new(Budget::LEAST).unwrap().into())),
        ("no-time", "deadline", retry().backoff(in_an_hour)),
    ] {
        let bench = Bench::new(upstream, Stack::new().retry(retry), &backend.url()).await;
        assert_eq!(bench.ask(Ask::forecast("Oslo")).await.class, "not_sent");
        assert_eq!(bench.sum(RETRIES_SKIPPED, &[("reason", reason), ("gen_ai_tool_name", FORECAST)]).await, 1, "{upstream}");
        assert_eq!(bench.sum(RETRIES_SKIPPED, &[]).await, 1, "{upstream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_goes_all_its_ways() {
    let mut backend = calm().await;
    let settings = Settings {
        consecutive_failures: 2,
        cool_down_min: Duration::from_millis(50),
        cool_down_max: Duration::from_millis(50),
        ramp: Duration::ZERO,
        ..Settings::default()
    };
    let breaker = BreakerLayer::new(Policy::try_new(settings).unwrap());
    let stack = Stack::new().breaker(breaker).retry(RetryLayer::off());
    let bench = Bench::new("breaker", stack, &backend.url()).await;
    let forecast = async || bench.ask(Ask::forecast("Oslo")).await;
    let transitions = async |from, to| bench.sum(BREAKER_TRANSITIONS, &[("from", from), ("to", to)]).await;

    backend.stop().await;
    for _ in 0..2 {
        assert_eq!(forecast().await.class, "not_sent");
    }
    assert_eq!(transitions("closed", "open").await, 1);
    until("a refusal", async || forecast().await.is("local_reject").then_some(())).await;
    until("a probe that fails", async || {
        forecast().await;
        (transitions("half_open", "open").await > 0).then_some(())
    })
    .await;
    backend.resume().await.unwrap();
    until("a probe that passes", async || forecast().await.is("ok").then_some(())).await;

    let (opened, closed) = (transitions("half_open", "open").await, transitions("half_open", "closed").await);
    assert_eq!((transitions("closed", "open").await, closed), (1, 1));
    assert_eq!(transitions("open", "half_open").await, opened + closed);
    assert!(forecast().await.is("ok"), "with no ramp, all calls are let in at once");
}
