//! What one breaker tells the metrics, and those who look at it.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::{
    history::{Cause, Change, History},
    ticket::{State, Transition},
};
use crate::{
    Mode,
    metrics::{BREAKER_STATE, BREAKER_TRANSITIONS, Counters, Level, Subject},
};

/// The series of one breaker. They say what becomes of calls: where it only observes it is closed in them, but for an operator
/// who holds it open; how it would have changed stands in the history alone.
#[derive(Debug)]
pub(super) struct Series {
    states: [Level<1>; State::ALL.len()],
    transitions: Counters<2, { Transition::ALL.len() }>,
    history: Arc<History>,
    upstream: Arc<str>,
    method: Option<Arc<str>>,
    name: Option<Arc<str>>,
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Told {
    /// When it was last told of a change, or made.
    since: Instant,
    shown: State,
    observes: bool,
}

impl Series {
    /// The series of the breaker of this one, which is closed. Labels may not be fit to say what the operator calls the
    /// upstream; the history does.
    pub(super) fn new(upstream: Arc<str>, subject: &Arc<Subject>, history: Arc<History>, mode: Mode, now: Instant) -> Self {
        let edges = Transition::ALL.map(|Transition { from, to }| [from.as_str(), to.as_str()]);
        let [_, method, name] = subject.labels();
        let stated = |label: &str| (!label.is_empty()).then(|| label.into());
        let states = State::ALL.map(|state| Level::new(BREAKER_STATE, subject, [state.as_str()]));
        show(&states, State::Closed);
        Self {
            states,
            transitions: Counters::new(BREAKER_TRANSITIONS, subject, edges),
            history,
            upstream,
            method: stated(method),
            name: stated(name),
            told: Mutex::new(Told { since: now, shown: State::Closed, observes: mode == Mode::Observe }),
        }
    }

    /// Shows and notes a change. `held`: by an operator, and so in any mode.
    pub(super) fn tell(&self, transition: Transition, held: bool, cause: Cause, now: Instant) {
        self.show(transition.to, held);
        self.told().since = now;
        let Transition { from, to } = transition;
        let (upstream, method, name) = (self.upstream.clone(), self.method.clone(), self.name.clone());
        self.history.add(Change { at: now, upstream, method, name, from, to, cause });
    }

    /// When it was last told of a change, or made.
    pub(super) fn since(&self) -> Instant {
        self.told().since
    }

    /// Goes by another mode from now on.
    pub(super) fn set_mode(&self, mode: Mode, state: State, held: bool) {
        self.told().observes = mode == Mode::Observe;
        self.show(state, held);
    }

    /// Shows the state as far as it holds for calls, and counts the change if there is one.
    pub(super) fn show(&self, state: State, held: bool) {
        let mut told = self.told();
        let to = if told.observes && !held { State::Closed } else { state };
        let change = Transition { from: mem::replace(&mut told.shown, to), to };
        if change.from != to {
            show(&self.states, to);
        }
        if let Some(edge) = Transition::ALL.iter().position(|edge| *edge == change) {
            self.transitions.count(edge);
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn show(states: &[Level<1>; State::ALL.len()], state: State) {
    for (gauge, of) in states.iter().zip(State::ALL) {
        gauge.set(if of == state { 1.0 } else { 0.0 });
    }
}
