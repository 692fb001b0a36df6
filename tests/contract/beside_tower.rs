//! Beside tower's own layers: a layer of this crate is a plain `tower::Layer`.

use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use buttress::{
    BoxError, Stack,
    attempt::AttemptLayer,
    breaker::BreakerLayer,
    cache::CacheLayer,
    call::{Request, Response, Verdict},
    coalesce::CoalesceLayer,
    concurrency::ConcurrencyLayer,
    deadline::DeadlineLayer,
    hedge::HedgeLayer,
    panic::PanicLayer,
    quota::QuotaLayer,
    rate_limit::RateLimitLayer,
    record::RecordLayer,
    rescue::RescueLayer,
    retry::RetryLayer,
    timeout::TimeoutLayer,
};
use governor::{Quota, RateLimiter};
use tower::{Layer, Service, ServiceBuilder, limit::ConcurrencyLimit, service_fn, timeout::Timeout, util::BoxCloneSyncService};

use crate::{
    checks::{Checked, ensure},
    drive::{Driven, Served, call},
    plenty,
    probe::Probe,
    stage::{Act, Answer, Outcome, Params, Stage},
};

/// Around tower's concurrency limit (whose readiness waits) and its timeout; inside its load shedding and a mapped request.
pub async fn works_between_towers_layers<L>(layer: L) -> Checked
where
    L: Layer<ConcurrencyLimit<Timeout<Probe>>, Service: Served>,
{
    let stage = Stage::new();
    let mut service = ServiceBuilder::new()
        .map_request(|mut request: Request<Params>| {
            request.head.attempt_at = request.head.arrived;
            request
        })
        .load_shed()
        .layer(layer)
        .concurrency_limit(1)
        .timeout(Duration::from_secs(20))
        .service(stage.probe());

    for _ in 0..3 {
        call(&mut service, stage.request()).await?;
    }
    // The one place is taken, and given back: by a call that is dropped, and by one that times out.
    stage.script([Act::Hang, Act::Hang]);
    let mut hanging = Driven::new(service.clone(), stage.request());
    ensure!(hanging.poll().is_pending(), "a call whose handler hangs has ended");
    drop(hanging);
    let mut hanging = Driven::new(service.clone(), stage.request());
    ensure!(hanging.poll().is_pending(), "a call whose handler hangs has ended");
    tokio::time::advance(Duration::from_secs(25)).await;
    let _timed_out = hanging.poll();
    drop(hanging);
    call(&mut service, stage.request()).await?;
    ensure!((stage.running(), stage.offences().len()) == (0, 0), "{:?}", stage.offences());
    Ok(())
}

/// All layers of this crate and five of tower's, in one builder. As in `Stack`, the type is erased by a function that names the
/// request's and the response's type: this is what keeps the compile time of a deep stack flat.
fn sixteen<S: Served>(handler: S) -> BoxCloneSyncService<Request<Params>, Response<Answer>, BoxError> {
    let service = ServiceBuilder::new()
        .layer(RescueLayer::default())
        .map_request(|request: Request<Params>| request)
        .layer(RecordLayer::new())
        .layer(DeadlineLayer::default())
        .layer(QuotaLayer::new().overall(plenty()))
        .layer(CacheLayer::new(NonZeroU64::MIN))
        .layer(CoalesceLayer::new())
        .layer(HedgeLayer::new())
        .layer(RetryLayer::default())
        .layer(BreakerLayer::default().seeded(1))
        .layer(ConcurrencyLayer::default())
        .layer(RateLimitLayer::new(Arc::new(RateLimiter::direct(plenty()))))
        .load_shed()
        .concurrency_limit(4)
        .layer(AttemptLayer::new())
        .timeout(Duration::from_secs(20))
        .layer(TimeoutLayer::new(Duration::from_secs(30)))
        .map_err(|error: BoxError| error)
        .layer(PanicLayer::new())
        .service(handler);
    BoxCloneSyncService::new(service)
}

#[tokio::test(start_paused = true)]
async fn sixteen_layers_around_a_function() -> Checked {
    let stage = Stage::new();
    let greet = service_fn(async |_: Request<Params>| -> Outcome { Ok(Response::new("hello")) });
    let mut service = sixteen(greet);
    let response = call(&mut service, stage.request()).await?;
    assert_eq!((response.result, response.verdict, response.attempts), (Ok("hello"), Some(Verdict::Ok), 1));
    Ok(())
}

/// What goes wrong on the way is repaired and told as in `Stack`, tower's errors included.
#[tokio::test(start_paused = true)]
async fn mixed_layers_work_together() -> Checked {
    let stage = Stage::new();
    let mut service = sixteen(stage.probe());

    // A failure, and a panic, are repeated.
    stage.script([Act::Fail, Act::Panic, Act::Answer]);
    let response = call(&mut service, stage.request()).await?;
    assert_eq!((response.result, response.attempts), (Ok("answered"), 3));

    // Tower's timeout is understood: it ends the attempt, and the next one answers.
    stage.script([Act::Hang, Act::Answer]);
    let response = call(&mut service, stage.request()).await?;
    assert_eq!((response.result, response.attempts), (Ok("answered"), 2));

    // So is its load shedding, with all four places taken.
    stage.script([Act::Hang; 4]);
    let mut hanging = [0; 4].map(|_| Driven::new(service.clone(), stage.request()));
    assert!(hanging.iter_mut().all(|call| call.poll().is_pending()));
    let calls = stage.calls();
    let shed = call(&mut service, stage.request()).await?;
    assert_eq!((shed.verdict, shed.refusal.map(|refusal| refusal.status)), (Some(Verdict::LocalReject), Some(503)));
    assert_eq!(stage.calls(), calls);

    drop(hanging);
    assert_eq!(call(&mut service, stage.request()).await?.result, Ok("answered"));
    assert_eq!((stage.running(), stage.copies(), stage.offences().len()), (0, 0, 0));
    Ok(())
}

/// Two services that wait in our queue, each kept by its owner, must not hold the two places that tower's limit has: whoever
/// gets our slot needs one of them.
#[tokio::test(start_paused = true)]
async fn a_queue_does_not_hold_what_it_waits_for() -> Checked {
    let stage = Stage::new();
    let service =
        ServiceBuilder::new().layer(ConcurrencyLayer::new(NonZeroU32::MIN).queue(2)).concurrency_limit(2).service(stage.probe());
    stage.script([Act::Hang, Act::Answer, Act::Answer]);
    let [mut first, mut second, mut third] = [0; 3].map(|_| Driven::new(service.clone(), stage.request()));
    for call in [&mut first, &mut second, &mut third] {
        ensure!(call.poll().is_pending(), "a call does not wait for the slot");
    }
    drop(first);
    let _takes_what_was_freed = third.poll().is_ready();
    ensure!(second.poll().is_ready(), "the slot is free, and yet whoever is next in the queue waits");
    ensure!(third.poll().is_ready(), "the last call waits although it is alone");
    Ok(())
}

/// A stack keeps a copy of its handler for each thread that calls. A call that is refused leaves nothing reserved in it: here the
/// one place of tower's limit, which a call from elsewhere needs.
#[tokio::test(start_paused = true)]
async fn a_stack_that_refuses_holds_nothing_of_its_handler() -> Checked {
    let stage = Stage::new();
    let handler = ConcurrencyLimit::new(stage.probe(), 1);
    let limiter = Arc::new(RateLimiter::direct(Quota::per_hour(NonZeroU32::MIN)));
    let mut service = Stack::new().rate_limit(limiter).service(handler.clone());
    for calls in 1..3 {
        call(&mut service, stage.request()).await?;
        ensure!(stage.calls() == 1, "call {calls} has reached the handler, of which one may");
    }
    let free = handler.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
    ensure!(free.is_ready(), "the stack holds the handler's only place, and makes no call");
    Ok(())
}
