//! How long to wait before an attempt is repeated.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fastrand::Rng;

/// Why an attempt is repeated, as far as the delay is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The backend asked for less.
    Throttled,
    /// Anything else.
    Failed,
}

/// The delays of one call, one after another.
pub trait Backoff: Send {
    /// The delay before the next attempt; `None` ends the retries.
    fn next_delay(&mut self, cause: Cause) -> Option<Duration>;
}

/// Makes a [`Backoff`] for a call that has failed for the first time.
pub trait MakeBackoff: Send + Sync {
    /// A fresh series of delays.
    fn make_backoff(&self) -> Box<dyn Backoff>;
}

/// Full jitter: a random share of `min(base x 2^i, cap)`, where `i` counts the retries of this call from 0
/// (Brooker, "Exponential Backoff and Jitter", 2015; the AWS standard retry mode of 2026 caps before it draws).
pub struct FullJitter {
    base: Duration,
    throttled_base: Duration,
    cap: Duration,
    rng: Mutex<Rng>,
}

impl Default for FullJitter {
    /// 50 ms, 1 s when throttled, at most 20 s.
    fn default() -> Self {
        Self::of(Duration::from_millis(50), Duration::from_secs(1), Duration::from_secs(20))
    }
}

impl FullJitter {
    /// Delays that start at a share of `base`, or of `throttled_base` where the backend asked for less, and never exceed
    /// `cap`.
    ///
    /// # Errors
    ///
    /// A base that is above `cap`, with both values.
    pub fn try_new(base: Duration, throttled_base: Duration, cap: Duration) -> Result<Self, FullJitterError> {
        let longer = base.max(throttled_base);
        if longer > cap {
            return Err(FullJitterError { base: longer, cap });
        }
        Ok(Self::of(base, throttled_base, cap))
    }

    fn of(base: Duration, throttled_base: Duration, cap: Duration) -> Self {
        Self { base, throttled_base, cap, rng: Mutex::new(Rng::new()) }
    }

    /// The same with a fixed seed, for tests that are to be repeated.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.rng = Mutex::new(Rng::with_seed(seed));
        self
    }
}

/// A delay that could never be waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a base is {base:?}, but must be no longer than cap, which is {cap:?}")]
pub struct FullJitterError {
    /// The longer one of the bases given.
    pub base: Duration,
    /// The `cap` given.
    pub cap: Duration,
}

impl fmt::Debug for FullJitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FullJitter")
            .field("base", &self.base)
            .field("throttled_base", &self.throttled_base)
            .field("cap", &self.cap)
            .finish_non_exhaustive()
    }
}

impl MakeBackoff for FullJitter {
    fn make_backoff(&self) -> Box<dyn Backoff> {
        Box::new(Jittered {
            base: self.base,
            throttled_base: self.throttled_base,
            cap: self.cap,
            retries: 0,
            rng: self.rng.lock().unwrap_or_else(PoisonError::into_inner).fork(),
        })
    }
}

struct Jittered {
    base: Duration,
    throttled_base: Duration,
    cap: Duration,
    retries: u32,
    rng: Rng,
}

impl Backoff for Jittered {
    fn next_delay(&mut self, cause: Cause) -> Option<Duration> {
        let base = match cause {
            Cause::Throttled => self.throttled_base,
            Cause::Failed => self.base,
        };
        let ceiling = base.saturating_mul(1_u32.checked_shl(self.retries).unwrap_or(u32::MAX)).min(self.cap);
        self.retries += 1;
        Some(ceiling.mul_f64(self.rng.f64()))
    }
}

/// Lets any `backoff::backoff::Backoff` set the delays: each call gets a clone of it, reset.
///
/// The crate `backoff` is no longer maintained (RUSTSEC-2025-0012); this is for those who have one already.
#[cfg(feature = "backoff")]
#[derive(Debug, Clone)]
pub struct FromBackoff<B>(pub B);

#[cfg(feature = "backoff")]
impl<B> MakeBackoff for FromBackoff<B>
where
    B: backoff::backoff::Backoff + Clone + Send + Sync + 'static,
{
    fn make_backoff(&self) -> Box<dyn Backoff> {
        let mut series = self.0.clone();
        series.reset();
        Box::new(Self(series))
    }
}

#[cfg(feature = "backoff")]
impl<B> Backoff for FromBackoff<B>
where
    B: backoff::backoff::Backoff + Send,
{
    fn next_delay(&mut self, _cause: Cause) -> Option<Duration> {
        self.0.next_backoff()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn delays_fill_the_range_below_a_ceiling_that_doubles_up_to_the_cap() {
        let jitter = FullJitter::try_new(50 * MS, 300 * MS, 300 * MS).unwrap().seeded(7);
        for (retry, ceiling) in [50, 100, 200, 300, 300].into_iter().enumerate() {
            let ceiling = ceiling * MS;
            let delays: Vec<Duration> = (0..400)
                .map(|_| {
                    let mut series = jitter.make_backoff();
                    for _ in 0..retry {
                        series.next_delay(Cause::Failed);
                    }
                    series.next_delay(Cause::Failed).unwrap()
                })
                .collect();
            assert!(delays.iter().all(|delay| *delay <= ceiling), "retry {retry}");
            assert!(delays.iter().any(|delay| *delay > ceiling.mul_f64(0.95)), "retry {retry}");
            assert!(delays.iter().any(|delay| *delay < ceiling.mul_f64(0.05)), "retry {retry}");
        }
    }

    #[test]
    fn a_base_above_the_cap_is_refused() {
        for (base, throttled) in [(301, 1), (1, 301)] {
            let error = FullJitter::try_new(base * MS, throttled * MS, 300 * MS).unwrap_err();
            assert_eq!(error.to_string(), "a base is 301ms, but must be no longer than cap, which is 300ms");
        }
    }

    #[test]
    fn a_throttled_call_waits_longer_and_many_retries_do_not_overflow() {
        let jitter = FullJitter::default().seeded(7);
        let mean = |cause| {
            let sum: Duration = (0..400).map(|_| jitter.make_backoff().next_delay(cause).unwrap()).sum();
            sum / 400
        };
        assert!(mean(Cause::Throttled) > 15 * mean(Cause::Failed));
        let mut series = jitter.make_backoff();
        assert!((0..100).all(|_| series.next_delay(Cause::Failed).unwrap() <= Duration::from_secs(20)));
    }

    #[cfg(feature = "backoff")]
    #[test]
    fn a_backoff_of_that_crate_drives_each_call_from_its_start() {
        let make = FromBackoff(backoff::ExponentialBackoff {
            initial_interval: 10 * MS,
            current_interval: 10 * MS,
            randomization_factor: 0.0,
            multiplier: 3.0,
            ..backoff::ExponentialBackoff::default()
        });
        for _ in 0..2 {
            let mut series = make.make_backoff();
            assert_eq!(series.next_delay(Cause::Failed), Some(10 * MS));
            assert_eq!(series.next_delay(Cause::Throttled), Some(30 * MS));
        }
    }
}
