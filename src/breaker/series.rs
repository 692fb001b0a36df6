//! What one breaker tells the metrics.

use metrics::{Counter, Gauge, SharedString};

use super::ticket::{State, Transition};
use crate::metrics::{BREAKER_STATE, BREAKER_TRANSITIONS};

/// The series of one breaker.
#[derive(Debug)]
pub(super) struct Series {
    states: [Gauge; State::ALL.len()],
    transitions: [Counter; Transition::ALL.len()],
}

impl Series {
    /// The series of the breaker with these labels, which is closed.
    pub(super) fn new(labels: [SharedString; 4]) -> Self {
        let gauge = |state: State| BREAKER_STATE.gauge(labels.iter().cloned().chain([state.as_str().into()]));
        let counter = |Transition { from, to }: Transition| {
            BREAKER_TRANSITIONS.counter(labels.iter().cloned().chain([from.as_str().into(), to.as_str().into()]))
        };
        let series = Self { states: State::ALL.map(gauge), transitions: Transition::ALL.map(counter) };
        series.show(State::Closed);
        series
    }

    /// Shows and counts a change.
    pub(super) fn tell(&self, transition: Transition) {
        self.show(transition.to);
        if let Some(edge) = Transition::ALL.iter().position(|edge| *edge == transition) {
            self.transitions[edge].increment(1);
        }
    }

    fn show(&self, state: State) {
        for (gauge, of) in self.states.iter().zip(State::ALL) {
            gauge.set(if of == state { 1.0 } else { 0.0 });
        }
    }
}
