//! What the connections of one layer share, and a call's way through the stack.

use std::{sync::Arc, time::Duration};

use ::rmcp::{
    ErrorData,
    model::{ClientRequest, GetMeta, RequestId, RequestMetaObject, ServerResult},
};

use super::{
    call::{Call, Link, Outlet, Ways},
    changes::Changes,
    passing::{Elsewhere, Passed, Passer},
    transport_error::{Plain, leaf, read},
};
use crate::{
    adapters::rmcp::{
        edge::{edge_panicked, out_of_order},
        listen::{Open, Subscriptions},
        model::{addressed, error_data, learn, meta_within},
    },
    call::{CacheScope, CallResult, Caller, Meta, Method, Peer, Request, Verdict},
    catalogue::{Catalogue, Scope},
    error::{BoxError, Reason, Rejected},
    stack::{Stack, StackService},
};

/// How long a slot is kept for a request that was taken back, unless told otherwise.
const LEASE: Duration = Duration::from_secs(5);
/// How many `subscriptions/listen` streams are open at once unless told otherwise.
const SUBSCRIPTIONS: usize = 1024;

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) caller: Caller,
    pub(super) ways: Arc<Ways>,
    pub(super) subscriptions: Arc<Subscriptions>,
    service: StackService<Call, ServerResult>,
    /// Where a connection has no room for a call.
    crowded: StackService<Call, ServerResult>,
    recorded: StackService<Passed, ServerResult>,
}

/// What became of a call.
pub(super) struct Answered {
    pub(super) result: Result<ServerResult, ErrorData>,
    /// The transport's own error, where the server refused this caller.
    pub(super) denied: Option<BoxError>,
}

impl Answered {
    /// What is said of a call that panicked outside of the stack's own guard.
    pub(super) fn panicked() -> Self {
        edge_panicked();
        Self { result: Err(ErrorData::internal_error("the client failed on this call", None)), denied: None }
    }
}

impl Shared {
    pub(super) fn new(catalogue: Arc<Catalogue>, stack: &Stack) -> Self {
        let stack = &stack.at_client();
        stack.prepare_for(&catalogue);
        let changes = Arc::new(Changes::new(stack, &catalogue));
        let listen = catalogue.resolve(&Method::SubscriptionsListen, None, None);
        Self {
            catalogue,
            caller: Caller::default(),
            ways: Arc::new(Ways { errors: Arc::new(Plain), lease: LEASE, changes }),
            subscriptions: Arc::new(Subscriptions::new(listen, SUBSCRIPTIONS)),
            service: stack.service(Outlet),
            crowded: stack.refusing(Rejected::new("connection", Reason::QueueFull)),
            recorded: stack.recorded(Elsewhere),
        }
    }

    pub(super) fn changes(&self) -> &Arc<Changes> {
        &self.ways.changes
    }

    pub(super) fn call(&self, request: ClientRequest, link: Link) -> Call {
        Call::new(request, link, self.ways.clone())
    }

    /// Begins the record of a request that passes by the stack.
    pub(super) fn record(&self, id: &RequestId, request: &ClientRequest) -> Passer {
        let (method, name) = addressed(request);
        let (passed, reply) = Passed::new(id.clone());
        let target = self.catalogue.resolve(&method, name, self.caller.audience());
        Passer::Call(reply, self.recorded.answer(Request::new(target, passed)))
    }

    /// Opens a subscription, if there is room for it.
    pub(super) fn open(&self, id: &RequestId) -> Result<Open, ErrorData> {
        self.subscriptions.open(id)
    }

    /// What a transport's error says, where it is another's to have.
    pub(super) fn unsent(&self, error: &(dyn std::error::Error + 'static)) -> BoxError {
        leaf(read(&*self.ways.errors, error), error.to_string().into())
    }

    /// Sends one call through the stack, on behalf of `caller` or of who is named in the layer.
    pub(super) async fn answer(self: Arc<Self>, call: Call, caller: Option<Caller>, peer: Peer) -> Answered {
        self.answer_through(&self.service, call, caller, peer).await
    }

    /// The same for a call that its connection has no room for: it is refused at once.
    pub(super) async fn turn_away(self: Arc<Self>, call: Call, peer: Peer) -> Answered {
        self.answer_through(&self.crowded, call, None, peer).await
    }

    async fn answer_through(
        &self,
        service: &StackService<Call, ServerResult>,
        call: Call,
        caller: Option<Caller>,
        peer: Peer,
    ) -> Answered {
        let caller = caller.unwrap_or_else(|| self.caller.clone());
        let audience = caller.audience();
        let (method, name) = addressed(call.request());
        let target = self.catalogue.resolve(&method, name, audience);
        let mut request = Request::new(target, call.clone());
        request.head.caller = caller;
        (request.head.revision, request.head.session) = (call.revision(), Some(call.session()));
        request.head.meta = said(call.request());
        request.head.peer = Some(peer);
        let response = match service.answer(request).await {
            Ok(response) => response,
            Err(error) => {
                out_of_order(&*error);
                let error = ErrorData::internal_error("the client cannot make calls", None);
                return Answered { result: Err(error), denied: None };
            }
        };
        if let Ok(result) = &response.result {
            let scope = match result.freshness().scope {
                CacheScope::Public => Scope::Public,
                CacheScope::Private => Scope::Private(audience),
            };
            learn(&self.catalogue, scope, result);
        }
        let denied = if response.verdict == Some(Verdict::Denied) { call.denied() } else { None };
        let facts = response.facts;
        Answered { result: response.result.map_err(|error| error_data(error, facts)), denied }
    }
}

/// What a request says about itself: in its parameters, or in its extensions, where rmcp looks first.
fn said(request: &ClientRequest) -> Option<Arc<Meta>> {
    let RequestMetaObject(outside) = request.get_meta();
    let meta = match meta_within(request) {
        None => Meta::read(&outside.0),
        Some(within) => {
            let mut said = within.clone();
            said.extend(outside.0.clone());
            Meta::read(&said)
        }
    };
    (!meta.is_empty()).then(|| Arc::new(meta))
}
