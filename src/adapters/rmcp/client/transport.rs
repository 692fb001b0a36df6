//! The stack around a client's transport.

use std::{borrow::Cow, collections::HashMap, fmt, future::Future, panic::AssertUnwindSafe, sync::Arc};

use ::rmcp::{
    RoleClient,
    model::{ClientNotification, ClientRequest, ErrorData, GetMeta, JsonRpcMessage, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use futures_util::{
    FutureExt, StreamExt, TryFutureExt,
    future::{AbortHandle, Abortable, BoxFuture, Either, abortable, ready},
    stream::FuturesUnordered,
};
use tokio::sync::oneshot;

use super::{
    call::Link,
    line::{Line, Notifier},
    passing::Passer,
    shared::{Answered, Shared},
};
use crate::call::{Method, Peer};

/// How many calls a connection carries at once (further ones are refused), and how many messages it has in hand. rmcp's own queue
/// holds as many.
const CAP: usize = 1024;

/// A client's transport with the stack inside: see [`ClientLayer::transport`](super::ClientLayer::transport).
pub struct LayeredTransport<T: Transport<RoleClient>> {
    inner: T,
    shared: Arc<Shared>,
    line: Arc<Line>,
    /// The calls under way. They run while this transport receives, which rmcp has it do all the time.
    calls: FuturesUnordered<Abortable<BoxFuture<'static, Ended<T::Error>>>>,
    under_way: HashMap<RequestId, AbortHandle>,
    sends: FuturesUnordered<BoxFuture<'static, Handed<T::Error>>>,
}

/// A message that the transport has taken, or could not; a request by its id.
type Handed<E> = (Option<RequestId>, Result<(), E>);

/// A call that has its answer.
struct Ended<E> {
    id: RequestId,
    answered: Answered,
    denied: oneshot::Sender<E>,
}

impl<T: Transport<RoleClient>> LayeredTransport<T> {
    pub(super) fn new(inner: T, shared: Arc<Shared>) -> Self {
        let line = Arc::new(Line::default());
        line.wire.tell(shared.changes());
        Self { inner, shared, line, calls: FuturesUnordered::new(), under_way: HashMap::new(), sends: FuturesUnordered::new() }
    }

    /// Whether a request goes through the stack. What keeps the connection itself alive does not, and a stream is no call.
    fn is_call(request: &ClientRequest) -> bool {
        let method = match request {
            ClientRequest::CustomRequest(_) => return true,
            request => Method::from_wire(request.method()),
        };
        !method.is_lifecycle() && method != Method::SubscriptionsListen
    }

    /// Sends a call through the stack. What comes back is why the server refused this caller, if it does: rmcp's own error,
    /// with its challenge.
    fn take_up(&mut self, id: RequestId, request: ClientRequest) -> oneshot::Receiver<T::Error> {
        let (denied, refused) = oneshot::channel();
        let token = request.get_meta().get_progress_token();
        let peer = token.map_or_else(Peer::unheard, |token| Peer::new(Notifier { line: self.line.clone(), token }));
        let call = self.shared.call(request, Link::Line(self.line.clone(), id.clone()));
        // The adapter's edge: all calls are polled where the connection is, and a panic outside of the stack's own guard (who
        // reads errors, say) would take the connection along.
        let shared = self.shared.clone();
        // Who is turned away has its answer when it is first polled, so it takes up no room.
        let answered = if self.calls.len() < CAP {
            Either::Left(shared.answer(call, None, peer))
        } else {
            Either::Right(shared.turn_away(call, peer))
        };
        let answered = AssertUnwindSafe(answered).catch_unwind();
        let (running, handle) = abortable({
            let id = id.clone();
            let answered = answered.map(|answered| answered.unwrap_or_else(|_panic| Answered::panicked()));
            async move { Ended { id, answered: answered.await, denied } }.boxed()
        });
        self.under_way.insert(id, handle);
        self.calls.push(running);
        refused
    }

    /// Follows a request that passes by the stack.
    fn pass(&self, id: &RequestId, request: &ClientRequest) -> Result<(), ErrorData> {
        let passer = match request {
            ClientRequest::SubscriptionsListenRequest(_) => Passer::Stream { _open: self.shared.open(id)? },
            request => self.shared.record(id, request),
        };
        self.line.passing.follow(id.clone(), passer);
        Ok(())
    }

    /// What rmcp hears of the end of a call.
    fn end(&mut self, ended: Ended<T::Error>) -> Option<RxJsonRpcMessage<RoleClient>> {
        let Ended { id, answered, denied } = ended;
        self.under_way.remove(&id);
        if let Some(error) = answered.denied.and_then(|error| error.downcast().ok()) {
            // As the error of the send that it is: rmcp tells its caller how to get in.
            let _ = denied.send(*error);
            return None;
        }
        Some(match answered.result {
            Ok(result) => JsonRpcMessage::response(result, id),
            Err(error) => JsonRpcMessage::error(error, Some(id)),
        })
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for LayeredTransport<T> {
    type Error = T::Error;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn send(&mut self, message: TxJsonRpcMessage<RoleClient>) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        self.line.wire.said(&message);
        let message = match message {
            JsonRpcMessage::Request(sent) if Self::is_call(&sent.request) => {
                let refused = self.take_up(sent.id, sent.request);
                return Either::Left(refused.map(|refused| refused.map_or(Ok(()), Err)));
            }
            JsonRpcMessage::Notification(sent) => {
                let cancelled = match &sent.notification {
                    ClientNotification::CancelledNotification(cancelled) => cancelled.params.request_id.as_ref(),
                    _ => None,
                };
                if cancelled.is_some() {
                    self.line.passing.forget(cancelled);
                }
                if let Some(call) = cancelled.and_then(|id| self.under_way.remove(id)) {
                    // Its attempt under way, if there is one, tells the server, in the name that the server knows.
                    call.abort();
                    return Either::Right(Either::Left(ready(Ok(()))));
                }
                JsonRpcMessage::Notification(sent)
            }
            JsonRpcMessage::Request(sent) => match self.pass(&sent.id, &sent.request) {
                Ok(()) => {
                    let (id, line, shared) = (sent.id.clone(), self.line.clone(), self.shared.clone());
                    let sending = self.inner.send(JsonRpcMessage::Request(sent));
                    return Either::Right(Either::Right(Either::Left(sending.inspect_err(move |error| {
                        line.passing.ended(&id, || Err(shared.unsent(error)));
                    }))));
                }
                Err(refusal) => {
                    self.line.deliver(JsonRpcMessage::error(refusal, Some(sent.id)));
                    return Either::Right(Either::Left(ready(Ok(()))));
                }
            },
            message => message,
        };
        Either::Right(Either::Right(Either::Right(self.inner.send(message))))
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            if let Some(message) = self.line.next_inward() {
                return Some(message);
            }
            while self.sends.len() < CAP
                && let Some(message) = self.line.next_outward()
            {
                let id = if let JsonRpcMessage::Request(request) = &message { Some(request.id.clone()) } else { None };
                let sent = self.inner.send(message);
                self.sends.push(async move { (id, sent.await) }.boxed());
            }
            let Self { inner, line, calls, sends, .. } = self;
            tokio::select! {
                biased;
                Some(ended) = calls.next() => {
                    // A call that its caller took back ends with nothing.
                    if let Some(message) = ended.ok().and_then(|ended| self.end(ended)) {
                        return Some(message);
                    }
                }
                Some((id, sent)) = sends.next() => {
                    if let (Some(id), Err(error)) = (id, sent) {
                        line.settle(&id, Err(error.into()));
                    }
                }
                () = line.posted.notified() => {}
                received = inner.receive() => match received {
                    Some(message) => {
                        if let Some(message) = line.hear(message) {
                            return Some(message);
                        }
                    }
                    None => {
                        line.close();
                        return None;
                    }
                },
                never = line.wire.leases() => match never {},
            }
        }
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.line.close();
        self.calls.clear();
        self.inner.close().await
    }
}

impl<T: Transport<RoleClient>> Drop for LayeredTransport<T> {
    fn drop(&mut self) {
        self.line.close();
    }
}

impl<T: Transport<RoleClient>> fmt::Debug for LayeredTransport<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (calls, sends) = (self.calls.len(), self.sends.len());
        f.debug_struct("LayeredTransport").field("calls", &calls).field("sends", &sends).finish_non_exhaustive()
    }
}
