//! One request of ours as the stack sees it, and the bottom of the stack.

use std::{
    borrow::Cow,
    error::Error,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use ::rmcp::{
    RoleClient,
    model::{ClientRequest, GetMeta, RequestId, RequestMetaObject, ServerResult},
};
use tower::Service;

use super::{
    changes::Changes,
    line::Line,
    peer,
    transport_error::{Meaning, ReadError, leaf, read},
};
use crate::{
    adapters::rmcp::model::{declared, meta_within_mut, question},
    call::{CallParams, Digest, Head, Meta, Request, Response, Revision, Session, Verdict},
    error::BoxError,
};

/// The parameters of a call: rmcp's own request, and the connection that it goes out on.
///
/// Shared, so that a copy for a further attempt is cheap.
#[derive(Clone)]
pub(super) struct Call(Arc<Parts>);

struct Parts {
    request: ClientRequest,
    link: Link,
    ways: Arc<Ways>,
    denied: Mutex<Option<BoxError>>,
    /// Worked out once, however many layers ask.
    arguments: OnceLock<Option<Digest>>,
}

/// The connection that a request goes out on.
#[derive(Clone)]
pub(super) enum Link {
    /// As a request of rmcp's own.
    Peer(::rmcp::Peer<RoleClient>, Session),
    /// Past rmcp, over the transport that we wrap; rmcp knows the call by this id.
    Line(Arc<Line>, RequestId),
}

impl Link {
    /// The revision that is spoken on it.
    fn revision(&self) -> Option<Revision> {
        match self {
            Self::Peer(peer, _) => Revision::from_wire(peer.peer_info()?.protocol_version.as_str()),
            Self::Line(line, _) => line.revision(),
        }
    }

    /// Where the revision has sessions, a connection is one.
    fn session(&self) -> Session {
        match self {
            Self::Peer(_, session) => *session,
            Self::Line(line, _) => line.session,
        }
    }
}

/// How requests go out, whatever the connection.
#[derive(Clone)]
pub(super) struct Ways {
    pub(super) errors: Arc<dyn ReadError>,
    pub(super) lease: Duration,
    pub(super) changes: Arc<Changes>,
}

impl Call {
    pub(super) fn new(request: ClientRequest, link: Link, ways: Arc<Ways>) -> Self {
        Self(Arc::new(Parts { request, link, ways, denied: Mutex::new(None), arguments: OnceLock::new() }))
    }

    pub(super) fn request(&self) -> &ClientRequest {
        &self.0.request
    }

    /// The revision that the request is made in: its own word, or that of the handshake.
    pub(super) fn revision(&self) -> Option<Revision> {
        let said = self.0.request.get_meta().protocol_version();
        said.map_or_else(|| self.0.link.revision(), |version| Revision::from_wire(version.as_str()))
    }

    pub(super) fn session(&self) -> Session {
        self.0.link.session()
    }

    /// How long a slot is kept for a request that was taken back.
    pub(super) fn lease(&self) -> Duration {
        self.0.ways.lease
    }

    /// Who is to hear what the server says has changed.
    pub(super) fn changes(&self) -> &Arc<Changes> {
        &self.0.ways.changes
    }

    /// Remembers the error by which the server refused this caller: it carries a challenge that no wording of ours does.
    fn deny(&self, error: BoxError) {
        *self.0.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// That error, of the last attempt that ended so.
    pub(super) fn denied(&self) -> Option<BoxError> {
        self.0.denied.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The request for one attempt: the caller's, with what the next hop is to be told of the attempt.
    pub(super) fn onward(&self, head: &Head) -> ClientRequest {
        let mut request = self.0.request.clone();
        let said = Meta::onward(head);
        // What is not to go on may stand in either place.
        if let Some(within) = meta_within_mut(&mut request) {
            said.iter().for_each(|(key, _)| drop(within.remove(key)));
        }
        let RequestMetaObject(meta) = request.get_meta_mut();
        said.apply(&mut meta.0);
        request
    }

    /// The leaf error for a transport's own, which may stand within `error`.
    pub(super) fn lost<E>(&self, error: E, own: impl FnOnce(&E) -> &(dyn Error + 'static)) -> BoxError
    where
        E: Into<BoxError>,
    {
        let meaning = read(&*self.0.ways.errors, own(&error));
        let error = error.into();
        if let Some(Meaning::Status(status)) = meaning
            && Verdict::of_status(status) == Verdict::Denied
        {
            self.deny(error);
            return status.into();
        }
        leaf(meaning, error)
    }
}

impl CallParams for Call {
    fn arguments(&self) -> Option<Digest> {
        *self.0.arguments.get_or_init(|| self.0.request.arguments())
    }

    fn question(&self) -> Option<Digest> {
        Some(question(self.arguments()?, declared(&self.0.request)))
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        self.0.request.name()
    }

    fn continuation(&self) -> Option<Digest> {
        self.0.request.continuation()
    }

    fn arguments_text(&self) -> Option<Cow<'_, str>> {
        self.0.request.arguments_text()
    }

    fn request_id(&self) -> Option<Cow<'_, str>> {
        match &self.0.link {
            Link::Line(_, id) => Some(id.to_string().into()),
            Link::Peer(..) => None,
        }
    }
}

/// The bottom of the stack: sends each attempt out on the connection that came with it.
#[derive(Clone)]
pub(super) struct Outlet;

impl Service<Request<Call>> for Outlet {
    type Response = Response<ServerResult>;
    type Error = BoxError;
    // Boxed: rmcp's own futures have no names.
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Request<Call>) -> Self::Future {
        match call.params.0.link.clone() {
            Link::Peer(peer, _) => Box::pin(peer::send(peer, call)),
            Link::Line(line, id) => Box::pin(line.send(id, call)),
        }
    }
}
