//! The callers' count of their calls.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::answer::Answer;
use crate::weather::OBSERVATIONS;

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Weather,
    Forecast,
    Report,
    PackingList,
    Observations,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Weather, Self::Forecast, Self::Report, Self::PackingList, Self::Observations];

    /// The name of the tool or prompt, or the resource's URI.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weather => "get_weather",
            Self::Forecast => "get_forecast",
            Self::Report => "report_observation",
            Self::PackingList => "packing_list",
            Self::Observations => OBSERVATIONS,
        }
    }
}

/// The calls of one kind.
#[derive(Debug, Clone, Default)]
pub struct Row {
    pub calls: u64,
    pub ok: u64,
    /// Errors by class.
    pub errors: BTreeMap<String, u64>,
    /// Calls that nobody answered.
    pub unanswered: u64,
    pub latencies: Latencies,
}

impl Row {
    /// Takes the calls of `other` in.
    pub fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.ok += other.ok;
        self.unanswered += other.unanswered;
        for (class, count) in &other.errors {
            *self.errors.entry(class.clone()).or_default() += count;
        }
        self.latencies.merge(&other.latencies);
    }
}

/// A row per [`Kind`], in that order.
pub type Rows = [Row; Kind::ALL.len()];

/// The count of all calls.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Rows>);

impl Tally {
    /// Counts a call that is over.
    pub fn count(&self, kind: Kind, answer: &Answer, latency: Duration) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let row = &mut rows[kind as usize];
        row.calls += 1;
        row.latencies.record(latency);
        match answer {
            Answer::Ok => row.ok += 1,
            Answer::Error(class) => *row.errors.entry(class.clone()).or_default() += 1,
            Answer::None => row.unanswered += 1,
        }
    }

    /// The count so far.
    pub fn rows(&self) -> Rows {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls that nobody answered.
    pub fn unanswered(&self) -> u64 {
        self.rows().iter().map(|row| row.unanswered).sum()
    }
}

/// Latencies, in buckets that each end a twentieth higher than the one before: of a fixed size, and as good as exact to the
/// eye.
#[derive(Debug, Clone)]
pub struct Latencies {
    buckets: Vec<u64>,
}

const GROWTH: f64 = 1.05;

/// Up to five minutes, counted in microseconds.
const BUCKETS: usize = 400;

impl Latencies {
    fn record(&mut self, latency: Duration) {
        let micros = latency.as_secs_f64() * 1e6;
        // Casts to 0 what is below the first bucket.
        let bucket = (micros.ln() / GROWTH.ln()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
    }

    fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
    }

    /// The latency that `share` of all calls stay below.
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let total: u64 = self.buckets.iter().sum();
        let rank = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank.max(1)
        })?;
        Some(Duration::from_secs_f64(GROWTH.powi(bucket as i32 + 1) / 1e6))
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS] }
    }
}
