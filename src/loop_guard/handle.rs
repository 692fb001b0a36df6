use std::sync::Arc;

use tokio::time::Instant;

use super::{Policy, layer::Shared};
use crate::{Mode, call::Caller};

/// Reads and steers the guard of one [`LoopGuardLayer`](super::LoopGuardLayer) while its services run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LoopGuardHandle {
    shared: Arc<Shared>,
}

/// What is held against one caller, in all its sessions together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AgentState {
    /// Calls whose outcomes are being counted.
    pub calls: usize,
    /// The most outcomes that were the same in a row.
    pub longest: u32,
    /// Calls that are blocked now.
    pub blocked: usize,
    /// How often it was refused since it was last forgotten.
    pub refused: u64,
}

impl LoopGuardHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What is held against this caller. `None`: nothing. Looks at all agents.
    pub fn agent(&self, caller: &Caller) -> Option<AgentState> {
        let policy = self.policy();
        let now = Instant::now();
        let mut held: Option<AgentState> = None;
        self.shared.agents.of_caller(caller, |agent| {
            let state = held.get_or_insert_default();
            state.refused += agent.refused();
            for (length, blocked) in agent.runs(&policy, now) {
                state.calls += 1;
                state.longest = state.longest.max(length);
                state.blocked += usize::from(blocked);
            }
        });
        held
    }

    /// Forgets all that is held against this caller. Says whether there was anything. Looks at all agents.
    pub fn forgive(&self, caller: &Caller) -> bool {
        self.shared.agents.forget(caller)
    }

    /// Forgets all agents.
    pub fn forgive_all(&self) {
        self.shared.agents.clear();
    }

    /// How many agents are remembered.
    pub fn agents(&self) -> usize {
        self.shared.agents.len()
    }

    /// The policy in force.
    pub fn policy(&self) -> Policy {
        self.shared.rules.load().policy
    }

    /// Puts another policy in force. What has been counted so far is judged by it from the next call on.
    pub fn set_policy(&self, policy: Policy) {
        self.shared.change(|rules| rules.policy = policy);
    }

    /// Whether calls are refused, or only counted.
    pub fn mode(&self) -> Mode {
        self.shared.rules.load().mode
    }

    /// Changes that.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.change(|rules| rules.mode = mode);
    }
}
