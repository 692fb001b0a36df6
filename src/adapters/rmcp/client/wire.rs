//! What is under way on one connection, as the wire shows it.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
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

use super::changes::{Changes, method_of};
use crate::{
    call::{Asking, HeldSlot, KeptSlot, Peer, Progress},
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
    by_id: HashMap<RequestId, Attempt>,
    by_token: HashMap<ProgressToken, RequestId>,
    /// The slots that are kept for attempts that nobody waits for any more, in the order in which their leases end.
    kept: BTreeMap<LeaseEnd, (RequestId, KeptSlot)>,
    lease_of: HashMap<RequestId, LeaseEnd>,
    last_lease: u64,
    /// What the server asks and has no answer to, by its own ids. Each stops the clocks of the calls that wait for it.
    questions: HashMap<RequestId, Vec<Asking>>,
    /// Who hears of changes: the stacks that calls on this connection come from, for as long as there are such. Nearly always one.
    audience: Vec<Weak<Changes>>,
    closed: bool,
}

/// When a lease ends, and a number that tells apart those that end together.
type LeaseEnd = (Instant, u64);

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
    fn remove(&mut self, id: &RequestId) -> Option<Attempt> {
        let attempt = self.by_id.remove(id)?;
        if let Some(token) = &attempt.token {
            self.by_token.remove(token);
        }
        Some(attempt)
    }

    fn keep(&mut self, id: &RequestId, slot: KeptSlot, until: Instant) {
        self.last_lease += 1;
        let end = (until, self.last_lease);
        self.lease_of.insert(id.clone(), end);
        self.kept.insert(end, (id.clone(), slot));
    }

    fn give_back(&mut self, id: &RequestId) -> Option<KeptSlot> {
        let end = self.lease_of.remove(id)?;
        self.kept.remove(&end).map(|(_, slot)| slot)
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
        attempts.by_id.insert(id, attempt);
    }

    /// From now on tells `changes` what the server says has changed.
    pub(super) fn tell(&self, changes: &Arc<Changes>) {
        let mut attempts = self.lock();
        if !attempts.audience.iter().any(|told| ptr::eq(told.as_ptr(), Arc::as_ptr(changes))) {
            attempts.audience.retain(|told| told.strong_count() > 0);
            attempts.audience.push(Arc::downgrade(changes));
        }
    }

    /// Takes an attempt out: it was answered, or nothing more is expected of it. If it kept a slot, that is free again.
    pub(super) fn take(&self, id: &RequestId) -> Option<Attempt> {
        let mut attempts = self.lock();
        let (attempt, slot) = (attempts.remove(id), attempts.give_back(id));
        drop(attempts);
        drop(slot);
        attempt
    }

    /// The call that the attempt with this id is made for.
    pub(super) fn call_of(&self, id: &RequestId) -> Option<RequestId> {
        self.lock().by_id.get(id)?.call.clone()
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
                other => {
                    if let Some(method) = method_of(other) {
                        let audience = self.lock().audience.clone();
                        audience.iter().filter_map(Weak::upgrade).for_each(|changes| changes.heard(method));
                    }
                }
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
        let peer = attempts.by_id.get(id).and_then(|attempt| attempt.peer.clone());
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
        let peers: Vec<_> = match within {
            Some(InboundStreamOrigin::OutboundRequest(id)) => {
                attempts.by_id.get(id).and_then(|attempt| attempt.peer.clone()).into_iter().collect()
            }
            Some(InboundStreamOrigin::Unassociated) | None => {
                attempts.by_id.values().filter_map(|attempt| attempt.peer.clone()).collect()
            }
        };
        if !peers.is_empty() && attempts.questions.len() < QUESTIONS {
            attempts.questions.insert(id.clone(), peers.iter().map(Peer::ask).collect());
        }
    }

    /// The question with this id is answered, or taken back.
    fn replied(&self, id: &RequestId) {
        let asked = self.lock().questions.remove(id);
        drop(asked);
    }

    /// Nobody waits for this attempt any more, and the server was told so. If it held a slot, one is kept until the server
    /// answers or its lease ends: half of `lease` is sure, the other half drawn. Slots that were lost in one moment then come
    /// back one by one, and who else wants one waits for the next of them, and not a whole lease for all.
    pub(super) fn abandon(&self, id: &RequestId, slot: Option<HeldSlot>, lease: Duration) {
        let mut attempts = self.lock();
        let attempt = attempts.remove(id);
        let drawn = lease / 2 + (lease / 2).mul_f64(fastrand::f64());
        let until = Instant::now().checked_add(drawn).filter(|_| !lease.is_zero());
        if let (Some(_), Some(slot), Some(until)) = (&attempt, slot, until) {
            attempts.keep(id, slot.keep(), until);
            self.kept.notify_one();
        }
        drop(attempts);
        drop(attempt);
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
        let mut over = Vec::new();
        while let Some(lease) = attempts.kept.first_entry().filter(|lease| lease.key().0 <= now) {
            over.push(lease.remove());
        }
        for (id, _) in &over {
            attempts.lease_of.remove(id);
        }
        let next = attempts.kept.first_key_value().map(|((end, _), _)| *end);
        drop(attempts);
        drop(over);
        next
    }

    /// The connection is gone: nothing more will be heard of any attempt.
    pub(super) fn close(&self) {
        let mut attempts = self.lock();
        let gone = std::mem::replace(&mut *attempts, Attempts { closed: true, ..Attempts::default() });
        drop(attempts);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use ::rmcp::model::{ErrorCode, JsonRpcNotification, ProgressNotification};
    use tokio::time::{advance, timeout};

    use super::*;
    use crate::call::{Digest, SlotPool};

    const LEASE: Duration = Duration::from_secs(30);

    /// Counts the slots that are kept.
    #[derive(Clone, Default)]
    struct Slots(Arc<AtomicU32>);

    struct Back(Slots);

    impl Drop for Back {
        fn drop(&mut self) {
            self.0.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl SlotPool for Slots {
        fn keep(self: Arc<Self>, _: Digest) -> KeptSlot {
            self.0.fetch_add(1, Ordering::SeqCst);
            KeptSlot::new(Back(Self::clone(&self)))
        }
    }

    impl Slots {
        /// A slot of these, held.
        fn held(&self) -> Option<HeldSlot> {
            let mut head = crate::call::Head::new(crate::testing::tool("t"));
            head.slots = Some(Arc::new(self.clone()));
            head.held_slot()
        }

        fn kept(&self) -> u32 {
            self.0.load(Ordering::SeqCst)
        }
    }

    const fn id(n: i64) -> RequestId {
        RequestId::Number(n)
    }

    /// A wire with attempts that were given up, 10 s apart.
    async fn with_zombies(count: i64) -> (Wire, Slots) {
        let (wire, slots) = (Wire::default(), Slots::default());
        for n in 0..count {
            wire.enter(id(n), Attempt::default());
            wire.abandon(&id(n), slots.held(), LEASE);
            advance(Duration::from_secs(10)).await;
        }
        (wire, slots)
    }

    fn entries(wire: &Wire) -> usize {
        let attempts = wire.lock();
        assert_eq!(attempts.kept.len(), attempts.lease_of.len());
        attempts.by_id.len() + attempts.kept.len()
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_kept_for_half_a_lease_and_come_back_one_by_one_until_it_ends() {
        let (wire, slots) = (Wire::default(), Slots::default());
        for n in 0..1000 {
            wire.enter(id(n), Attempt::default());
            wire.abandon(&id(n), slots.held(), LEASE);
        }
        let mut kept = Vec::new();
        // A moment before half of it, in tenths of the other half, and a moment after.
        for time in [LEASE / 2 - Duration::from_millis(10)].into_iter().chain([LEASE / 20 + Duration::from_millis(2); 10]) {
            assert!(timeout(time, wire.leases()).await.is_err());
            assert_eq!(entries(&wire), slots.kept() as usize);
            kept.push(slots.kept());
        }
        assert_eq!((kept[0], kept[10]), (1000, 0));
        assert!(kept.windows(2).all(|pair| (50..170).contains(&(pair[0] - pair[1]))), "{kept:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_watched_that_begins_while_nothing_else_is() {
        let (wire, slots) = (Arc::new(Wire::default()), Slots::default());
        let watching = tokio::spawn({
            let wire = wire.clone();
            async move { wire.leases().await }
        });
        tokio::task::yield_now().await;
        wire.enter(id(1), Attempt::default());
        wire.abandon(&id(1), slots.held(), LEASE);
        tokio::time::sleep(LEASE + Duration::from_millis(2)).await;
        assert_eq!(slots.kept(), 0);
        watching.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_late_gives_the_slot_back() {
        let (wire, slots) = with_zombies(2).await;
        assert!(wire.take(&id(1)).is_none(), "nobody waits for it");
        assert_eq!((slots.kept(), entries(&wire)), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_ends_gives_all_back_and_keeps_nothing_more() {
        let (wire, slots) = with_zombies(2).await;
        wire.close();
        wire.enter(id(9), Attempt::default());
        wire.abandon(&id(9), slots.held(), LEASE);
        assert_eq!((slots.kept(), entries(&wire)), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_for_what_was_answered_or_holds_no_slot() {
        let (wire, slots) = (Wire::default(), Slots::default());
        for n in 0..3 {
            wire.enter(id(n), Attempt::default());
        }
        drop(wire.take(&id(0)));
        wire.abandon(&id(0), slots.held(), LEASE);
        wire.abandon(&id(1), None, LEASE);
        wire.abandon(&id(2), slots.held(), Duration::ZERO);
        assert_eq!((slots.kept(), entries(&wire)), (0, 0));
    }

    fn progress(token: i64) -> RxJsonRpcMessage<RoleClient> {
        let param = ProgressNotificationParam::new(ProgressToken(id(token)), 1.0);
        let notification = ServerNotification::ProgressNotification(ProgressNotification::new(param));
        JsonRpcMessage::Notification(JsonRpcNotification { jsonrpc: Default::default(), notification })
    }

    struct Deaf;

    impl crate::call::Notify for Deaf {
        fn progress(&self, _: Progress) -> std::pin::Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn progress_commits_the_call_that_it_belongs_to() {
        let wire = Wire::default();
        let [one, other] = [1, 2].map(|n| {
            let peer = Peer::new(Deaf);
            let token = Some(ProgressToken(id(n + 10)));
            wire.enter(id(n), Attempt { peer: Some(peer.clone()), token, ..Attempt::default() });
            peer
        });
        wire.heard(&progress(12));
        wire.heard(&progress(99));
        assert_eq!((one.is_committed(), other.is_committed()), (false, true));
        // What is said of an attempt that is over goes nowhere.
        drop(wire.take(&id(1)));
        wire.heard(&progress(11));
        assert!(!one.is_committed() && wire.lock().by_token.len() == 1);
    }

    /// A question as it comes, within an attempt if the transport can tell.
    fn question(number: i64, within: Option<i64>) -> RxJsonRpcMessage<RoleClient> {
        let mut message: RxJsonRpcMessage<RoleClient> = serde_json::from_value(serde_json::json!({
            "jsonrpc": "2.0", "id": number, "method": "elicitation/create",
            "params": { "mode": "form", "message": "Who?", "requestedSchema": { "type": "object", "properties": {} } },
        }))
        .unwrap();
        if let (JsonRpcMessage::Request(asked), Some(within)) = (&mut message, within)
            && let ServerRequest::ElicitRequest(asked) = &mut asked.request
        {
            asked.extensions.insert(InboundStreamOrigin::OutboundRequest(id(within)));
        }
        message
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_stops_the_clocks_of_the_calls_that_wait_for_it() {
        let asking = |peer: &Peer| peer.is_asking(std::task::Waker::noop());
        let wire = Wire::default();
        let [one, other] = [1, 2].map(|n| {
            let peer = Peer::unheard();
            wire.enter(id(n), Attempt { peer: Some(peer.clone()), ..Attempt::default() });
            peer
        });
        wire.heard(&question(7, Some(1)));
        assert_eq!((asking(&one), asking(&other)), (true, false));
        wire.heard(&question(8, None));
        assert_eq!((asking(&one), asking(&other)), (true, true));
        let refusal = ErrorData::new(ErrorCode(1), "not now", None);
        wire.said(&JsonRpcMessage::error(refusal, Some(id(8))));
        assert_eq!((asking(&one), asking(&other)), (true, false));
        wire.close();
        assert!(!asking(&one));
        // A server may ask without end; clocks are not stopped without end.
        let wire = Wire::default();
        wire.heard(&question(0, None));
        assert!(wire.lock().questions.is_empty(), "nobody waits");
        wire.enter(id(1), Attempt { peer: Some(one), ..Attempt::default() });
        (0..1000).for_each(|n| wire.heard(&question(n, None)));
        assert_eq!(wire.lock().questions.len(), QUESTIONS);
    }

    /// A gateway makes a client for each of its callers, over one connection to the server.
    #[test]
    fn whoever_is_gone_is_not_told_and_takes_no_room() {
        let wire = Wire::default();
        let client = || Arc::new(Changes::new(&crate::Stack::new(), &Arc::new(crate::catalogue::Catalogue::new("up"))));
        let stays = client();
        for _ in 0..100 {
            wire.tell(&stays);
            wire.tell(&client());
        }
        wire.tell(&stays);
        let told: Vec<_> = wire.lock().audience.iter().filter_map(Weak::upgrade).collect();
        assert!(told.len() == 1 && Arc::ptr_eq(&told[0], &stays));
        assert_eq!(wire.lock().audience.len(), 2, "the last that came, and who stays");
    }
}
