//! The last changes of all breakers of one layer.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::ticket::{State, Transition};

/// How many changes are kept: an operator wants to know what has just happened, and the metrics count the rest.
const KEPT: usize = 50;

/// One change of a breaker's state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// When it happened.
    pub at: Instant,
    /// The upstream, by the operator's name for it.
    pub upstream: Arc<str>,
    /// The method, as on the wire. `None`: this was the breaker of the upstream as a whole.
    pub method: Option<Arc<str>>,
    /// The tool, prompt or resource template, as in metrics. `None` where the method has no names.
    pub name: Option<Arc<str>>,
    /// What the breaker was.
    pub from: State,
    /// What it is since.
    pub to: State,
    /// Why.
    pub cause: Cause,
}

/// Why a breaker has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Too many calls failed; of an upstream, too many of its tools did, or it could not be reached.
    Failures,
    /// The cool-down is over, and a call is the probe.
    CooledDown,
    /// The probe failed.
    ProbeFailed,
    /// The probe passed.
    ProbePassed,
    /// An operator has forced it.
    Operator,
}

impl Cause {
    /// As one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::CooledDown => "cooled_down",
            Self::ProbeFailed => "probe_failed",
            Self::ProbePassed => "probe_passed",
            Self::Operator => "operator",
        }
    }

    /// Why a breaker that nobody forces makes this change.
    pub(super) const fn of(transition: Transition) -> Self {
        match (transition.from, transition.to) {
            (State::HalfOpen, State::Open) => Self::ProbeFailed,
            (State::HalfOpen, _) => Self::ProbePassed,
            (_, State::HalfOpen) => Self::CooledDown,
            (_, State::Open) => Self::Failures,
            // No policy closes an open breaker without a probe.
            (_, State::Closed) => Self::Operator,
        }
    }
}

/// What has changed lately, oldest first.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<VecDeque<Change>>);

impl History {
    pub(super) fn add(&self, change: Change) {
        let mut changes = self.changes();
        if changes.len() == KEPT {
            changes.pop_front();
        }
        changes.push_back(change);
    }

    pub(super) fn all(&self) -> Vec<Change> {
        self.changes().iter().cloned().collect()
    }

    fn changes(&self) -> MutexGuard<'_, VecDeque<Change>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_and_no_more() {
        let (history, start) = (History::default(), Instant::now());
        for n in 0..2 * KEPT {
            let (from, to) = (State::Closed, State::Open);
            let at = start + std::time::Duration::from_secs(n as u64);
            history.add(Change { at, upstream: "up".into(), method: None, name: None, from, to, cause: Cause::Failures });
        }
        let kept = history.all();
        assert_eq!((kept.len(), kept[0].at), (KEPT, start + std::time::Duration::from_secs(KEPT as u64)));
    }

    #[test]
    fn every_change_has_its_cause() {
        let causes = Transition::ALL.map(|transition| Cause::of(transition).as_str());
        assert_eq!(causes, ["failures", "cooled_down", "probe_failed", "probe_passed", "operator"]);
    }
}
