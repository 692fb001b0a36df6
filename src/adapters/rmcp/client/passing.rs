//! What passes by the stack on its way through the transport: what keeps the connection itself alive, which is recorded, and
//! subscriptions, which are counted.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use ::rmcp::model::{RequestId, ServerResult};
use futures_util::FutureExt;
use tokio::sync::oneshot;
use tower::Service;

use super::wire::Outcome;
use crate::{
    adapters::rmcp::{listen::Open, model::error_object},
    call::{CallParams, Request, Response},
    error::{BoxError, Transport},
};

/// How many requests are followed at once. Those beyond pass all the same.
const CAP: usize = 1024;

/// What is under way past the stack, by the ids of rmcp's own.
#[derive(Default)]
pub(super) struct Passing(Mutex<HashMap<RequestId, Passer>>);

/// One request that passes by. Dropped before it is answered, it was given up.
pub(super) enum Passer {
    /// A call that is recorded, and what tells its record how it ended.
    Call(oneshot::Sender<Outcome>, Recorded),
    /// A subscription, and its place.
    Stream { _open: Open },
}

type Recorded = Pin<Box<dyn Future<Output = Result<Response<ServerResult>, BoxError>> + Send>>;

impl Passing {
    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Passer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a request from now on.
    pub(super) fn follow(&self, id: RequestId, passer: Passer) {
        let mut passing = self.lock();
        let before = if passing.len() < CAP { passing.insert(id, passer) } else { Some(passer) };
        drop(passing);
        drop(before);
    }

    /// The request with this id has come to an end, if it is one of these.
    pub(super) fn ended(&self, id: &RequestId, outcome: impl FnOnce() -> Outcome) {
        let passer = self.lock().remove(id);
        if let Some(Passer::Call(reply, recorded)) = passer {
            let _ = reply.send(outcome());
            // It has all that it waits for.
            let _ = recorded.now_or_never();
        }
    }

    /// Nobody waits for this request any more, or for any.
    pub(super) fn forget(&self, id: Option<&RequestId>) {
        let mut passing = self.lock();
        let gone = match id {
            Some(id) => passing.remove(id).into_iter().collect(),
            None => std::mem::take(&mut *passing).into_values().collect::<Vec<_>>(),
        };
        drop(passing);
        drop(gone);
    }
}

impl fmt::Debug for Passing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passing").field("requests", &self.lock().len()).finish()
    }
}

/// A request that is on its way elsewhere: its id, and where its outcome will be, for the one attempt that there is.
#[derive(Clone)]
pub(super) struct Passed {
    id: RequestId,
    outcome: Arc<Mutex<Option<oneshot::Receiver<Outcome>>>>,
}

impl Passed {
    /// This request, and what tells how it ended.
    pub(super) fn new(id: RequestId) -> (Self, oneshot::Sender<Outcome>) {
        let (reply, outcome) = oneshot::channel();
        (Self { id, outcome: Arc::new(Mutex::new(Some(outcome))) }, reply)
    }
}

impl CallParams for Passed {
    fn request_id(&self) -> Option<Cow<'_, str>> {
        Some(self.id.to_string().into())
    }
}

/// The bottom of what only records: waits for the outcome of what has passed.
#[derive(Clone)]
pub(super) struct Elsewhere;

impl Service<Request<Passed>> for Elsewhere {
    type Response = Response<ServerResult>;
    type Error = BoxError;
    type Future = futures_util::future::Map<oneshot::Receiver<Outcome>, fn(Result<Outcome, oneshot::error::RecvError>) -> Answer>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Request<Passed>) -> Self::Future {
        let outcome = call.params.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Asked twice, as no layer above does, it has nothing to wait for.
        outcome.unwrap_or_else(|| oneshot::channel().1).map(answer)
    }
}

type Answer = Result<Response<ServerResult>, BoxError>;

fn answer(outcome: Result<Outcome, oneshot::error::RecvError>) -> Answer {
    match outcome {
        Ok(Ok(Ok(result))) => Ok(Response::new(result)),
        Ok(Ok(Err(error))) => Ok(Response::from_error(error_object(error))),
        Ok(Err(error)) => Err(error),
        Err(gone) => Err(Transport::unknown(gone).into()),
    }
}
