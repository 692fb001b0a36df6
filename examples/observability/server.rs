//! Every layer of the stack, with limits that this load meets.

use std::{error::Error, num::NonZeroU32, path::Path, sync::Arc, time::Duration};

use buttress::{
    Mode, Stack,
    admin::Admin,
    audit::{AuditLayer, FileSink},
    breaker::{self, BreakerLayer},
    cache::CacheLayer,
    call::{Arrival, Caller, TargetPolicy},
    catalogue::Catalogue,
    coalesce::CoalesceLayer,
    deadline::Limits,
    fault::{FaultHandle, FaultLayer},
    hedge::HedgeLayer,
    idempotency::IdempotencyLayer,
    loop_guard::{self, LoopGuardLayer},
    quota::QuotaLayer,
    rate_limit::RateLimitLayer,
    rmcp::{Server, ServerLayer},
    trace::TraceLayer,
};
use governor::{Quota, RateLimiter};
use tower::Layer;

use crate::{trail::FlakyDisk, weather::Weather};

/// What a tenant may make of calls each second: one of them wants more.
const PER_TENANT: u32 = 80;

/// What the operator of the backend would like to hold the attempts to. Only observed, to see what it would refuse.
const WISHED: u32 = 60;

/// How many frames the radar makes at once.
const FRAMES: u32 = 4;

const SECOND: Duration = Duration::from_secs(1);

/// The handler behind the stack, which `admin` shows, and what breaks it.
pub fn wrap(directory: &Path, admin: &Admin) -> Result<(Server<Weather>, FaultHandle), Box<dyn Error>> {
    let number = |of: u32| NonZeroU32::new(of).ok_or("none is no limit");
    // Shorter than the defaults, so that a breaker opens and closes again while one looks.
    let breaker = breaker::Settings { cool_down_min: 2 * SECOND, ramp: 4 * SECOND, ..breaker::Settings::default() };
    let guard = loop_guard::Settings { block_for: 15 * SECOND, ..loop_guard::Settings::default() };
    let faults = FaultLayer::seeded(1);
    let handle = faults.handle();
    let stack = Stack::new()
        .trace(TraceLayer::new())
        .audit(AuditLayer::new(FlakyDisk::new(FileSink::open(directory.join("audit.jsonl"))?))?)
        .deadline(Limits::at_most(5 * SECOND))
        .loop_guard(LoopGuardLayer::new(loop_guard::Policy::try_new(guard)?))
        .quota(QuotaLayer::new().per_tenant(Quota::per_second(number(PER_TENANT)?)).wait(SECOND / 5, 8))
        .idempotency(IdempotencyLayer::default())
        .cache(
            CacheLayer::new(1_u64.checked_shl(20).and_then(std::num::NonZeroU64::new).ok_or("a megabyte is not zero")?)
                .stale_while_revalidate(SECOND / 2)
                .stale_if_error(30 * SECOND),
        )
        .coalesce(CoalesceLayer::new())
        .hedge(HedgeLayer::new())
        .breaker(BreakerLayer::new(breaker::Policy::try_new(breaker)?))
        .rate_limit_layer(
            RateLimitLayer::new(Arc::new(RateLimiter::direct(Quota::per_second(number(WISHED)?)))).mode(Mode::Observe),
        )
        .attempt_limit(SECOND)
        .fault(faults);
    let catalogue = Catalogue::new("weather")
        .trust_annotations()
        .tool("get_weather", TargetPolicy::default().cache_for(SECOND))
        .tool("get_radar", TargetPolicy::default().concurrency(number(FRAMES)?));
    let layer = ServerLayer::with_catalogue(Arc::new(catalogue), &stack)?.identify(by_name);
    admin.watch(&stack, layer.catalogue());
    Ok((layer.layer(Weather::new()), handle))
}

/// The clients are called `tenant/agent`: nobody else can reach this server. A real one reads a token.
fn by_name(arrival: &Arrival<'_>) -> Caller {
    let name = arrival.client.unwrap_or("nobody");
    let tenant = name.split('/').next().unwrap_or(name);
    Caller::of_tenant(tenant).agent(name).access_token(tenant.as_bytes())
}
