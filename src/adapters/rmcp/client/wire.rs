//! What is under way on one connection, as the wire shows it.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ::rmcp::{
    ErrorData,
    model::{ProgressNotificationParam, ProgressToken, RequestId, ServerResult},
};
use futures_util::FutureExt;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

use crate::{
    call::{KeptSlot, Peer, Progress, SlotPool},
    error::BoxError,
};

/// What became of a request: the server's answer, or why there is none.
pub(super) type Outcome = Result<Result<ServerResult, ErrorData>, BoxError>;

/// The attempts on one connection, by the ids that the server knows.
///
/// An attempt is entered when its request is handed to the transport, and leaves with its answer, with whoever waited for it,
/// or, if it keeps a slot, when its lease ends. So there are never more entries than attempts under way and slots kept.
#[derive(Debug, Default)]
pub(super) struct Wire {
    attempts: Mutex<Attempts>,
    /// Rung when a slot is kept, so that the end of its lease is waited for.
    kept: Notify,
}

#[derive(Debug, Default)]
struct Attempts {
    by_id: HashMap<RequestId, Entry>,
    by_token: HashMap<ProgressToken, RequestId>,
    closed: bool,
}

#[derive(Debug)]
enum Entry {
    Awaited(Attempt),
    /// Nobody waits for it any more. The slot that it keeps, and the end of its lease.
    Kept { _slot: KeptSlot, until: Instant },
}

/// One attempt under way.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// Whom its progress is a sign of life to.
    pub(super) peer: Option<Peer>,
    /// The token under which the server tells of its progress.
    pub(super) token: Option<ProgressToken>,
    /// Who waits for its answer, where that is not rmcp.
    pub(super) reply: Option<oneshot::Sender<Outcome>>,
    /// The id of the call that it is made for, where rmcp knows the call by another one.
    pub(super) call: Option<RequestId>,
}

impl Attempts {
    fn awaited(&self, id: &RequestId) -> Option<&Attempt> {
        match self.by_id.get(id)? {
            Entry::Awaited(attempt) => Some(attempt),
            Entry::Kept { .. } => None,
        }
    }

    fn remove(&mut self, id: &RequestId) -> Option<Entry> {
        let entry = self.by_id.remove(id)?;
        if let Entry::Awaited(Attempt { token: Some(token), .. }) = &entry {
            self.by_token.remove(token);
        }
        Some(entry)
    }
}

// In all of these, what is taken out is dropped when the lock is not held.
impl Wire {
    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters an attempt whose request is about to go out.
    pub(super) fn enter(&self, id: RequestId, attempt: Attempt) {
        let mut attempts = self.lock();
        if attempts.closed {
            return;
        }
        if let Some(token) = &attempt.token {
            attempts.by_token.insert(token.clone(), id.clone());
        }
        attempts.by_id.insert(id, Entry::Awaited(attempt));
    }

    /// Takes an attempt out: it was answered, or nothing more is expected of it. If it kept a slot, that is free again.
    pub(super) fn take(&self, id: &RequestId) -> Option<Attempt> {
        let entry = self.lock().remove(id);
        match entry? {
            Entry::Awaited(attempt) => Some(attempt),
            Entry::Kept { .. } => None,
        }
    }

    /// The call that the attempt with this id is made for.
    pub(super) fn call_of(&self, id: &RequestId) -> Option<RequestId> {
        self.lock().awaited(id)?.call.clone()
    }

    /// Passes progress on to the attempt that it belongs to. Says whether there is one.
    pub(super) fn progress(&self, said: &ProgressNotificationParam) -> bool {
        let attempts = self.lock();
        let Some(id) = attempts.by_token.get(&said.progress_token) else { return false };
        let peer = attempts.awaited(id).and_then(|attempt| attempt.peer.clone());
        drop(attempts);
        if let Some(peer) = peer {
            let step = Progress { progress: said.progress, total: said.total, message: said.message.clone() };
            // Both adapters take it at once: one passes it on to a queue, the other only notes that there was some.
            let _ = peer.progress(step).now_or_never();
        }
        true
    }

    /// Nobody waits for this attempt any more, and the server was told so. If it held a slot, one is kept until the server
    /// answers or `lease` ends.
    pub(super) fn abandon(&self, id: &RequestId, slots: Option<Arc<dyn SlotPool>>, lease: Duration) {
        let mut attempts = self.lock();
        let entry = attempts.remove(id);
        let until = Instant::now().checked_add(lease).filter(|_| !lease.is_zero());
        if let (Some(Entry::Awaited(_)), Some(slots), Some(until)) = (&entry, slots, until) {
            attempts.by_id.insert(id.clone(), Entry::Kept { _slot: slots.keep(), until });
            self.kept.notify_one();
        }
        drop(attempts);
        drop(entry);
    }

    /// Gives kept slots back as their leases end, for as long as it is polled: by the connection's own task, so that no
    /// other has to be.
    pub(super) async fn leases(&self) -> Infallible {
        loop {
            match self.sweep(Instant::now()) {
                Some(next) => {
                    tokio::select! {
                        () = sleep_until(next) => {}
                        () = self.kept.notified() => {}
                    }
                }
                None => self.kept.notified().await,
            }
        }
    }

    /// Drops what has outlived its lease, and says when the next one ends.
    fn sweep(&self, now: Instant) -> Option<Instant> {
        let mut attempts = self.lock();
        let over = attempts.by_id.extract_if(|_, entry| matches!(entry, Entry::Kept { until, .. } if *until <= now));
        let over: Vec<_> = over.collect();
        let ends = attempts.by_id.values().filter_map(|entry| match entry {
            Entry::Kept { until, .. } => Some(*until),
            Entry::Awaited(_) => None,
        });
        let next = ends.min();
        drop(attempts);
        drop(over);
        next
    }

    /// The connection is gone: nothing more will be heard of any attempt.
    pub(super) fn close(&self) {
        let mut attempts = self.lock();
        attempts.closed = true;
        attempts.by_token.clear();
        let gone = std::mem::take(&mut attempts.by_id);
        drop(attempts);
        drop(gone);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().by_id.len()
    }
}

