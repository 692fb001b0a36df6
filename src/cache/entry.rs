//! An answer that is kept.

use std::{any::Any, sync::Arc, time::Duration};

use metrics::Gauge;
use tokio::time::Instant;

use crate::{
    call::{CallResult, Response, Served, Verdict},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// The answer, and when it came. Its life is counted by tokio's clock.
#[derive(Debug)]
pub(super) struct Entry {
    /// Of whatever type the service answers in: one layer may serve services of several.
    result: Box<dyn Any + Send + Sync>,
    pub(super) received: Instant,
    /// How long it is fresh, as the server said.
    pub(super) ttl: Duration,
    /// When the answer was asked for.
    pub(super) era: Era,
    pub(super) weight: u32,
    refreshing: AtomicBool,
    _held: Held,
}

/// A time between changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Era {
    /// How often all was forgotten before it.
    pub(super) cleared: u64,
    /// How often the answers of the target had changed before it.
    pub(super) changed: u64,
}

/// What the entry takes, in the gauges; given back with the entry's memory.
#[derive(Debug)]
pub(super) struct Held {
    entries: Gauge,
    bytes: Gauge,
    weight: u32,
}

impl Held {
    pub(super) fn new(entries: Gauge, bytes: Gauge, weight: u32) -> Self {
        entries.increment(1.0);
        bytes.increment(f64::from(weight));
        Self { entries, bytes, weight }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.entries.decrement(1.0);
        self.bytes.decrement(f64::from(self.weight));
    }
}

impl Entry {
    pub(super) fn new<R>(result: R, received: Instant, ttl: Duration, era: Era, held: Held) -> Self
    where
        R: Send + Sync + 'static,
    {
        let weight = held.weight;
        Self { result: Box::new(result), received, ttl, era, weight, refreshing: AtomicBool::new(false), _held: held }
    }

    /// The answer once more, which is fresh for so long after it came; `None`: it is stale. `None`: it is of another type than
    /// this service's.
    pub(super) fn answer<R: CallResult + 'static>(&self, now: Instant, fresh_for: Option<Duration>) -> Option<Response<R>> {
        let age = now.saturating_duration_since(self.received);
        let (left, stale) = (fresh_for.unwrap_or_default().saturating_sub(age), fresh_for.is_none());
        let mut response = Response::new(self.result.downcast_ref::<R>()?.clone());
        if let Ok(result) = &mut response.result {
            // Who keeps it in turn counts from when it has come.
            result.set_ttl(left);
        }
        response.verdict = Some(Verdict::Ok);
        response.served = Served::Cache { age, stale };
        Some(response)
    }
}

/// The right to fetch one entry anew in the background: one for each entry, and so many in all.
#[derive(Debug)]
pub(super) struct Refresh {
    entry: Arc<Entry>,
    under_way: Arc<AtomicUsize>,
}

impl Refresh {
    pub(super) fn of(entry: &Arc<Entry>, under_way: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        entry.refreshing.compare_exchange(false, true, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        let refresh = Self { entry: entry.clone(), under_way: under_way.clone() };
        // Counted before it is dropped, which counts down.
        let others = under_way.fetch_add(1, Ordering::Relaxed);
        (others < most).then_some(refresh)
    }
}

impl Drop for Refresh {
    fn drop(&mut self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.entry.refreshing.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;

    #[test]
    fn what_an_entry_takes_is_given_back_with_it() {
        let recorder = DebuggingRecorder::new();
        metrics::with_local_recorder(&recorder, || {
            // What has changed since the last look.
            let gauges = || {
                let seen = recorder.snapshotter().snapshot().into_vec().into_iter();
                let mut values: Vec<f64> = seen
                    .map(|(.., value)| if let DebugValue::Gauge(value) = value { value.into_inner() } else { f64::NAN })
                    .collect();
                values.sort_by(f64::total_cmp);
                values
            };
            let hold = || Held::new(metrics::gauge!("entries"), metrics::gauge!("bytes"), 7);
            let (one, other) = (hold(), hold());
            assert_eq!(gauges(), [2.0, 14.0]);
            drop(one);
            assert_eq!(gauges(), [-7.0, -1.0]);
            drop(other);
            assert_eq!(gauges(), [-7.0, -1.0]);
        });
    }
}
