use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use metrics::{Counter, Gauge};
use tower::Layer;

use super::Record;
use crate::{
    call::{Slot, Target},
    error::Reason,
    metrics::{Durations, ErrorType, IN_FLIGHT, LABEL_OVERFLOW, REJECTIONS, Side, expect, labels_of, overflowing, upstream},
};

/// Records each call. See the [module](super).
#[derive(Debug, Clone, Default)]
pub struct RecordLayer {
    slot: Slot<Arc<Handles>>,
}

impl RecordLayer {
    /// A record of its own.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for RecordLayer {
    type Service = Record<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Record::new(inner, self.slot)
    }
}

/// The handles of one target.
#[derive(Debug)]
pub(super) struct Handles {
    durations: Durations,
    pub(super) in_flight: Gauge,
    /// Where the target has no name of its own among the labels.
    overflow: Option<Counter>,
    other_codes: Counter,
    labels: [metrics::SharedString; 4],
    /// Refusals are few in kind: a short list that is walked.
    rejections: Mutex<Vec<(&'static str, Reason, Counter)>>,
}

impl Handles {
    pub(super) fn new(target: &Target) -> Self {
        expect(target);
        let overflow = |label: &'static str| LABEL_OVERFLOW.counter([upstream(target), label.into()]);
        Self {
            durations: Durations::new(Side::Server, target),
            in_flight: IN_FLIGHT.gauge([upstream(target)]),
            overflow: overflowing(target).map(overflow),
            other_codes: overflow("rpc_response_status_code"),
            labels: labels_of(target),
            rejections: Mutex::default(),
        }
    }

    /// Records a call that has ended like this after so long.
    #[inline]
    pub(super) fn ended(&self, outcome: ErrorType, duration: Duration) {
        self.durations.record(outcome, duration);
        self.in_flight.decrement(1.0);
        if let Some(overflow) = &self.overflow {
            overflow.increment(1);
        }
        if outcome.is_other_code() {
            self.other_codes.increment(1);
        }
    }

    pub(super) fn rejected(&self, layer: &'static str, reason: Reason) {
        let mut rejections = self.rejections.lock().unwrap_or_else(PoisonError::into_inner);
        match rejections.iter().find(|(by, why, _)| (*by, *why) == (layer, reason)) {
            Some((.., counter)) => counter.increment(1),
            None => {
                let label = [layer.into(), reason.as_str().into()];
                let counter = REJECTIONS.counter(self.labels.iter().cloned().chain(label));
                counter.increment(1);
                rejections.push((layer, reason, counter));
            }
        }
    }
}
