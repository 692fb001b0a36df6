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
    metrics::{Durations, ErrorType, IN_FLIGHT, LABEL_OVERFLOW, REJECTIONS, Side, Subject, expect, shared_label, upstream},
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
    /// Calls that are recorded under no name of their own.
    overflow: Counter,
    other_codes: Counter,
    subject: Arc<Subject>,
    /// Refusals are few in kind: a short list that is walked.
    rejections: Mutex<Vec<(&'static str, Reason, Counter)>>,
}

impl Handles {
    pub(super) fn new(target: &Target) -> Self {
        let subject = Subject::of(target);
        expect(&subject);
        let overflow = |label: &'static str| LABEL_OVERFLOW.counter([upstream(target), label.into()]);
        Self {
            durations: Durations::new(Side::Server, subject.clone()),
            in_flight: IN_FLIGHT.gauge([upstream(target)]),
            overflow: overflow(shared_label(target)),
            other_codes: overflow("rpc_response_status_code"),
            subject,
            rejections: Mutex::default(),
        }
    }

    /// Records a call that has ended like this after so long.
    pub(super) fn ended(&self, outcome: ErrorType, duration: Duration) {
        let own = self.durations.record(outcome, duration);
        self.in_flight.decrement(1.0);
        if !own {
            self.overflow.increment(1);
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
                let counter = self.subject.counter(REJECTIONS, &[layer, reason.as_str()]);
                counter.increment(1);
                rejections.push((layer, reason, counter));
            }
        }
    }
}
