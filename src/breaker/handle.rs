//! To look at breakers from outside, and to steer them while they work.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Change, Force, Policy, State, shared::Shared};
use crate::{Mode, call::Target};

/// To look at the breakers of one [`BreakerLayer`](super::BreakerLayer), and to steer them while it runs.
///
/// Cheap to clone; all clones mean the same breakers. What it changes holds for the next call: no service is built anew. A
/// breaker is there from its target's first call on, for as long as the target's catalogue is.
#[derive(Debug, Clone)]
pub struct BreakerHandle {
    shared: Arc<Shared>,
}

/// What one breaker is doing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The upstream, by the operator's name for it.
    pub upstream: Arc<str>,
    /// The method, as on the wire. `None`: this is the breaker of the upstream as a whole.
    pub method: Option<&'static str>,
    /// The tool, prompt or resource template, as in metrics. `None` where the method has no names.
    pub name: Option<String>,
    /// Its state as of the last call: an open one whose cool-down is over stays open until the call that becomes its probe.
    pub state: State,
    /// Since when it is in this state: of one that has never changed, since it was made.
    pub since: Instant,
    /// Whether an operator holds it where it is.
    pub forced: bool,
    /// How long until a call may be the probe. `None` where it is closed or forced, or its probe is under way.
    pub until_probe: Option<Duration>,
    /// Failures in a row; of an upstream's, calls in a row that could not be delivered.
    pub failures: u32,
    /// The share of successes as of the last call, from 0 to 1. `None` while there are too few calls to tell, and for an
    /// upstream's, which counts none.
    pub success_rate: Option<f64>,
}

impl BreakerHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The breaker of a target. `None` where no call has come for it, or limits do not hold for it
    /// ([`is_exempt`](Target::is_exempt)).
    pub fn target(&self, target: &Target) -> Option<Status> {
        Some(self.shared.known_cell(target)?.status(Instant::now()))
    }

    /// The breaker of a target's upstream as a whole. `None` where no call has come for any of its targets.
    pub fn upstream(&self, target: &Target) -> Option<Status> {
        Some(self.shared.known_upstream(target)?.status(Instant::now()))
    }

    /// All breakers that there are: each upstream's, followed by those of its targets.
    pub fn iter(&self) -> impl Iterator<Item = Status> {
        let now = Instant::now();
        self.shared.upstreams().into_iter().flat_map(move |upstream| {
            let members = upstream.members().into_iter();
            std::iter::once(upstream.status(now)).chain(members.map(move |cell| cell.status(now)))
        })
    }

    /// The last changes of all these breakers, oldest first: fifty of them at most.
    pub fn changes(&self) -> Vec<Change> {
        self.shared.history().all()
    }

    /// Opens or closes the breaker of a target until told otherwise, or gives it back to its policy. One that is held open
    /// refuses all calls also where others are only [observed](Mode::Observe): what is done by hand is no limit. No effect on a
    /// target that limits do not hold for, nor where the layer is [off](super::BreakerLayer::off).
    pub fn force(&self, target: &Target, force: Force) {
        if self.shared.is_on() && !target.is_exempt() {
            let now = Instant::now();
            self.shared.cell(target, now).force(force, now);
        }
    }

    /// The same for the upstream of a target as a whole. While it is forced open, all calls to it are refused but those that
    /// limits do not hold for; forced closed, it lets pass whatever the targets' own breakers let pass.
    pub fn force_upstream(&self, target: &Target, force: Force) {
        if self.shared.is_on() {
            let now = Instant::now();
            self.shared.upstream(target, now).force(force, now);
        }
    }

    /// What the breakers go by.
    pub fn policy(&self) -> Policy {
        self.shared.policy()
    }

    /// Lets all breakers go by another policy, those that there are and those to come. None changes its state by it, and what
    /// they have counted counts on, but for what was counted by time if the time they look back over is another one now. A
    /// cool-down under way ends no later than the new longest one would.
    pub fn set_policy(&self, policy: Policy) {
        self.shared.set_policy(policy);
    }

    /// Whether calls are refused, or only observed.
    pub fn mode(&self) -> Mode {
        self.shared.mode()
    }

    /// Switches between refusing and only observing.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.set_mode(mode);
    }
}
