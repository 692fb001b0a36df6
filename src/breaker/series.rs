//! What one breaker tells the metrics, and those who look at it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::{
    history::{Cause, Change, History},
    ticket::{State, Transition},
};
use crate::metrics::{BREAKER_STATE, BREAKER_TRANSITIONS, Counters, Level, Subject};

/// The series of one breaker.
#[derive(Debug)]
pub(super) struct Series {
    states: [Level<1>; State::ALL.len()],
    transitions: Counters<2, { Transition::ALL.len() }>,
    history: Arc<History>,
    upstream: Arc<str>,
    method: Option<Arc<str>>,
    name: Option<Arc<str>>,
    since: Mutex<Instant>,
}

impl Series {
    /// The series of the breaker of this one, which is closed. Labels may not be fit to say what the operator calls the
    /// upstream; the history does.
    pub(super) fn new(upstream: Arc<str>, subject: &Arc<Subject>, history: Arc<History>, now: Instant) -> Self {
        let edges = Transition::ALL.map(|Transition { from, to }| [from.as_str(), to.as_str()]);
        let [_, method, name] = subject.labels();
        let stated = |label: &str| (!label.is_empty()).then(|| label.into());
        let series = Self {
            states: State::ALL.map(|state| Level::new(BREAKER_STATE, subject, [state.as_str()])),
            transitions: Counters::new(BREAKER_TRANSITIONS, subject, edges),
            history,
            upstream,
            method: stated(method),
            name: stated(name),
            since: Mutex::new(now),
        };
        series.show(State::Closed);
        series
    }

    /// Shows, counts and notes a change.
    pub(super) fn tell(&self, transition: Transition, cause: Cause, now: Instant) {
        self.show(transition.to);
        if let Some(edge) = Transition::ALL.iter().position(|edge| *edge == transition) {
            self.transitions.count(edge);
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
