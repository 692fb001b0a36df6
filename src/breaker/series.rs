//! What one breaker tells the metrics, and those who look at it.

use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, SharedString};
use tokio::time::Instant;

use super::{
    history::{Cause, Change, History},
    ticket::{State, Transition},
};
use crate::metrics::{BREAKER_STATE, BREAKER_TRANSITIONS};

/// The series of one breaker.
#[derive(Debug)]
pub(super) struct Series {
    states: [Gauge; State::ALL.len()],
    transitions: [Counter; Transition::ALL.len()],
    history: Arc<History>,
    upstream: Arc<str>,
    method: Option<Arc<str>>,
    name: Option<Arc<str>>,
    since: Mutex<Instant>,
}

impl Series {
    /// The series of the breaker with these labels, which is closed.
    pub(super) fn new(labels: [SharedString; 4], history: Arc<History>, now: Instant) -> Self {
        let gauge = |state: State| BREAKER_STATE.gauge(labels.iter().cloned().chain([state.as_str().into()]));
        let counter = |Transition { from, to }: Transition| {
            BREAKER_TRANSITIONS.counter(labels.iter().cloned().chain([from.as_str().into(), to.as_str().into()]))
        };
        let [upstream, method, tool, prompt] = &labels;
        let stated = |label: &SharedString| (!label.is_empty()).then(|| label.as_ref().into());
        let series = Self {
            states: State::ALL.map(gauge),
            transitions: Transition::ALL.map(counter),
            history,
            upstream: upstream.as_ref().into(),
            method: stated(method),
            name: stated(tool).or_else(|| stated(prompt)),
            since: Mutex::new(now),
        };
        series.show(State::Closed);
        series
    }

    /// Shows, counts and notes a change.
    pub(super) fn tell(&self, transition: Transition, cause: Cause, now: Instant) {
        self.show(transition.to);
        if let Some(edge) = Transition::ALL.iter().position(|edge| *edge == transition) {
            self.transitions[edge].increment(1);
        }
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = now;
        let Transition { from, to } = transition;
        let (upstream, method, name) = (self.upstream.clone(), self.method.clone(), self.name.clone());
        self.history.add(Change { at: now, upstream, method, name, from, to, cause });
    }

    /// When it was last told of a change, or made.
    pub(super) fn since(&self) -> Instant {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, state: State) {
        for (gauge, of) in self.states.iter().zip(State::ALL) {
            gauge.set(if of == state { 1.0 } else { 0.0 });
        }
    }
}
