use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use metrics::{Counter, Gauge};
use tower::Layer;

use super::Record;
use crate::{
    call::{Slot, Target, Verdict},
    catalogue::Catalogue,
    error::Reason,
    metrics::{
        Durations, ErrorType, IN_FLIGHT, LABEL_OVERFLOW, REJECTIONS, Side, Subject, Values, expect, shared_label, upstream,
        upstream_label,
    },
};

/// Records each call. See the [module](super).
#[derive(Debug, Clone, Default)]
pub struct RecordLayer {
    slots: Slots,
}

/// Where a layer keeps what it has of targets and of upstreams.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slots {
    target: Slot<Arc<Handles>>,
    upstream: Slot<Arc<Overflown>>,
}

impl Slots {
    /// The handles of a target, made when it is first met.
    pub(super) fn handles(self, target: &Target) -> Arc<Handles> {
        let overflown = || target.upstream_cell(&self.upstream, Arc::default).clone();
        target.cell(&self.target, || Arc::new(Handles::new(target, overflown()))).clone()
    }
}

/// Of which labels of one upstream it has been told that they say `_OTHER`.
#[derive(Debug, Default)]
pub(super) struct Overflown {
    tools: AtomicBool,
    prompts: AtomicBool,
    templates: AtomicBool,
    methods: AtomicBool,
    codes: AtomicBool,
}

impl Overflown {
    fn tell(&self, label: &'static str, upstream: &str) {
        let told = match label {
            "gen_ai_tool_name" => &self.tools,
            "gen_ai_prompt_name" => &self.prompts,
            "resource_template" => &self.templates,
            "mcp_method_name" => &self.methods,
            _ => &self.codes,
        };
        if !told.load(Ordering::Relaxed) && !told.swap(true, Ordering::Relaxed) {
            if label == CODES {
                tracing::info!(upstream, label, "errors are recorded without their codes, which have no label of their own");
                return;
            }
            tracing::info!(
                upstream,
                label,
                "calls are recorded without their names, which are on no list or not fit for a label"
            );
        }
    }
}

impl RecordLayer {
    /// A record of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes at zero what may befall the targets that are known, as those are that the operator has declared. No handle is kept:
    /// a recorder that comes later has them with the first calls.
    pub(crate) fn prepare_for(catalogue: &Catalogue) {
        catalogue.targets().iter().for_each(|target| expect(&Subject::of(target)));
        if let Some(Values::OneOf(labels)) = LABEL_OVERFLOW.values("label") {
            let upstream = upstream_label(catalogue.upstream());
            labels.into_iter().for_each(|label| drop(LABEL_OVERFLOW.counter([upstream.clone(), label.into()])));
        }
    }
}

impl<S> Layer<S> for RecordLayer {
    type Service = Record<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Record::new(inner, self.slots)
    }
}

const CODES: &str = "rpc_response_status_code";

/// The handles of one target.
#[derive(Debug)]
pub(super) struct Handles {
    durations: Durations,
    pub(super) in_flight: Gauge,
    /// Calls that are recorded under no name of their own.
    overflow: Counter,
    overflow_label: &'static str,
    overflown: Arc<Overflown>,
    other_codes: Counter,
    subject: Arc<Subject>,
    /// Refusals are few in kind: a short list that is walked.
    rejections: Mutex<Vec<(&'static str, Reason, Counter)>>,
}

impl Handles {
    fn new(target: &Target, overflown: Arc<Overflown>) -> Self {
        let subject = Subject::of(target);
        expect(&subject);
        let overflow = |label: &'static str| LABEL_OVERFLOW.counter([upstream(target), label.into()]);
        Self {
            durations: Durations::new(Side::Server, subject.clone()),
            in_flight: IN_FLIGHT.gauge([upstream(target)]),
            overflow: overflow(shared_label(target)),
            overflow_label: shared_label(target),
            overflown,
            other_codes: overflow(CODES),
            subject,
            rejections: Mutex::default(),
        }
    }

    /// Records a call that has ended like this after so long.
    #[inline]
    pub(super) fn ended(&self, outcome: ErrorType, duration: Duration) {
        let own = self.durations.record(outcome, duration);
        self.in_flight.decrement(1.0);
        if !own {
            self.overflow.increment(1);
            self.overflown.tell(self.overflow_label, self.subject.labels()[0]);
        }
        if outcome.is_other_code() {
            self.other_codes.increment(1);
            self.overflown.tell(CODES, self.subject.labels()[0]);
        }
    }

    /// One line for a call.
    pub(super) fn log(&self, verdict: Verdict, attempts: Option<u32>, refused: Option<(&str, Reason)>, duration: Duration) {
        let [upstream, method, name] = self.subject.labels();
        let (layer, reason) = refused.unzip();
        tracing::debug!(
            upstream,
            method,
            tool = name,
            verdict = verdict.as_str(),
            attempts,
            layer,
            reason = reason.map(Reason::as_str),
            ms = duration.as_secs_f64() * 1e3,
            "a call has ended"
        );
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
