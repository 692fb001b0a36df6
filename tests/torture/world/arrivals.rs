//! When calls are made.

use std::time::Duration;

use fastrand::Rng;

/// Calls that know nothing of each other (a Poisson process), at a rate that changes in steps.
#[derive(Debug, Clone)]
pub struct Load {
    steps: Vec<(f64, Duration)>,
}

impl Load {
    /// So many calls a second for so long.
    pub fn steady(rate: f64, lasts: Duration) -> Self {
        Self { steps: vec![(rate, lasts)] }
    }

    /// And then so many for so long.
    #[must_use]
    pub fn then(mut self, rate: f64, lasts: Duration) -> Self {
        self.steps.push((rate, lasts));
        self
    }

    /// The times of the calls, counted from the beginning.
    pub fn arrivals(&self, seed: u64) -> impl Iterator<Item = Duration> + use<> {
        let mut rng = Rng::with_seed(seed ^ 0x0061_7272_6976_616c);
        let mut begins = Duration::ZERO;
        let steps = self.steps.clone().into_iter().map(move |(rate, lasts)| {
            let from = begins;
            begins += lasts;
            (rate, from, begins)
        });
        steps.flat_map(move |(rate, from, to)| {
            // What is left of a gap where the rate changes is drawn anew: the process has no memory.
            let mut rng = rng.fork();
            std::iter::successors(Some(from), move |at| Some(*at + gap(&mut rng, rate))).skip(1).take_while(move |at| *at < to)
        })
    }
}

/// The time between two calls.
fn gap(rng: &mut Rng, rate: f64) -> Duration {
    Duration::try_from_secs_f64(-(1.0 - rng.f64()).ln() / rate).unwrap_or(Duration::MAX / 4)
}
