//! One rmcp call as the stack sees it, and the handler at the stack's bottom.

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use ::rmcp::{
    RoleServer, ServerHandler,
    model::{ClientRequest, ProgressNotificationParam, ProgressToken, ServerResult},
    service::RequestContext,
};
use tower::Service;

use super::model::{error_object, question};
use crate::{
    call::{CAPABILITIES_KEY, CallParams, Digest, Notify, Onward, Progress, Request, Response},
    error::BoxError,
};

/// The parameters of a call: rmcp's own structs, as they came.
///
/// Shared, so that a copy for a further attempt is cheap: the structs themselves are cloned at the bottom, and only while a
/// copy is kept.
pub(super) struct Call<H>(Arc<Parts<H>>);

struct Parts<H> {
    handler: Arc<H>,
    request: ClientRequest,
    context: RequestContext<RoleServer>,
    /// Worked out once, however many layers ask.
    arguments: OnceLock<Option<Digest>>,
}

impl<H> Call<H> {
    pub(super) fn new(handler: Arc<H>, request: ClientRequest, context: RequestContext<RoleServer>) -> Self {
        Self(Arc::new(Parts { handler, request, context, arguments: OnceLock::new() }))
    }
}

impl<H> Clone for Call<H> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<H> CallParams for Call<H> {
    fn arguments(&self) -> Option<Digest> {
        *self.0.arguments.get_or_init(|| self.0.request.arguments())
    }

    fn question(&self) -> Option<Digest> {
        // rmcp has taken it out of the request.
        Some(question(self.arguments()?, self.0.context.meta.0.get(CAPABILITIES_KEY)))
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
        Some(self.0.context.id.to_string().into())
    }
}

/// The bottom of the stack: hands each call to the handler that came with it.
pub(super) struct Handler;

impl Clone for Handler {
    fn clone(&self) -> Self {
        Self
    }
}

impl<H: ServerHandler> Service<Request<Call<H>>> for Handler {
    type Response = Response<ServerResult>;
    type Error = BoxError;
    // Boxed: the handler's own future borrows the handler, and has no name.
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Request<Call<H>>) -> Self::Future {
        let (head, parts) = (call.head, call.params.0);
        Box::pin(async move {
            let (handler, request, mut context) = match Arc::try_unwrap(parts) {
                Ok(Parts { handler, request, context, .. }) => (handler, request, context),
                Err(shared) => (shared.handler.clone(), shared.request.clone(), shared.context.clone()),
            };
            // What the handler spawned can see that its attempt ended without an answer; an answer cancels nothing.
            // A call that is made for several does not end with the request that happened to bring it.
            context.ct = if head.joint.is_some() { Default::default() } else { context.ct.child_token() };
            let abandoned = context.ct.clone().drop_guard();
            if let Some(peer) = head.peer {
                context.extensions.insert(peer);
            }
            // A handler that calls another server takes the trace from here.
            if let Some(traced) = &head.traced {
                Onward::of_trace(traced).apply(&mut context.meta.0);
            }
            let result = ::rmcp::Service::<RoleServer>::handle_request(&*handler, request, context).await;
            abandoned.disarm();
            Ok(Response::from_result(result.map_err(error_object)))
        })
    }
}

/// Sends progress through rmcp's own peer, under the token that the caller chose.
pub(super) struct Notifier {
    pub(super) peer: ::rmcp::Peer<RoleServer>,
    pub(super) token: ProgressToken,
}

impl Notify for Notifier {
    fn progress(&self, progress: Progress) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + '_>> {
        let mut param = ProgressNotificationParam::new(self.token.clone(), progress.progress);
        param.total = progress.total;
        param.message = progress.message;
        Box::pin(async move { self.peer.notify_progress(param).await.map_err(Into::into) })
    }
}
