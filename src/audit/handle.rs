use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{OnFull, entry::Entry, queue::Queue};

/// Steers one [`AuditLayer`](super::AuditLayer) while its services run. Cheap to clone; it keeps nothing alive. What is on
/// record, and what is left out, cannot be changed by it: one trail is of one kind.
#[derive(Debug, Clone)]
pub struct AuditHandle {
    queue: Arc<Queue<Box<Entry>>>,
    fails_closed: Arc<AtomicBool>,
}

impl AuditHandle {
    pub(super) const fn new(queue: Arc<Queue<Box<Entry>>>, fails_closed: Arc<AtomicBool>) -> Self {
        Self { queue, fails_closed }
    }

    /// What becomes of calls whose record cannot be written.
    pub fn on_full(&self) -> OnFull {
        if self.fails_closed.load(Ordering::Relaxed) { OnFull::FailClosed } else { OnFull::Drop }
    }

    /// Changes that, for calls that come from then on: where a disk will stay full for a while, say, and calls are to be made all
    /// the same.
    pub fn set_on_full(&self, on_full: OnFull) {
        self.fails_closed.store(on_full == OnFull::FailClosed, Ordering::Relaxed);
    }

    /// Waits until each record of a call that has ended by now is written or counted as lost. Cancel safe. At a shutdown: stop
    /// taking calls, wait for those that run, then for this; whoever leaves `main` before leaves records behind.
    pub async fn flush(&self) {
        self.queue.drained().await;
    }

    /// Has the sink [reopened](super::Sink::reopen): after its file was moved away, say. Returns at once;
    /// [`flush`](Self::flush) waits for it. A failure is told in the log.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// How many places of the queue are taken: by records on their way to the sink, and, where calls without a record are
    /// refused, by calls under way.
    pub fn backlog(&self) -> usize {
        self.queue.taken()
    }

    /// Whether the last write failed, or the thread that writes is gone.
    pub fn is_failing(&self) -> bool {
        self.queue.is_failing()
    }
}
