//! A recorder of metrics that checks can read at any time.
//!
//! `metrics_util`'s `DebuggingRecorder` sets gauges to zero whenever it is read, so it cannot tell whether one has come back
//! to its value; and it does not tell how often a handle was asked for.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Every series by its name and labels, and its value.
type Series = Mutex<BTreeMap<String, Arc<AtomicU64>>>;

/// The recorder. Install it with `metrics::set_default_local_recorder`: each test runs on a thread of its own.
#[derive(Debug, Default)]
pub struct Meter {
    gauges: Series,
    /// Counters, and histograms by the number of their samples.
    counts: Series,
    handles: AtomicUsize,
}

impl Meter {
    /// The value of each gauge.
    pub fn gauges(&self) -> BTreeMap<String, f64> {
        read(&self.gauges, f64::from_bits)
    }

    /// The value of each counter, and the number of samples in each histogram.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        read(&self.counts, |count| count)
    }

    /// How many handles have been asked for, those of one series each counted.
    pub fn handles(&self) -> usize {
        self.handles.load(Ordering::Relaxed)
    }

    fn cell(&self, series: &Series, key: &Key) -> Arc<AtomicU64> {
        self.handles.fetch_add(1, Ordering::Relaxed);
        let labels: Vec<String> = key.labels().map(|label| format!("{}={:?}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        series.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default().clone()
    }
}

fn read<T>(series: &Series, value: impl Fn(u64) -> T) -> BTreeMap<String, T> {
    let series = series.lock().unwrap_or_else(PoisonError::into_inner);
    series.iter().map(|(name, cell)| (name.clone(), value(cell.load(Ordering::Relaxed)))).collect()
}

impl Recorder for Meter {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(&self.counts, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(&self.gauges, key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Samples(self.cell(&self.counts, key))))
    }
}

struct Samples(Arc<AtomicU64>);

impl HistogramFn for Samples {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
