use std::sync::Arc;

use super::{Limits, layer::InForce};

/// Reads and changes the limits of a [`DeadlineLayer`](super::DeadlineLayer) while its services run. Cheap to clone.
///
/// A change holds for calls that arrive from then on; those under way keep the deadline that they have. No service is rebuilt.
/// One call that arrives in the very middle of a change may be given some of the limits that were and some of those that are.
#[derive(Debug, Clone)]
pub struct DeadlineHandle {
    in_force: Arc<InForce>,
}

impl DeadlineHandle {
    pub(super) const fn new(in_force: Arc<InForce>) -> Self {
        Self { in_force }
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.in_force.limits()
    }

    /// Puts others in force.
    pub fn set_limits(&self, limits: Limits) {
        self.in_force.set(limits);
    }
}
