//! How this process and its runtime fare.

use std::time::Duration;

use metrics::Gauge;
use metrics_process::Collector;
use tokio::{
    runtime::{Handle, RuntimeMetrics},
    time::Instant,
};

use crate::metrics::{ALLOCATED, BUSY_RATIO, EVENT_LOOP_LAG, GLOBAL_QUEUE_DEPTH, TASKS, WORKERS};

/// How often the event loop is asked how late it is.
const PROBE: Duration = Duration::from_millis(100);

/// For ever measures how much later than it asked for a task is woken. The timer itself rounds up to a millisecond.
pub(super) async fn probe_lag() {
    let lag = EVENT_LOOP_LAG.histogram([]);
    loop {
        lag.record(overshoot().await.as_secs_f64());
    }
}

async fn overshoot() -> Duration {
    let due = Instant::now() + PROBE;
    tokio::time::sleep_until(due).await;
    due.elapsed()
}

/// Says how many bytes of the allocator's memory the program holds.
pub(super) type Allocated = Box<dyn Fn() -> u64 + Send>;

/// What is asked from time to time.
pub(super) struct Runtime {
    process: Collector,
    metrics: RuntimeMetrics,
    workers: Gauge,
    tasks: Gauge,
    queue: Gauge,
    busy: Vec<Busy>,
    allocated: Option<(Gauge, Allocated)>,
    last: Instant,
}

struct Busy {
    ratio: Gauge,
    total: Duration,
}

impl Runtime {
    /// Of the runtime that this is called on, and of this allocator.
    pub(super) fn new(allocated: Option<Allocated>) -> Self {
        let metrics = Handle::current().metrics();
        let process = Collector::default();
        process.describe();
        let busy = (0..metrics.num_workers())
            .map(|worker| Busy { ratio: BUSY_RATIO.gauge([worker.to_string().into()]), total: busy_time(&metrics, worker) });
        Self {
            process,
            busy: busy.collect(),
            workers: WORKERS.gauge([]),
            tasks: TASKS.gauge([]),
            queue: GLOBAL_QUEUE_DEPTH.gauge([]),
            allocated: allocated.map(|ask| (ALLOCATED.gauge([]), ask)),
            last: Instant::now(),
            metrics,
        }
    }

    /// Looks again. Reads files of the system's, so not for an async thread.
    pub(super) fn sample(&mut self, now: Instant) {
        self.process.collect();
        self.workers.set(self.metrics.num_workers() as f64);
        self.tasks.set(self.metrics.num_alive_tasks() as f64);
        self.queue.set(self.metrics.global_queue_depth() as f64);
        if let Some((gauge, ask)) = &self.allocated {
            gauge.set(ask() as f64);
        }
        let passed = now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
        for (worker, busy) in self.busy.iter_mut().enumerate() {
            let total = busy_time(&self.metrics, worker);
            let worked = total.saturating_sub(std::mem::replace(&mut busy.total, total)).as_secs_f64();
            // A worker adds up its time when it parks, which may be after the moment that it is asked.
            busy.ratio.set(if passed > 0.0 { (worked / passed).min(1.0) } else { 0.0 });
        }
    }
}

#[cfg(target_has_atomic = "64")]
fn busy_time(metrics: &RuntimeMetrics, worker: usize) -> Duration {
    metrics.worker_total_busy_duration(worker)
}

/// Tokio counts it in 64 bits, or not at all.
#[cfg(not(target_has_atomic = "64"))]
fn busy_time(_: &RuntimeMetrics, _: usize) -> Duration {
    Duration::ZERO
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_is_held_up_is_late_by_as_much() {
        let probe = tokio::spawn(overshoot());
        tokio::task::yield_now().await;
        // As if this task had kept the only thread for so long.
        tokio::time::advance(PROBE + Duration::from_millis(250)).await;
        assert_eq!(probe.await.unwrap(), Duration::from_millis(250));
        assert!(overshoot().await <= Duration::from_millis(1), "and one that is not, is in time");
    }
}
