//! A tool that is well again, and tenants that leave each call before its answer could come: who stays, must get it.

use std::time::Duration;

use buttress::{
    BoxError,
    breaker::BreakerLayer,
    call::{Caller, Request, Response},
};
use fastrand::Rng;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};

use super::{
    detection::Found,
    subject::{Act, Service},
};
use crate::world::{run, tool};

const SECOND: Duration = Duration::from_secs(1);
/// What the tool takes now, and how long the impatient stay.
const TAKES: Duration = Duration::from_secs(12);
const STAYS: Duration = Duration::from_secs(10);

/// How often somebody who stays has to ask, three times a minute, and how long that takes until it is let in: an hour, or never.
pub fn let_in(seed: u64, tenants: u32) -> Found {
    run(async {
        let mut rng = Rng::with_seed(seed);
        let (service, target) = (slow(seed), tool("tool", true));
        let of = |tenant: u32, act| {
            let mut request = Request::new(target.clone(), act);
            request.head.caller = Caller::of_tenant(tenant.to_string());
            request
        };
        for _ in 0..6 {
            service.clone().oneshot(of(0, Act::Fail)).await.expect_err("it fails");
        }
        let mut leave = JoinSet::new();
        for tenant in 1..=tenants {
            let (service, mut rng) = (service.clone(), Rng::with_seed(rng.u64(..)));
            let request = of(tenant, Act::Succeed);
            let (target, caller) = (request.head.target, request.head.caller);
            leave.spawn(async move {
                loop {
                    let mut request = Request::new(target.clone(), Act::Succeed);
                    request.head.caller = caller.clone();
                    let _ = timeout(STAYS, service.clone().oneshot(request)).await;
                    sleep(Duration::from_millis(rng.u64(50..150))).await;
                }
            });
        }
        let (began, mut calls) = (Instant::now(), 0);
        while began.elapsed() < 3600 * SECOND {
            let time = began.elapsed().as_secs_f64();
            calls += 1;
            if service.clone().oneshot(of(0, Act::Succeed)).await.is_ok() {
                return Found { calls, time };
            }
            sleep(Duration::from_millis(rng.u64(15_000..25_000))).await;
        }
        Found { calls, time: f64::INFINITY }
    })
}

/// The breaker as it is by default, around a tool that takes its time to succeed.
fn slow(seed: u64) -> Service {
    let inner = service_fn(async |request: Request<Act>| match request.params {
        Act::Succeed => {
            sleep(TAKES).await;
            Ok(Response::new(()))
        }
        _ => Err(BoxError::from("broken")),
    });
    Service::new(BreakerLayer::default().seeded(seed).layer(inner))
}
