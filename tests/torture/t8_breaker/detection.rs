//! How soon a breaker finds that all is not well.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, advance};

use super::{Act, Subject};
use crate::world::{run, seeds};

/// What the upstream does from some moment on.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// It fails all calls.
    Hard,
    /// Each call fails by the toss of a coin.
    Half,
    /// It throttles all calls.
    Throttled,
}

/// When the breaker had opened.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Calls since the trouble began, the last one included.
    pub calls: u32,
    /// Seconds since the last call before it; infinite if it was never found.
    pub time: f64,
}

/// After so many calls it is not found any more.
const ENOUGH: u32 = 20_000;

/// An outage per seed, after a healthy time that fills all windows, at a pace of so many calls a second.
pub fn found(outages: u64, pace: f64, trouble: Trouble, subject: impl Fn(u64) -> Subject + Sync) -> Vec<Found> {
    seeds(outages, |seed| run(outage(subject(seed), pace, trouble, Rng::with_seed(seed))))
}

async fn outage(subject: Subject, pace: f64, trouble: Trouble, mut rng: Rng) -> Found {
    let healthy = (40.0 * pace).max(150.0) as u32;
    for _ in 0..healthy {
        pause(pace, &mut rng).await;
        let _ = subject.call(Act::Succeed).await;
    }
    assert!(!subject.is_open(), "it opens over a healthy upstream");
    let began = Instant::now();
    for calls in 1..=ENOUGH {
        pause(pace, &mut rng).await;
        let act = match trouble {
            Trouble::Hard => Act::Fail,
            Trouble::Half if rng.bool() => Act::Fail,
            Trouble::Half => Act::Succeed,
            Trouble::Throttled => Act::Throttle,
        };
        let _ = subject.call(act).await;
        if subject.is_open() {
            return Found { calls, time: began.elapsed().as_secs_f64() };
        }
    }
    Found { calls: ENOUGH, time: f64::INFINITY }
}

/// Until the next call of a Poisson process.
pub async fn pause(pace: f64, rng: &mut Rng) {
    advance(Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / pace)).await;
}
