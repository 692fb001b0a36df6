//! A client's transport whose traffic is watched.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ::rmcp::{
    RoleClient,
    model::{GetExtensions, GetMeta, JsonRpcMessage, ProgressToken, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::{IntoTransport, Transport},
};

use super::{
    changes::Changes,
    wire::{Attempt, Wire},
};
use crate::call::{HeldSlot, Peer};

/// Watches a client's transport, so that [`Client`](super::Client)s over it see what rmcp keeps to itself: progress, which keeps
/// a call alive and commits it, and late answers, which give back the slot that a cancelled call has kept.
///
/// Every message passes as it is, in order. The watch costs a lock and a look at each message.
pub fn watched<T, E, A>(transport: T) -> Watched<impl Transport<RoleClient, Error = E> + 'static>
where
    T: IntoTransport<RoleClient, E, A>,
    E: std::error::Error + Send + Sync + 'static,
{
    Watched { inner: transport.into_transport(), wire: Arc::default() }
}

/// See [`watched`].
pub struct Watched<T> {
    inner: T,
    wire: Arc<Wire>,
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("wire", &self.wire).finish_non_exhaustive()
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Watched<T> {
    type Error = T::Error;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn send(&mut self, message: TxJsonRpcMessage<RoleClient>) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        if let JsonRpcMessage::Request(sent) = &message
            && let Some(ear) = sent.request.extensions().get::<Ear>()
        {
            // Before the server can say anything of it.
            ear.listen(&self.wire, &sent.id, sent.request.get_meta().get_progress_token());
        }
        self.wire.said(&message);
        self.inner.send(message)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        let received = tokio::select! {
            biased;
            received = self.inner.receive() => received,
            never = self.wire.leases() => match never {},
        };
        match &received {
            Some(JsonRpcMessage::Response(response)) => drop(self.wire.take(&response.id)),
            Some(JsonRpcMessage::Error(error)) => drop(error.id.as_ref().and_then(|id| self.wire.take(id))),
            Some(other) => self.wire.heard(other),
            None => self.wire.close(),
        }
        received
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.wire.close();
        self.inner.close().await
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        self.wire.close();
    }
}

/// What an attempt hears of the wire, where the transport that its request goes out on is watched. It travels in the request's
/// extensions, which stay in this process.
#[derive(Debug, Clone)]
pub(super) struct Ear(Arc<Mutex<Hearing>>);

#[derive(Debug)]
enum Hearing {
    /// The request is on its way to the transport.
    NotYet(Option<Peer>, Arc<Changes>),
    On(Arc<Wire>, RequestId),
    /// The attempt is over. So it is not entered if its request comes by only now.
    Over,
}

impl Ear {
    pub(super) fn new(peer: Option<Peer>, changes: Arc<Changes>) -> Self {
        Self(Arc::new(Mutex::new(Hearing::NotYet(peer, changes))))
    }

    fn lock(&self) -> MutexGuard<'_, Hearing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, wire: &Arc<Wire>, id: &RequestId, token: Option<ProgressToken>) {
        let mut hearing = self.lock();
        // Of a watch around a watch, the outer one hears enough.
        if let Hearing::NotYet(peer, changes) = &mut *hearing {
            wire.tell(changes);
            wire.enter(id.clone(), Attempt { peer: peer.take(), token, ..Attempt::default() });
            *hearing = Hearing::On(wire.clone(), id.clone());
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn abandon(&self, slot: Option<HeldSlot>, lease: Duration) {
        if let Hearing::On(wire, id) = std::mem::replace(&mut *self.lock(), Hearing::Over) {
            wire.abandon(&id, slot, lease);
        }
    }

    /// The attempt has its outcome.
    pub(super) fn close(&self) {
        if let Hearing::On(wire, id) = std::mem::replace(&mut *self.lock(), Hearing::Over) {
            drop(wire.take(&id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalogue::Catalogue, stack::Stack};

    /// A request may come by when its attempt is over already: it waited in rmcp's queue.
    #[test]
    fn an_attempt_that_is_over_is_not_entered() {
        let (wire, id, token) = (Arc::new(Wire::default()), RequestId::Number(1), || Some(ProgressToken(RequestId::Number(2))));
        let changes = Arc::new(Changes::new(&Stack::new(), &Arc::new(Catalogue::new("up"))));
        let ear = Ear::new(None, changes.clone());
        ear.abandon(None, Duration::ZERO);
        ear.listen(&wire, &id, token());
        assert!(wire.take(&id).is_none());
        let ear = Ear::new(None, changes);
        ear.listen(&wire, &id, token());
        ear.close();
        assert!(wire.take(&id).is_none());
    }
}
