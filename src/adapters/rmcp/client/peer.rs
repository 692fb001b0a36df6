//! An attempt as a request of rmcp's own, over its `Peer`.

use std::time::Duration;

use ::rmcp::{
    RoleClient,
    model::{CancelledNotification, CancelledNotificationParam, GetExtensions, RequestId, ServerResult},
    service::{PeerRequestOptions, ServiceError},
};
use futures_util::FutureExt;
use tokio::{runtime::Handle, time::timeout};

use super::{call::Call, watched::Ear};
use crate::{
    adapters::rmcp::model::error_object,
    call::{HeldSlot, Method, Request, Response},
    error::{BoxError, Transport},
};

type Peer = ::rmcp::Peer<RoleClient>;

/// What the server is told of a request that is taken back.
pub(super) const TAKEN_BACK: &str = "nobody waits for the answer any more";

pub(super) async fn send(peer: Peer, call: Request<Call>) -> Result<Response<ServerResult>, BoxError> {
    let Request { head, params } = call;
    let ear = Ear::new(head.peer.clone(), params.changes().clone());
    let mut request = params.onward(&head);
    request.extensions_mut().insert(ear.clone());
    // Dropped while it waits for room in rmcp's queue, it was never sent; once it is in the queue, this returns at once.
    let sent = peer.send_request_with_option(request, PeerRequestOptions::no_options()).await;
    let handle = sent.map_err(Transport::not_sent)?;
    let mut waiting = Waiting {
        // The specification lets nobody take the handshake back.
        cancel: (*head.method() != Method::Initialize).then(|| (peer, handle.id.clone())),
        ear,
        slot: head.held_slot(),
        lease: params.lease(),
    };
    let outcome = handle.rx.await;
    waiting.cancel = None;
    match outcome {
        Ok(Ok(result)) => Ok(Response::new(result)),
        Ok(Err(ServiceError::McpError(error))) => Ok(Response::from_error(error_object(error))),
        Ok(Err(ServiceError::TransportSend(error))) => Err(params.lost(error, |error| &*error.error)),
        Ok(Err(error)) => Err(Transport::unknown(error).into()),
        Err(gone) => Err(Transport::unknown(gone).into()),
    }
}

/// An attempt that waits for its answer. Dropped before there is one, it takes its request back.
struct Waiting {
    cancel: Option<(Peer, RequestId)>,
    ear: Ear,
    slot: Option<HeldSlot>,
    lease: Duration,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        match self.cancel.take() {
            Some((peer, id)) => {
                take_back(peer, id);
                self.ear.abandon(self.slot.take(), self.lease);
            }
            None => self.ear.close(),
        }
    }
}

/// Tells the server that nobody waits for this request, and makes rmcp forget it.
fn take_back(peer: Peer, id: RequestId) {
    /// How long rmcp may take to get the notification out.
    const PATIENCE: Duration = Duration::from_secs(10);
    let param = CancelledNotificationParam::new(Some(id), Some(TAKEN_BACK.to_owned()));
    let notification = CancelledNotification::new(param).into();
    let told = async move { peer.send_notification(notification).await };
    // A task of its own, as rmcp's queue may be full. There is one for an attempt under way at most, and it ends soon.
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(timeout(PATIENCE, told))),
        Err(_) => drop(told.now_or_never()),
    }
}
