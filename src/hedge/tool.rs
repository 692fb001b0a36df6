//! What is known of one target.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{budget::Budget, latency::Latency};
use crate::{
    call::Target,
    metrics::{Counters, HEDGES, Subject},
};

/// How long its calls take, what hedges it may have, and what became of them.
#[derive(Debug)]
pub(super) struct Tool {
    known: Mutex<(Latency, Budget)>,
    hedges: Counters<1, { Hedged::ALL.len() }>,
}

/// What became of a hedge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hedged {
    /// Its answer was the call's.
    Won,
    /// It was not.
    Lost,
    /// A layer further in had no room for it.
    Refused,
}

impl Hedged {
    const ALL: [Self; 3] = [Self::Won, Self::Lost, Self::Refused];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
            Self::Refused => "refused",
        }
    }
}

impl Tool {
    pub(super) fn new(share: f64, target: &Target, now: Instant) -> Arc<Self> {
        let hedges = Counters::new(HEDGES, &Subject::of(target), Hedged::ALL.map(|hedged| [hedged.as_str()]));
        let known = Mutex::new((Latency::new(1.0 - share, now), Budget::new(share)));
        Arc::new(Self { known, hedges })
    }

    /// A call begins: after how long a second attempt is worth it.
    pub(super) fn begin(&self) -> Option<Duration> {
        let (latency, budget) = &mut *self.lock();
        budget.earn();
        latency.quantile()
    }

    pub(super) fn delay(&self) -> Option<Duration> {
        self.lock().0.quantile()
    }

    pub(super) fn answered(&self, took: Duration, now: Instant) {
        self.lock().0.record(took, now);
    }

    pub(super) fn given_up(&self, after: Duration, now: Instant) {
        self.lock().0.record_at_least(after, now);
    }

    pub(super) fn spend(&self) -> bool {
        self.lock().1.spend()
    }

    pub(super) fn refund(&self) {
        self.lock().1.refund();
    }

    pub(super) fn count(&self, hedged: Hedged) {
        self.hedges.count(hedged as usize);
    }

    fn lock(&self) -> MutexGuard<'_, (Latency, Budget)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
