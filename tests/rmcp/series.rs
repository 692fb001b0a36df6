//! The metrics of one test: recorded on its own thread, so tests do not see each other's.

use std::{cell::RefCell, collections::BTreeMap};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};

/// One series' name and labels.
type Key = (String, BTreeMap<String, String>);

/// Reads what a recorder has counted.
///
/// A snapshot sets all values back to zero, so they are added up here. That is right for counters, and for gauges that only
/// go up and down.
pub struct Series {
    recorder: DebuggingRecorder,
    totals: RefCell<BTreeMap<Key, f64>>,
}

impl Series {
    pub fn new() -> Self {
        Self { recorder: DebuggingRecorder::new(), totals: RefCell::default() }
    }

    /// Records here whatever this thread counts, for as long as the guard lives. The test has to stay on one thread.
    #[must_use]
    pub fn record(&self) -> metrics::LocalRecorderGuard<'_> {
        metrics::set_default_local_recorder(&self.recorder)
    }

    fn read(&self) -> BTreeMap<Key, f64> {
        let mut totals = self.totals.borrow_mut();
        for (key, _, _, value) in self.recorder.snapshotter().snapshot().into_vec() {
            let labels = key.key().labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
            let name = key.key().name().to_owned();
            *totals.entry((name, labels)).or_default() += match value {
                #[allow(clippy::cast_precision_loss, reason = "tests count to ten")]
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(level) => level.into_inner(),
                #[allow(clippy::cast_precision_loss, reason = "tests count to ten")]
                DebugValue::Histogram(samples) => samples.len() as f64,
            };
        }
        totals.clone()
    }

    /// The sum over all series of this metric that carry these labels; for a histogram, how many samples it holds.
    pub fn sum(&self, metric: buttress::metrics::Metric, labels: &[(&str, &str)]) -> f64 {
        // A label that does not apply is not there.
        let carries = |own: &BTreeMap<String, String>| {
            labels.iter().all(|(name, value)| own.get(*name).map_or("", String::as_str) == *value)
        };
        self.read().iter().filter(|((name, own), _)| name == metric.name && carries(own)).map(|(_, value)| value).sum()
    }

    /// Every value of this label, over all metrics.
    pub fn values(&self, label: &str) -> Vec<String> {
        let read = self.read();
        let mut values: Vec<_> = read.keys().filter_map(|(_, labels)| labels.get(label).cloned()).collect();
        values.sort_unstable();
        values.dedup();
        values
    }
}
