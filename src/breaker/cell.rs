//! One target's breaker: the machine behind its lock, what it tells the metrics, and the guard of a call under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use metrics::{Counter, Gauge};
use tokio::time::Instant;

use super::{Admit, Machine, Policy, Sample, State, Ticket, Transition};
use crate::{
    call::{Target, Verdict},
    error::{Reason, Rejected},
    metrics::{BREAKER_STATE, BREAKER_TRANSITIONS, labels_of},
};

#[derive(Debug)]
pub(super) struct Cell {
    target: (String, String),
    machine: Mutex<(Machine, Rng)>,
    states: [Gauge; STATES.len()],
    transitions: [Counter; EDGES.len()],
}

const STATES: [State; 3] = [State::Closed, State::Open, State::HalfOpen];

/// The changes that there are.
const EDGES: [Transition; 4] = [
    Transition { from: State::Closed, to: State::Open },
    Transition { from: State::Open, to: State::HalfOpen },
    Transition { from: State::HalfOpen, to: State::Open },
    Transition { from: State::HalfOpen, to: State::Closed },
];

impl State {
    /// The value of the `state`, `from` and `to` labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl Cell {
    pub(super) fn new(policy: Policy, seed: Option<u64>, target: &Target, now: Instant) -> Self {
        let labels = labels_of(target);
        let gauge = |state: State| BREAKER_STATE.gauge(labels.iter().cloned().chain([state.as_str().into()]));
        let counter = |Transition { from, to }: Transition| {
            BREAKER_TRANSITIONS.counter(labels.iter().cloned().chain([from.as_str().into(), to.as_str().into()]))
        };
        let cell = Self {
            target: (target.upstream().to_owned(), target.label().to_owned()),
            machine: Mutex::new((Machine::new(policy, now), seed.map_or_else(Rng::new, Rng::with_seed))),
            states: STATES.map(gauge),
            transitions: EDGES.map(counter),
        };
        cell.show(State::Closed);
        cell
    }

    /// Lets a call through under a guard, or refuses it.
    pub(super) fn admit(self: &Arc<Self>, now: Instant) -> Result<Guard, Rejected> {
        let (admit, transition) = self.lock().0.admit(now);
        self.tell(transition);
        match admit {
            Admit::Pass(ticket) => Ok(Guard { cell: self.clone(), ticket: Some(ticket), probe: false }),
            Admit::Probe(ticket) => Ok(Guard { cell: self.clone(), ticket: Some(ticket), probe: true }),
            Admit::Refuse { retry_after, .. } => {
                Err(Rejected::new("breaker", Reason::BreakerOpen).retry_after(Some(retry_after)))
            }
        }
    }

    fn settle(&self, ticket: Ticket, sample: Sample, now: Instant) {
        let mut locked = self.lock();
        let (machine, rng) = &mut *locked;
        let transition = machine.settle(ticket, sample, now, rng);
        drop(locked);
        self.tell(transition);
    }

    fn tell(&self, transition: Option<Transition>) {
        let Some(transition) = transition else { return };
        let Transition { from, to } = transition;
        self.show(to);
        if let Some(edge) = EDGES.iter().position(|edge| *edge == transition) {
            self.transitions[edge].increment(1);
        }
        let (upstream, tool) = &self.target;
        match to {
            State::Open => tracing::warn!(upstream, tool, from = from.as_str(), "the circuit breaker opens"),
            State::HalfOpen => tracing::info!(upstream, tool, "the circuit breaker probes"),
            State::Closed => tracing::info!(upstream, tool, "the circuit breaker closes"),
        }
    }

    fn show(&self, state: State) {
        for (gauge, of) in self.states.iter().zip(STATES) {
            gauge.set(if of == state { 1.0 } else { 0.0 });
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Machine, Rng)> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that the breaker let through. Dropped without an outcome, it counts nowhere.
#[derive(Debug)]
pub(super) struct Guard {
    cell: Arc<Cell>,
    ticket: Option<Ticket>,
    probe: bool,
}

impl Guard {
    pub(super) const fn is_probe(&self) -> bool {
        self.probe
    }

    pub(super) fn settle(&mut self, verdict: Verdict, now: Instant) {
        if let Some(ticket) = self.ticket.take() {
            self.cell.settle(ticket, sample(verdict), now);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.cell.settle(ticket, Sample::Ignored, Instant::now());
        }
    }
}

/// The breaker's column of the verdict table.
const fn sample(verdict: Verdict) -> Sample {
    match verdict {
        Verdict::Ok | Verdict::ToolError | Verdict::InputRequired | Verdict::Task => Sample::Success,
        Verdict::ClientFault | Verdict::Denied | Verdict::SessionLost => Sample::Neutral,
        Verdict::Throttled { retry_after } => Sample::Throttled { retry_after },
        Verdict::Ambiguous { retry_after, .. } => Sample::Failure { retry_after },
        Verdict::NotSent => Sample::Failure { retry_after: None },
        Verdict::LocalReject | Verdict::Cancelled => Sample::Ignored,
    }
}
