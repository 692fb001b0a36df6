//! An attempt as a request of our own, past rmcp, on a transport that we wrap.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::rmcp::{
    RoleClient,
    model::{
        CancelledNotification, CancelledNotificationParam, ClientNotification, GetExtensions, GetMeta, JsonRpcMessage,
        ProgressNotification, ProgressNotificationParam, ProgressToken, RequestId, ServerNotification, ServerResult,
    },
    service::{InboundStreamOrigin, RxJsonRpcMessage, TxJsonRpcMessage},
};
use tokio::sync::{Notify, oneshot};

use super::{
    call::Call,
    passing::Passing,
    peer::TAKEN_BACK,
    wire::{Attempt, Outcome, Wire},
};
use crate::{
    adapters::rmcp::model::error_object,
    call::{self, HeldSlot, Progress, Request, Response, Revision, Session},
    error::{BoxError, Transport},
};

type Outward = TxJsonRpcMessage<RoleClient>;
type Inward = RxJsonRpcMessage<RoleClient>;

/// What our ids and tokens begin with. rmcp's are numbers.
const OURS: &str = "buttress-";

/// Our own conversation with the server on one connection, and the two queues between it and the transport.
///
/// Outward there is at most a request and its cancellation per attempt under way; inward, what the transport takes before it
/// reads on.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) wire: Wire,
    pub(super) passing: Passing,
    pub(super) session: Session,
    /// As the handshake said. Where there is none, each request says it.
    revision: OnceLock<Option<Revision>>,
    attempts: AtomicU64,
    outward: Mutex<VecDeque<Outward>>,
    inward: Mutex<VecDeque<Inward>>,
    /// Rung when there is something in either queue.
    pub(super) posted: Notify,
}

fn lock<T>(queue: &Mutex<T>) -> MutexGuard<'_, T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    /// Makes one attempt at a call which rmcp knows by `id`.
    pub(super) async fn send(self: Arc<Self>, id: RequestId, call: Request<Call>) -> Result<Response<ServerResult>, BoxError> {
        let Request { head, params } = call;
        let own = RequestId::String(format!("{OURS}{}", self.attempts.fetch_add(1, Ordering::Relaxed)).into());
        let mut request = params.onward(&head);
        let token = request.get_meta().get_progress_token().map(|_| ProgressToken(own.clone()));
        if let Some(token) = &token {
            request.get_meta_mut().set_progress_token(token.clone());
        }
        let slot = head.held_slot();
        let (reply, answer) = oneshot::channel();
        self.wire.enter(own.clone(), Attempt { peer: head.peer, token, reply: Some(reply), call: Some(id) });
        self.post(JsonRpcMessage::request(request, own.clone()));
        let mut waiting = Waiting { line: self, id: own, slot, lease: params.lease(), answered: false };
        let outcome = answer.await;
        waiting.answered = true;
        match outcome {
            Ok(Ok(Ok(result))) => Ok(Response::new(result)),
            Ok(Ok(Err(error))) => Ok(Response::from_error(error_object(error))),
            Ok(Err(error)) => Err(params.lost(error, |error| &**error)),
            // The connection is gone.
            Err(gone) if waiting.unpost() => Err(Transport::not_sent(gone).into()),
            Err(gone) => Err(Transport::unknown(gone).into()),
        }
    }

    fn post(&self, message: Outward) {
        lock(&self.outward).push_back(message);
        self.posted.notify_one();
    }

    /// Has rmcp receive a message of ours.
    pub(super) fn deliver(&self, message: Inward) {
        lock(&self.inward).push_back(message);
        self.posted.notify_one();
    }

    /// The next message to the server.
    pub(super) fn next_outward(&self) -> Option<Outward> {
        lock(&self.outward).pop_front()
    }

    /// The next message of ours to rmcp.
    pub(super) fn next_inward(&self) -> Option<Inward> {
        lock(&self.inward).pop_front()
    }

    /// What became of the attempt with this id.
    pub(super) fn settle(&self, id: &RequestId, outcome: Outcome) {
        if let Some(reply) = self.wire.take(id).and_then(|attempt| attempt.reply) {
            // Who no longer waits has said so.
            let _ = reply.send(outcome);
        }
    }

    pub(super) fn revision(&self) -> Option<Revision> {
        self.revision.get().copied().flatten()
    }

    /// Takes what the server says to us. What is not for us is given back.
    pub(super) fn hear(&self, message: Inward) -> Option<Inward> {
        self.wire.heard(&message);
        match message {
            JsonRpcMessage::Response(answer) if is_ours(&answer.id) => self.settle(&answer.id, Ok(Ok(answer.result))),
            JsonRpcMessage::Error(answer) if answer.id.as_ref().is_some_and(is_ours) => {
                if let Some(id) = &answer.id {
                    self.settle(id, Ok(Err(answer.error)));
                }
            }
            JsonRpcMessage::Notification(said) => match &said.notification {
                // The attempt that it belongs to has passed it on, in the name that rmcp knows.
                ServerNotification::ProgressNotification(progress) if is_ours(&progress.params.progress_token.0) => {}
                _ => return Some(JsonRpcMessage::Notification(said)),
            },
            JsonRpcMessage::Request(mut asked) => {
                // rmcp knows the call that the server asks within by its own id only.
                let within = asked.request.extensions_mut().get_mut::<InboundStreamOrigin>();
                if let Some(InboundStreamOrigin::OutboundRequest(id)) = within
                    && let Some(call) = self.wire.call_of(id)
                {
                    *id = call;
                }
                return Some(JsonRpcMessage::Request(asked));
            }
            JsonRpcMessage::Response(answer) => {
                if let ServerResult::InitializeResult(agreed) = &answer.result {
                    self.revision.get_or_init(|| Revision::from_wire(agreed.protocol_version.as_str()));
                }
                self.passing.ended(&answer.id, || Ok(Ok(answer.result.clone())));
                return Some(JsonRpcMessage::Response(answer));
            }
            JsonRpcMessage::Error(answer) => {
                if let Some(id) = &answer.id {
                    self.passing.ended(id, || Ok(Err(answer.error.clone())));
                }
                return Some(JsonRpcMessage::Error(answer));
            }
        }
        None
    }

    /// The connection is gone: who waits for an answer hears so.
    pub(super) fn close(&self) {
        self.passing.forget(None);
        self.wire.close();
    }
}

fn is_ours(id: &RequestId) -> bool {
    matches!(id, RequestId::String(id) if id.starts_with(OURS))
}

/// An attempt that waits for its answer. Dropped before there is one, it takes its request back.
struct Waiting {
    line: Arc<Line>,
    id: RequestId,
    slot: Option<HeldSlot>,
    lease: Duration,
    answered: bool,
}

impl Waiting {
    /// Takes the request out of the queue, if it is still there: then the server never saw it.
    fn unpost(&self) -> bool {
        let mut outward = lock(&self.line.outward);
        let is_it = |message: &Outward| matches!(message, JsonRpcMessage::Request(request) if request.id == self.id);
        let place = outward.iter().position(is_it);
        place.and_then(|place| outward.remove(place)).is_some()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.answered || self.unpost() {
            drop(self.line.wire.take(&self.id));
            return;
        }
        let param = CancelledNotificationParam::new(Some(self.id.clone()), Some(TAKEN_BACK.to_owned()));
        let notification = ClientNotification::CancelledNotification(CancelledNotification::new(param));
        self.line.post(JsonRpcMessage::notification(notification));
        self.line.wire.abandon(&self.id, self.slot.take(), self.lease);
    }
}

/// Tells rmcp of the progress of a call, under the token that rmcp chose for it.
pub(super) struct Notifier {
    pub(super) line: Arc<Line>,
    pub(super) token: ProgressToken,
}

impl call::Notify for Notifier {
    fn progress(&self, step: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
        let mut param = ProgressNotificationParam::new(self.token.clone(), step.progress);
        (param.total, param.message) = (step.total, step.message);
        let notification = ServerNotification::ProgressNotification(ProgressNotification::new(param));
        self.line.deliver(JsonRpcMessage::notification(notification));
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use ::rmcp::model::{ClientRequest, ListToolsRequest, NumberOrString, ServerRequest};
    use serde_json::json;

    use super::*;
    use crate::{
        adapters::rmcp::client::{
            call::{Link, Ways},
            changes::Changes,
            transport_error::Plain,
        },
        catalogue::Catalogue,
        stack::Stack,
        testing::tool,
    };

    const CALL: RequestId = NumberOrString::Number(7);

    fn attempt(line: &Arc<Line>) -> Pin<Box<dyn Future<Output = Result<Response<ServerResult>, BoxError>>>> {
        let request = ClientRequest::ListToolsRequest(ListToolsRequest::default());
        let changes = Arc::new(Changes::new(&Stack::new(), &Arc::new(Catalogue::new("up"))));
        let ways = Arc::new(Ways { errors: Arc::new(Plain), lease: Duration::ZERO, changes });
        let call = Call::new(request, Link::Line(line.clone(), CALL), ways);
        Box::pin(line.clone().send(CALL, Request::new(tool("t"), call)))
    }

    fn poll<F: Future + Unpin>(future: &mut F) -> bool {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_left_is_not_taken_back_on_the_wire() {
        let line = Arc::new(Line::default());
        let (mut stays, mut left) = (attempt(&line), attempt(&line));
        assert!(!poll(&mut left) && !poll(&mut stays));
        let Some(JsonRpcMessage::Request(out)) = line.next_outward() else { panic!("a request goes out") };
        drop(stays);
        assert!(line.next_outward().is_none());
        drop(left);
        let Some(JsonRpcMessage::Notification(told)) = line.next_outward() else { panic!("it is taken back") };
        let ClientNotification::CancelledNotification(told) = told.notification else { panic!("{told:?}") };
        assert_eq!(told.params.request_id, Some(out.id));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_ends_tells_what_was_sent_from_what_was_not() {
        let line = Arc::new(Line::default());
        let (mut sent, mut waits) = (attempt(&line), attempt(&line));
        assert!(!poll(&mut sent) && !poll(&mut waits));
        line.next_outward().unwrap();
        line.close();
        let verdict = |error: BoxError| crate::call::Verdict::of_error(&*error);
        assert_eq!(verdict(sent.await.unwrap_err()), crate::call::Verdict::AMBIGUOUS);
        assert_eq!(verdict(waits.await.unwrap_err()), crate::call::Verdict::NotSent);
        assert_eq!(verdict(attempt(&line).await.unwrap_err()), crate::call::Verdict::NotSent);
    }

    /// Over HTTP the transport says within which request the server asks, by the id on the wire; rmcp checks it against its own.
    #[tokio::test(start_paused = true)]
    async fn what_the_server_asks_within_a_call_is_asked_within_rmcps_own() {
        let line = Arc::new(Line::default());
        let mut call = attempt(&line);
        assert!(!poll(&mut call));
        let Some(JsonRpcMessage::Request(out)) = line.next_outward() else { panic!("a request goes out") };
        for (within, translated) in [(out.id, CALL), (NumberOrString::Number(3), NumberOrString::Number(3))] {
            let mut asked: Inward = serde_json::from_value(json!({ "jsonrpc": "2.0", "id": 1, "method": "roots/list" })).unwrap();
            let JsonRpcMessage::Request(request) = &mut asked else { panic!("{asked:?}") };
            request.request.extensions_mut().insert(InboundStreamOrigin::OutboundRequest(within));
            let Some(JsonRpcMessage::Request(heard)) = line.hear(asked) else { panic!("it passes") };
            let ServerRequest::ListRootsRequest(heard) = heard.request else { panic!("{heard:?}") };
            let origin = heard.extensions.get::<InboundStreamOrigin>();
            assert_eq!(origin, Some(&InboundStreamOrigin::OutboundRequest(translated)));
        }
    }

    /// An answer to what nobody waits for is for nobody, and rmcp's own answers pass.
    #[tokio::test]
    async fn late_answers_end_here() {
        let line = Line::default();
        let answer = |id| serde_json::from_value(json!({ "jsonrpc": "2.0", "id": id, "result": {} })).unwrap();
        assert!(line.hear(answer(json!("buttress-5"))).is_none());
        assert!(line.hear(answer(json!(5))).is_some());
    }
}
