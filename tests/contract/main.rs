//! The contract: what every layer of this crate must do, whatever else it does.
//!
//! [`contract!`] below lists the layers; each gets every check of [`checks`] as a test of its own name. A check drives the
//! layer around a [`probe`](probe::Probe), through [scenes](scene::Scene) in which a call has to wait. Everything runs on the
//! paused clock, and nothing is drawn from an unknown seed.
//!
//! To add a layer, add a line; [`every_layer_is_listed`] fails until it is there.

mod beside_tower;
mod checks;
mod drive;
mod meter;
mod planted;
mod probe;
mod scene;
mod stage;

use std::{
    collections::BTreeSet,
    num::{NonZeroU32, NonZeroU64},
    path::Path,
    sync::Arc,
    time::Duration,
};

#[cfg(feature = "audit")]
use buttress::audit::{AuditLayer, OnFull};
use buttress::{
    attempt::AttemptLayer,
    breaker::{BreakerLayer, Policy, Settings},
    cache::CacheLayer,
    coalesce::CoalesceLayer,
    concurrency::{Bounds, ConcurrencyLayer},
    deadline::DeadlineLayer,
    error::Reason,
    fault::{Fault, FaultLayer, Plan, Trouble},
    hedge::HedgeLayer,
    idempotency::IdempotencyLayer,
    loop_guard::LoopGuardLayer,
    panic::PanicLayer,
    quota::QuotaLayer,
    rate_limit::RateLimitLayer,
    record::RecordLayer,
    rescue::RescueLayer,
    retry::{FullJitter, RetryLayer},
    timeout::TimeoutLayer,
    trace::TraceLayer,
};
use checks::{Checked, allocations, drops, readiness, refusals, retries, sharing, spin};
use drive::Subject;
use governor::{Quota, RateLimiter};
use refusals::Spent;
use stage::Act;

/// One line per layer: its name, which is its directory's; the layer; how often it allocates for a call that it lets through;
/// the event at which it counts something, if that is more than an answer; what makes it refuse, and the reason that it gives;
/// and after `in` a layer that is sooner at its limit, where the first one has room for the other checks.
macro_rules! contract {
    ($(
        $(#[$only:meta])?
        $name:ident: $layer:expr, allocations: $allocations:literal
            $(, counts: $event:expr)?
            $(, refuses: [$($spent:ident: $reason:ident),+] $(in $tight:expr)?)?;
    )*) => {
        const LISTED: &[&str] = &[$(stringify!($name)),*];
        $( $(#[$only])? mod $name {
            use super::*;

            fn layer() -> impl Subject {
                $layer
            }

            #[tokio::test(start_paused = true)]
            async fn calls_only_what_is_ready() -> Checked {
                readiness::calls_only_what_is_ready(layer()).await
            }

            #[tokio::test(start_paused = true)]
            async fn passes_readiness_errors_on() -> Checked {
                readiness::passes_readiness_errors_on(layer()).await
            }

            #[tokio::test(start_paused = true)]
            async fn keeps_nothing_ready_while_it_waits() -> Checked {
                readiness::keeps_nothing_ready_while_it_waits(layer()).await
            }

            #[tokio::test(start_paused = true)]
            async fn sleeps_while_it_waits() -> Checked {
                spin::sleeps_while_it_waits(layer()).await
            }

            #[tokio::test(start_paused = true)]
            async fn leaks_nothing_wherever_it_is_dropped() -> Checked {
                drops::leaks_nothing_wherever_it_is_dropped(layer()).await
            }

            #[tokio::test(start_paused = true)]
            async fn shares_its_handles_when_layered_twice() -> Checked {
                let events: &[Act] = &[Act::Answer, $($event)?];
                for event in events {
                    sharing::shares_its_handles(layer(), *event).await?;
                }
                Ok(())
            }

            #[tokio::test(start_paused = true)]
            async fn allocates_what_it_states() -> Checked {
                allocations::allocates_what_it_states(layer(), $allocations).await
            }

            #[tokio::test(start_paused = true)]
            async fn works_beside_towers_layers() -> Checked {
                beside_tower::works_between_towers_layers($layer).await
            }

            $(
                /// So through the service that used it up, and through another of the same layer.
                #[tokio::test(start_paused = true)]
                async fn refuses_in_its_own_name_when_layered_twice_too() -> Checked {
                    let tight = || or!(layer() $(, $tight)?);
                    for (spent, reason) in [$((Spent::$spent, Reason::$reason)),+] {
                        refusals::refuses(tight, stringify!($name), spent, reason).await?;
                    }
                    Ok(())
                }
            )?
        } )*
    };
}

/// The second of two, or the first where there is no second.
macro_rules! or {
    ($one:expr) => {
        $one
    };
    ($one:expr, $other:expr) => {
        $other
    };
}

const ONE: NonZeroU32 = NonZeroU32::MIN;
const MEGABYTE: NonZeroU64 = NonZeroU64::new(1 << 20).unwrap();
const THREE: NonZeroU32 = NonZeroU32::new(3).unwrap();
/// Longer than the scenes last, shorter than a call may.
const PATIENCE: Duration = Duration::from_secs(30);

contract! {
    rescue: RescueLayer::default(), allocations: 0;
    record: RecordLayer::new(), allocations: 0;
    trace: TraceLayer::new(), allocations: 0;
    // The record.
    #[cfg(feature = "audit")]
    audit: trail(), allocations: 1,
        refuses: [Slot: Unrecorded, Patience: Unrecorded] in trail_of_one();
    deadline: DeadlineLayer::default(), allocations: 0, refuses: [Time: Deadline];
    loop_guard: LoopGuardLayer::default(), allocations: 0, refuses: [Failures: Loop];
    quota: QuotaLayer::new().overall(plenty()), allocations: 0,
        refuses: [Call: Quota] in QuotaLayer::new().overall(one());
    idempotency: IdempotencyLayer::default().single_caller(), allocations: 0;
    cache: CacheLayer::new(MEGABYTE).single_caller(), allocations: 0;
    // The call that others may join, what wakes them, their places, its end, and its future.
    coalesce: CoalesceLayer::new().single_caller(), allocations: 5;
    // Who has the turn to repeat it.
    hedge: HedgeLayer::new(), allocations: 1;
    retry: RetryLayer::new(THREE).backoff(FullJitter::default().seeded(1)), allocations: 0, counts: Act::Fail,
        refuses: [Readiness: Deadline];
    breaker: BreakerLayer::new(brittle()).seeded(1), allocations: 0, refuses: [Failures: BreakerOpen];
    concurrency: ConcurrencyLayer::new(ONE), allocations: 0,
        refuses: [Slot: NoSlot, Patience: Deadline, Queue: QueueFull];
    rate_limit: RateLimitLayer::new(Arc::new(RateLimiter::direct(plenty()))), allocations: 0,
        refuses: [Call: RateLimit] in RateLimitLayer::new(Arc::new(RateLimiter::direct(one())));
    attempt: AttemptLayer::new(), allocations: 0;
    timeout: TimeoutLayer::new(PATIENCE), allocations: 0, counts: Act::Hang;
    panic: PanicLayer::new(), allocations: 0, counts: Act::Panic;
    fault: harmless(), allocations: 0;
}

/// Writes nowhere.
#[cfg(feature = "audit")]
#[expect(clippy::unwrap_used, reason = "clippy takes it for no test, and a test without threads has failed")]
fn trail() -> AuditLayer {
    AuditLayer::new(std::io::sink()).unwrap()
}

/// With a place for the record of one call, and none is made without.
#[cfg(feature = "audit")]
#[expect(clippy::unwrap_used, reason = "clippy takes it for no test, and a test without threads has failed")]
fn trail_of_one() -> AuditLayer {
    AuditLayer::with_capacity(std::io::sink(), std::num::NonZeroUsize::MIN).unwrap().on_full(OnFull::FailClosed)
}

/// Switched on, and breaks nothing.
#[expect(clippy::unwrap_used, reason = "clippy takes it for no test, and these settings are constants")]
fn harmless() -> FaultLayer {
    let layer = FaultLayer::seeded(1);
    layer.handle().inject(Plan::all(Trouble::new([(Fault::NotSent, 0.0)]).unwrap()));
    layer
}

/// More than any check uses.
const fn plenty() -> Quota {
    const CALLS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();
    Quota::per_second(CALLS)
}

/// One call, and none again while a check runs.
const fn one() -> Quota {
    Quota::per_hour(ONE)
}

/// Opens at the second failure in a row, and once its probe has passed, lets all through at once.
#[expect(clippy::unwrap_used, reason = "clippy takes it for no test, and these settings are constants")]
fn brittle() -> Policy {
    Policy::try_new(Settings { consecutive_failures: 2, ramp: Duration::ZERO, ..Settings::default() }).unwrap()
}

/// Its other half.
#[tokio::test(start_paused = true)]
async fn trace_of_attempts_does_as_that_of_calls() -> Checked {
    let layer = || TraceLayer::new().of_attempts();
    readiness::calls_only_what_is_ready(layer()).await?;
    drops::leaks_nothing_wherever_it_is_dropped(layer()).await?;
    allocations::allocates_what_it_states(layer(), 0).await
}

#[tokio::test(start_paused = true)]
async fn retry_shares_its_budget_when_layered_twice() -> Checked {
    retries::shares_its_budget().await
}

#[tokio::test(start_paused = true)]
async fn concurrency_allocates_nothing_where_its_limit_adapts() -> Checked {
    allocations::allocates_what_it_states(ConcurrencyLayer::adaptive(Bounds::default()), 0).await
}

#[tokio::test(start_paused = true)]
async fn concurrency_keeps_nothing_ready_where_its_limit_adapts() -> Checked {
    readiness::calls_only_what_is_ready(ConcurrencyLayer::adaptive(one_slot())).await
}

/// A limit that adapts to nothing.
#[expect(clippy::unwrap_used, reason = "clippy takes it for no test, and these settings are constants")]
fn one_slot() -> Bounds {
    Bounds::try_new(1, 1, 1).unwrap()
}

#[tokio::test(start_paused = true)]
async fn retry_pays_for_attempts_that_are_made() -> Checked {
    retries::pays_for_attempts_that_are_made().await
}

#[tokio::test(start_paused = true)]
async fn retry_shows_what_it_earns() -> Checked {
    retries::shows_what_it_earns().await
}

#[tokio::test(start_paused = true)]
async fn timeout_gives_up_on_what_hangs() -> Checked {
    refusals::gives_up_on_what_hangs(TimeoutLayer::new(PATIENCE), PATIENCE).await
}

/// Each call after the first waits a second for its turn.
fn quota_with_a_line() -> QuotaLayer {
    QuotaLayer::new().overall(Quota::per_second(ONE)).wait(PATIENCE, 100)
}

#[tokio::test(start_paused = true)]
async fn quota_calls_only_what_is_ready_after_waiting() -> Checked {
    readiness::calls_only_what_is_ready(quota_with_a_line()).await
}

#[tokio::test(start_paused = true)]
async fn quota_keeps_nothing_ready_in_its_line() -> Checked {
    readiness::keeps_nothing_ready_while_it_waits(quota_with_a_line()).await
}

#[tokio::test(start_paused = true)]
async fn quota_sleeps_in_its_line() -> Checked {
    spin::sleeps_while_it_waits(quota_with_a_line()).await
}

#[tokio::test(start_paused = true)]
async fn quota_leaks_nothing_from_its_line() -> Checked {
    drops::leaks_nothing_wherever_it_is_dropped(quota_with_a_line()).await
}

#[test]
fn every_layer_is_listed() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let entries = src.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let layers = entries.filter(|path| path.join("layer.rs").exists());
    let layers: BTreeSet<String> = layers.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(layers, LISTED.iter().map(ToString::to_string).collect(), "directories of layers, and the list of this suite");
}
