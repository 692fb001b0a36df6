use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::metrics::{BUCKETS, EVENT_LOOP_LAG};

/// The bucket bounds of the event loop's lag, in seconds, where a tenth of a second is long.
const LAG_BUCKETS: [f64; 10] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// How often samples are moved from the recorder's buffers into their buckets, and others are taken.
const UPKEEP: Duration = Duration::from_secs(5);

/// The beat of all upkeep. After the process stood still, it is not made up for: one tick would be on the heels of another.
pub(super) fn beat() -> Interval {
    let mut beat = interval(UPKEEP);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

/// This process's metrics, recorded for Prometheus. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    installed: Instant,
}

/// The recorder could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("the metrics recorder cannot be installed: is there another one in this process?")]
pub struct InstallError(#[from] BuildError);

impl Metrics {
    /// Installs a Prometheus recorder for this process, with our buckets, and describes our metrics to it.
    ///
    /// Do this before anything is counted, and keep [`upkeep`](Self::upkeep) running
    /// ([`Admin::serve`](super::Admin::serve) does).
    ///
    /// # Errors
    ///
    /// If the process has a recorder already.
    pub fn install() -> Result<Self, InstallError> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".to_owned()), &BUCKETS)?
            .set_buckets_for_metric(Matcher::Full(EVENT_LOOP_LAG.name.to_owned()), &LAG_BUCKETS)?
            .install_recorder()?;
        crate::metrics::describe();
        Ok(Self { handle, installed: Instant::now() })
    }

    /// All metrics as Prometheus's text format. Takes a while where there are many: not for an async thread.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// How long ago it was installed.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.installed)
    }

    /// Moves samples into their buckets every 5 s, for ever. Without it, samples pile up in memory between scrapes.
    pub async fn upkeep(&self) {
        let mut beat = beat();
        loop {
            beat.tick().await;
            let handle = self.handle.clone();
            // Fails only where the runtime is shutting down.
            let _ = tokio::task::spawn_blocking(move || handle.run_upkeep()).await;
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn samples_after_a_standstill_are_as_far_apart_as_ever() {
        let mut beat = beat();
        beat.tick().await;
        tokio::time::advance(UPKEEP * 10).await;
        beat.tick().await;
        let before = Instant::now();
        beat.tick().await;
        assert_eq!(before.elapsed(), UPKEEP);
    }
}
