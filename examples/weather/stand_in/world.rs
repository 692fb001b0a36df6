//! What the stand-in remembers: observations, counts, and how long to dawdle.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::deck::Fault;

const REQUESTS_TOTAL: &str = "weather_stand_in_requests_total";
const FAULTS_TOTAL: &str = "weather_stand_in_faults_total";

/// The observations kept; older ones are forgotten.
const OBSERVATIONS_KEPT: usize = 100_000;

/// Counts since the start, by path and by kind of fault. The shape of
/// `GET /stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Calls that arrived, whatever became of them.
    pub requests: BTreeMap<String, u64>,
    /// Faults that were dealt, by path and name.
    pub faults: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Observations ever recorded.
    pub effects: u64,
    /// Calls hanging right now: should fall to zero once callers have given up.
    pub hanging: usize,
}

/// An observation as it is reported.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    pub city: String,
    pub temperature_c: f64,
    #[serde(default)]
    pub note: String,
}

/// An observation as it is kept.
#[derive(Clone, Debug, Serialize)]
pub struct Observation {
    pub id: u64,
    pub city: String,
    pub temperature_c: f64,
    pub note: String,
}

/// The state behind all connections.
pub struct World {
    latency: Mutex<Rng>,
    counts: Mutex<Stats>,
    observations: Mutex<VecDeque<Observation>>,
    hanging: watch::Sender<usize>,
}

impl World {
    pub fn new(latency: Rng) -> Self {
        Self {
            latency: Mutex::new(latency),
            counts: Mutex::default(),
            observations: Mutex::default(),
            hanging: watch::Sender::new(0),
        }
    }

    /// How long the next call takes before anything happens.
    pub fn latency(&self) -> Duration {
        Duration::from_millis(lock(&self.latency).u64(5..=40))
    }

    pub fn count_request(&self, path: &str) {
        *lock(&self.counts).requests.entry(path.to_owned()).or_default() += 1;
        metrics::counter!(REQUESTS_TOTAL, "path" => path.to_owned()).increment(1);
    }

    pub fn count_fault(&self, path: &str, fault: Fault) {
        let kind = fault.name();
        *lock(&self.counts).faults.entry(path.to_owned()).or_default().entry(kind).or_default() += 1;
        metrics::counter!(FAULTS_TOTAL, "path" => path.to_owned(), "kind" => kind).increment(1);
    }

    /// Counts a call as hanging for as long as the guard lives.
    pub fn hang(&self) -> Hanging<'_> {
        self.hanging.send_modify(|calls| *calls += 1);
        Hanging(&self.hanging)
    }

    /// Follows the number of calls that hang.
    #[cfg(test)]
    pub fn watch_hanging(&self) -> watch::Receiver<usize> {
        self.hanging.subscribe()
    }

    /// The effect: keeps the observation and tells its number, from 1.
    pub fn record(&self, Report { city, temperature_c, note }: Report) -> u64 {
        // Numbered under the lock of the list, so that ids are in its order.
        let mut observations = lock(&self.observations);
        let id = {
            let mut counts = lock(&self.counts);
            counts.effects += 1;
            counts.effects
        };
        if observations.len() == OBSERVATIONS_KEPT {
            observations.pop_front();
        }
        observations.push_back(Observation { id, city, temperature_c, note });
        id
    }

    /// The observations kept, oldest first.
    pub fn observations(&self) -> Vec<Observation> {
        lock(&self.observations).iter().cloned().collect()
    }

    pub fn stats(&self) -> Stats {
        Stats { hanging: *self.hanging.borrow(), ..lock(&self.counts).clone() }
    }
}

/// A call that hangs.
pub struct Hanging<'a>(&'a watch::Sender<usize>);

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|calls| *calls -= 1);
    }
}

/// Says what the counters mean to the metrics recorder.
pub fn describe_metrics() {
    metrics::describe_counter!(REQUESTS_TOTAL, "Calls that reached the weather stand-in, by path.");
    metrics::describe_counter!(FAULTS_TOTAL, "Faults the weather stand-in dealt out, by path and kind.");
}

/// Locks, also after a panic elsewhere: whatever is kept here is whole between
/// any two statements, so there is nothing a poisoned lock would warn of.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_observations_are_forgotten() {
        let world = World::new(Rng::with_seed(0));
        for number in 0..=OBSERVATIONS_KEPT {
            let report = Report { city: String::new(), temperature_c: 0.0, note: String::new() };
            assert_eq!(world.record(report), number as u64 + 1);
        }
        let kept = world.observations();
        assert_eq!(kept.len(), OBSERVATIONS_KEPT);
        assert_eq!(kept[0].id, 2);
        assert_eq!(world.stats().effects, OBSERVATIONS_KEPT as u64 + 1);
    }

    #[test]
    fn latencies_stay_in_range_and_follow_the_seed() {
        let latencies = |seed| -> Vec<Duration> {
            let world = World::new(Rng::with_seed(seed));
            (0..1_000).map(|_| world.latency()).collect()
        };
        let range = Duration::from_millis(5)..=Duration::from_millis(40);
        assert!(latencies(1).iter().all(|latency| range.contains(latency)));
        assert_eq!(latencies(1), latencies(1));
        assert_ne!(latencies(1), latencies(2));
    }
}
