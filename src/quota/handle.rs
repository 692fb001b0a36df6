use std::{convert::Infallible, sync::Arc, time::Duration};

use governor::Quota;
use tokio::time::Instant;

use super::{Per, QuotaError, limits::Line, shared::Shared};
use crate::{
    call::{Head, Standing},
    catalogue::Catalogue,
    gate::Mode,
};

/// Reads and changes the limits of a [`QuotaLayer`](super::QuotaLayer) while it is in use. Cheap to clone; all clones, and all
/// services of the layer, see the same limits. A change holds for the next call; no service is rebuilt.
///
/// ```
/// use std::num::NonZeroU32;
/// use buttress::{call::{Head, Method}, catalogue::Catalogue, quota::{Per, QuotaLayer}};
/// use governor::Quota;
///
/// let a_minute = |calls| NonZeroU32::new(calls).map(Quota::per_minute).ok_or("a quota of nothing");
/// let layer = QuotaLayer::new().per_tenant(a_minute(10)?);
/// let handle = layer.handle();
/// handle.set(Per::TENANT, a_minute(30)?)?;
/// let head = Head::new(Catalogue::new("words").resolve(&Method::ToolsCall, Some("say"), None));
/// assert_eq!(handle.standing(Per::TENANT, &head).map(|standing| standing.remaining), Some(30));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct QuotaHandle {
    shared: Arc<Shared>,
}

impl QuotaHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The limits, in the order of decision.
    pub fn limits(&self) -> Vec<(Per, Quota)> {
        self.shared.limits.load().iter().map(|limit| (limit.per, limit.quota)).collect()
    }

    /// Changes a limit, or adds one.
    ///
    /// A key that owes calls under the old limit owes as many under the new one, at the new rate, and never more than its whole
    /// burst: so nobody is admitted more than what is left of the new burst, and who had used up the old limit waits for one
    /// interval of the new one. So it is over eight changes at most: a key that called before the last nine, and not since,
    /// starts afresh. To set what is set already changes nothing. Calls that are waiting for their turn keep it.
    ///
    /// # Errors
    ///
    /// [`QuotaError`], if there is no room for one more limit, or if the layer was [checked](Self::check_for)
    /// for a tool whose cost is above the burst. Nothing is changed then.
    pub fn set(&self, per: Per, quota: Quota) -> Result<(), QuotaError> {
        self.shared.change(|limits, now| limits.try_set(per, quota, now))
    }

    /// Checks that a call of each tool and resource template that `catalogue` knows can pass, and holds to it from then on, as
    /// long as there is the catalogue: a lower burst is refused here, and a higher [cost](crate::call::TargetPolicy::cost)
    /// [there](Catalogue::set_tool). [`checked_for`](super::QuotaLayer::checked_for) does the same for a layer that is still
    /// being made.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Burst`], which names the dearest tool and the burst that is too small for it. Nothing is changed then.
    pub fn check_for(&self, catalogue: &Catalogue) -> Result<(), QuotaError> {
        self.shared.check_for(catalogue)
    }

    /// Removes a limit: nothing is counted under it any more, and who waits for a turn under it has it.
    pub fn remove(&self, per: Per) {
        let Ok(()) = self.shared.change(|limits, _| {
            limits.remove(per);
            Ok::<_, Infallible>(())
        });
    }

    /// How long a call may wait for its turn, and how many may.
    pub fn wait(&self) -> (Duration, u32) {
        let line = self.shared.limits.load().line;
        (line.at_most, line.places)
    }

    /// Changes that, as [`QuotaLayer::wait`](super::QuotaLayer::wait) has it; with no place, or no time, nobody waits. Those who
    /// wait already keep their turn.
    pub fn set_wait(&self, at_most: Duration, places: u32) {
        let Ok(()) = self.shared.change(|limits, _| {
            limits.set_line(Line { at_most, places });
            Ok::<_, Infallible>(())
        });
    }

    /// Whether calls over a limit are refused, or only counted.
    pub fn mode(&self) -> Mode {
        self.shared.limits.load().mode
    }

    /// Refuses from now on, or only counts: then who waits has its turn at once.
    pub fn set_mode(&self, mode: Mode) {
        let Ok(()) = self.shared.change(|limits, _| {
            limits.mode = mode;
            Ok::<_, Infallible>(())
        });
    }

    /// Where the caller of `head` stands with a limit now; nothing is counted. `None`: there is no such limit, or it does not
    /// count this call. Make a head of any target with [`Head::new`], and set its caller.
    pub fn standing(&self, per: Per, head: &Head) -> Option<Standing> {
        let limits = self.shared.limits.load();
        let limit = limits.get(per)?;
        let now = self.shared.store.since_epoch(Instant::now());
        let tat = self.shared.store.look(&limit.check(head, now)?);
        Some(limit.standing(tat, now))
    }

    /// How many calls wait for their turn.
    pub fn waiting(&self) -> u32 {
        self.shared.waiting()
    }

    /// How many keys are being remembered.
    pub fn tracked_keys(&self) -> usize {
        self.shared.store.len()
    }

    /// How many decisions were made on a shared cell because there was no room for one more key.
    pub fn overflows(&self) -> u64 {
        self.shared.store.overflows()
    }
}
