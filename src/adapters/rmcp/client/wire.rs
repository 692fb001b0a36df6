//! What is under way on one connection, as the wire shows it.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ::rmcp::{
    ErrorData, RoleClient,
    model::{
        JsonRpcError, JsonRpcMessage, ProgressNotificationParam, ProgressToken, RequestId, ServerNotification, ServerRequest,
        ServerResult,
    },
    service::{InboundStreamOrigin, RxJsonRpcMessage, TxJsonRpcMessage},
};
use futures_util::FutureExt;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

use crate::{
    call::{Asking, KeptSlot, Peer, Progress, SlotPool},
    error::BoxError,
};

/// What became of a request: the server's answer, or why there is none.
pub(super) type Outcome = Result<Result<ServerResult, ErrorData>, BoxError>;

/// How many open questions of a server's stop clocks. More are asked all the same.
const QUESTIONS: usize = 64;

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
    /// What the server asks and has no answer to, by its own ids. Each stops the clocks of the calls that wait for it.
    questions: HashMap<RequestId, Vec<Asking>>,
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

impl Entry {
    fn peer(&self) -> Option<Peer> {
        match self {
            Self::Awaited(attempt) => attempt.peer.clone(),
            Self::Kept { .. } => None,
        }
    }
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

    /// Takes note of what the server says or asks, be it for us or not.
    pub(super) fn heard(&self, message: &RxJsonRpcMessage<RoleClient>) {
        match message {
            JsonRpcMessage::Request(asked) => self.asked(&asked.request, &asked.id),
            JsonRpcMessage::Notification(said) => match &said.notification {
                ServerNotification::ProgressNotification(progress) => self.progress(&progress.params),
                ServerNotification::CancelledNotification(cancelled) => {
                    if let Some(id) = &cancelled.params.request_id {
                        self.replied(id);
                    }
                }
                _ => {}
            },
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
        }
    }

    /// Takes note of what is said to the server.
    pub(super) fn said(&self, message: &TxJsonRpcMessage<RoleClient>) {
        match message {
            JsonRpcMessage::Response(reply) => self.replied(&reply.id),
            JsonRpcMessage::Error(JsonRpcError { id: Some(id), .. }) => self.replied(id),
            _ => {}
        }
    }

    /// Passes progress on to the attempt that it belongs to.
    fn progress(&self, said: &ProgressNotificationParam) {
        let attempts = self.lock();
        let Some(id) = attempts.by_token.get(&said.progress_token) else { return };
        let peer = attempts.awaited(id).and_then(|attempt| attempt.peer.clone());
        drop(attempts);
        if let Some(peer) = peer {
            let step = Progress { progress: said.progress, total: said.total, message: said.message.clone() };
            // Both adapters take it at once: one passes it on to a queue, the other only notes that there was some.
            let _ = peer.progress(step).now_or_never();
        }
    }

    /// The server asks a person or a model, within the attempt `within` if that is known, else within any: the clocks stand
    /// still until [`replied`](Self::replied).
    fn asked(&self, question: &ServerRequest, id: &RequestId) {
        let within = match question {
            ServerRequest::ElicitRequest(asked) => asked.extensions.get::<InboundStreamOrigin>(),
            ServerRequest::CreateMessageRequest(asked) => asked.extensions.get::<InboundStreamOrigin>(),
            _ => return,
        };
        let mut attempts = self.lock();
        let peers = match within {
            Some(InboundStreamOrigin::OutboundRequest(id)) => vec![attempts.awaited(id).and_then(|attempt| attempt.peer.clone())],
            Some(InboundStreamOrigin::Unassociated) | None => attempts.by_id.values().map(Entry::peer).collect(),
        };
        if attempts.questions.len() < QUESTIONS && !attempts.closed {
            attempts.questions.insert(id.clone(), peers.iter().flatten().map(Peer::ask).collect());
        }
    }

    /// The question with this id is answered, or taken back.
    fn replied(&self, id: &RequestId) {
        let asked = self.lock().questions.remove(id);
        drop(asked);
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
        let gone = (std::mem::take(&mut attempts.by_id), std::mem::take(&mut attempts.questions));
        drop(attempts);
        drop(gone);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().by_id.len()
    }
}

