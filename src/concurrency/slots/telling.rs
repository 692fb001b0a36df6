//! What is logged of the slots of one target. Never under the lock: who listens may take its time.

use std::num::NonZeroU32;

use tokio::time::Instant;

use super::Slots;
use crate::error::Reason;

impl Slots {
    /// A call was refused that would have waited.
    #[cold]
    pub(super) fn sheds(&self, reason: Reason, now: Instant) {
        let sheds = matches!(reason, Reason::QueueFull | Reason::Shed | Reason::Deadline);
        if sheds && self.shedding.begins(now) {
            let (upstream, method, tool, reason) = (&*self.upstream, self.method, &*self.name, reason.as_str());
            let limit = self.turnstile.view().limit;
            tracing::warn!(upstream, method, tool, reason, limit, "the queue for slots sheds calls");
        }
    }

    /// Nobody waits.
    pub(super) fn calms(&self, now: Instant) {
        if self.shedding.is_on() && self.shedding.ends(now) {
            let (upstream, method, tool) = (&*self.upstream, self.method, &*self.name);
            let limit = self.turnstile.view().limit;
            tracing::info!(upstream, method, tool, limit, "the queue for slots is empty again");
        }
    }

    /// The limit has adapted. Small steps are its daily business.
    #[cold]
    pub(super) fn steps(&self, from: Option<u32>, limit: NonZeroU32) {
        if let Some(from) = from {
            let (upstream, method, tool) = (&*self.upstream, self.method, &*self.name);
            tracing::info!(upstream, method, tool, from, limit, "the limit has at least doubled or halved");
        }
    }
}

/// The limit that was last told of, and when.
#[derive(Debug)]
pub(super) struct Told {
    limit: u32,
    pace: crate::logs::Sparingly,
}

impl Told {
    pub(super) const fn new(limit: u32) -> Self {
        Self { limit, pace: crate::logs::Sparingly::new() }
    }

    /// The limit is this now. `Some`: that is to be told, and from where it has come.
    pub(super) fn is_now(&mut self, limit: NonZeroU32, now: Instant) -> Option<u32> {
        let (from, limit) = (self.limit, limit.get());
        let large = limit >= from.saturating_mul(2) || from >= limit.saturating_mul(2);
        (large && self.pace.happens(now).is_some()).then(|| std::mem::replace(&mut self.limit, limit))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::{
        super::{Entry, Limit},
        *,
    };
    use crate::{call::Request, testing::tool};

    #[test]
    fn only_large_steps_are_told_of_and_not_too_many() {
        let (mut told, epoch) = (Told::new(20), Instant::now());
        let mut is_now = |seconds, limit| {
            let limit = NonZeroU32::new(limit).unwrap();
            told.is_now(limit, epoch + Duration::from_secs(seconds))
        };
        assert_eq!([is_now(0, 21), is_now(1, 39), is_now(2, 11)], [None; 3]);
        assert_eq!(is_now(3, 40), Some(20));
        assert_eq!([is_now(4, 10), is_now(12, 10)], [None; 2], "too soon");
        assert_eq!(is_now(13, 10), Some(40));
    }

    #[tokio::test(start_paused = true)]
    async fn that_nobody_waits_is_told_when_the_last_one_has_a_slot_or_leaves() {
        for leaves in [false, true] {
            let (target, head) = (tool("t"), Request::new(tool("t"), ()).head);
            let slots = Arc::new(Slots::new(&Limit::Static(NonZeroU32::MIN), 2, Arc::default(), &target));
            let (slot, first, second) = (slots.enter(&head), slots.enter(&head), slots.enter(&head));
            assert!(matches!(slots.enter(&head), Entry::Refused(Reason::QueueFull)));
            assert!(slots.shedding.is_on());
            if leaves {
                drop(first);
                assert!(slots.shedding.is_on(), "the second one waits");
                drop(second);
            } else {
                drop(slot);
                assert!(slots.shedding.is_on(), "the second one waits");
                drop(first);
            }
            assert!(!slots.shedding.is_on());
        }
    }
}
