//! What must not open a breaker.

use std::{num::NonZeroU32, sync::Arc};

use buttress::{
    BoxError,
    breaker::{BreakerLayer, State},
    call::{Method, Request, Response, TargetPolicy},
    catalogue::Catalogue,
    concurrency::ConcurrencyLayer,
    rate_limit::RateLimitLayer,
};
use fastrand::Rng;
use governor::{Quota, RateLimiter};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};

use super::{
    Act, Subject,
    detection::Pace,
    is_refusal,
    subject::{self, obedient},
};
use crate::world::run;

/// How often the breakers of four tools of one upstream open, and that of the upstream, if a tenth of the calls fail by chance.
pub fn trips(seed: u64, pace: f64, calls: u32) -> (usize, usize) {
    run(async {
        let mut rng = Rng::with_seed(seed);
        let names = ["a", "b", "c", "d"];
        let catalogue = names.iter().fold(Catalogue::new("up"), |all, name| all.tool(*name, TargetPolicy::default()));
        let tools = names.map(|name| catalogue.resolve(&Method::ToolsCall, Some(name), None));
        let layer = BreakerLayer::default().seeded(seed);
        let (handle, mut service) = (layer.handle(), layer.layer(obedient()));
        let (mut open, mut trips) = ([false; 4], (0, 0));
        for _ in 0..calls {
            // Each tool is called at this pace.
            Pace::Poisson(4.0 * pace).pause(&mut rng).await;
            let tool = rng.usize(..4);
            let act = if rng.u8(..10) == 0 { Act::Fail } else { Act::Succeed };
            let outcome = service.ready().await.expect("ready").call(Request::new(tools[tool].clone(), act)).await;
            match outcome {
                Ok(_) => open[tool] = false,
                // Only a failure can open it.
                Err(error) if !is_refusal(&error) => {
                    let is_open = handle.target(&tools[tool]).is_some_and(|status| status.state == State::Open);
                    trips.0 += usize::from(is_open && !open[tool]);
                    open[tool] = is_open;
                    trips.1 += usize::from(handle.upstream(&tools[tool]).is_some_and(|status| status.state != State::Closed));
                }
                Err(_) => {}
            }
        }
        trips
    })
}

/// A layer of the same stack that refuses.
#[derive(Debug, Clone, Copy)]
pub enum Limiter {
    Concurrency,
    RateLimit,
    LoadShed,
}

pub const LIMITERS: [(Limiter, &str); 3] = [
    (Limiter::Concurrency, "in front of a concurrency limit that is full"),
    (Limiter::RateLimit, "in front of a rate limit that is used up"),
    (Limiter::LoadShed, "in front of tower's load_shed over a full limit"),
];

/// How many of a thousand calls a breaker refuses because a limit behind it has refused those before.
pub async fn self_trips(limiter: Limiter, subject: impl Fn(subject::Service) -> Subject) -> usize {
    let hang = tower::service_fn(async |_: Request<Act>| std::future::pending::<Result<Response<()>, BoxError>>().await);
    let inner = match limiter {
        Limiter::Concurrency => BoxCloneSyncService::new(ConcurrencyLayer::new(NonZeroU32::MIN).queue(0).layer(hang)),
        Limiter::RateLimit => {
            let limit = Arc::new(RateLimiter::direct(Quota::per_hour(NonZeroU32::MIN)));
            BoxCloneSyncService::new(RateLimitLayer::new(limit).layer(hang))
        }
        Limiter::LoadShed => BoxCloneSyncService::new(ServiceBuilder::new().load_shed().concurrency_limit(1).service(hang)),
    };
    let subject = subject(inner);
    let (service, target) = (subject.service.clone(), subject.target.clone());
    // Takes what there is, and keeps it.
    let holder = tokio::spawn(service.oneshot(Request::new(target, Act::Succeed)));
    tokio::task::yield_now().await;
    let mut refused = 0;
    for _ in 0..1000 {
        let error = subject.call(Act::Succeed).await.expect_err("there is no room");
        refused += usize::from(is_refusal(&error));
    }
    holder.abort();
    refused
}
