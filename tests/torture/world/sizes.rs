//! How much work calls are.

use std::{f64::consts::TAU, time::Duration};

use fastrand::Rng;

/// A distribution of sizes: the time that a call takes a server that it has for itself.
#[derive(Debug, Clone)]
pub struct Sizes {
    mean: f64,
    shape: Shape,
    rng: Rng,
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Exponential,
    Even { spread: f64 },
    Lognormal { sigma: f64 },
}

impl Sizes {
    /// Most are short, some long: the standard deviation is the mean.
    pub fn exponential(mean: Duration) -> Self {
        Self::new(mean, Shape::Exponential)
    }

    /// Of low variance: evenly spread over `mean` x (1 - spread .. 1 + spread).
    pub fn even(mean: Duration, spread: f64) -> Self {
        Self::new(mean, Shape::Even { spread })
    }

    /// Of a heavy tail: the logarithm is normal with the deviation `sigma`.
    pub fn lognormal(mean: Duration, sigma: f64) -> Self {
        Self::new(mean, Shape::Lognormal { sigma })
    }

    fn new(mean: Duration, shape: Shape) -> Self {
        Self { mean: mean.as_secs_f64(), shape, rng: Rng::with_seed(0) }
    }

    /// The same, drawn from this seed.
    #[must_use]
    pub fn seeded(&self, seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed ^ 0x0073_697a_6573), ..self.clone() }
    }

    /// The size of the next call.
    pub fn draw(&mut self) -> Duration {
        let rng = &mut self.rng;
        let share = match self.shape {
            Shape::Exponential => -(1.0 - rng.f64()).ln(),
            Shape::Even { spread } => 1.0 + spread * (2.0 * rng.f64() - 1.0),
            Shape::Lognormal { sigma } => {
                let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (TAU * rng.f64()).cos();
                sigma.mul_add(normal, -sigma * sigma / 2.0).exp()
            }
        };
        Duration::from_secs_f64(self.mean * share)
    }
}

mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_mean_and_the_spread_that_was_asked_for() {
        let mean = Duration::from_millis(50);
        for (mut sizes, deviation) in [
            (Sizes::exponential(mean), 1.0),
            (Sizes::even(mean, 0.2), 0.2 / 3.0_f64.sqrt()),
            (Sizes::lognormal(mean, 0.5), (0.25_f64.exp() - 1.0).sqrt()),
        ] {
            let drawn: Vec<f64> = (0..200_000).map(|_| sizes.draw().as_secs_f64() / 0.05).collect();
            let mean = drawn.iter().sum::<f64>() / 200_000.0;
            let variance = drawn.iter().map(|size| (size - mean).powi(2)).sum::<f64>() / 200_000.0;
            assert!((mean - 1.0).abs() < 0.01 && (variance.sqrt() - deviation).abs() < 0.02, "{sizes:?}: {mean} {variance}");
        }
    }
}
