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

/// How calls come.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// So many a second, one like the other.
    Even(f64),
    /// So many a second on the average, of many callers who know nothing of each other.
    Poisson(f64),
}

impl Pace {
    const fn rate(self) -> f64 {
        match self {
            Self::Even(rate) | Self::Poisson(rate) => rate,
        }
    }

    /// Lets the time until the next call pass.
    pub async fn pause(self, rng: &mut Rng) {
        let gap = match self {
            Self::Even(rate) => 1.0 / rate,
            Self::Poisson(rate) => -(1.0 - rng.f64()).ln() / rate,
        };
        advance(Duration::from_secs_f64(gap)).await;
    }
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

/// An outage per seed, after a healthy time that fills all windows.
pub fn found(outages: u64, pace: Pace, trouble: Trouble, subject: impl Fn(u64) -> Subject + Sync) -> Vec<Found> {
    seeds(outages, |seed| run(outage(subject(seed), pace, trouble, Rng::with_seed(seed))))
}

async fn outage(subject: Subject, pace: Pace, trouble: Trouble, mut rng: Rng) -> Found {
    let healthy = (40.0 * pace.rate()).max(150.0) as u32;
    for _ in 0..healthy {
        pace.pause(&mut rng).await;
        let _ = subject.call(Act::Succeed).await;
    }
    assert!(!subject.is_open(), "it opens over a healthy upstream");
    let began = Instant::now();
    for calls in 1..=ENOUGH {
        pace.pause(&mut rng).await;
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
