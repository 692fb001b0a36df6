//! The stack that several connections to one server share.

use std::{fmt, sync::Arc, time::Duration};

use ::rmcp::{
    ErrorData, RoleClient,
    model::{ClientRequest, GetMeta, RequestId, RequestMetaObject, ServerResult},
    transport::{IntoTransport, Transport},
};
use tower::Layer;

use super::{
    Client,
    call::{Call, Link, Outlet, Ways},
    changes::Changes,
    passing::{Elsewhere, Passed, Passer},
    transport::LayeredTransport,
    transport_error::{Plain, ReadError, leaf, read},
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
    quota::QuotaError,
    stack::{Stack, StackService},
};

/// How long a slot is kept for a request that was taken back, unless told otherwise.
const LEASE: Duration = Duration::from_secs(5);
/// How many `subscriptions/listen` streams are open at once unless told otherwise.
const SUBSCRIPTIONS: usize = 1024;

/// Puts a stack in front of connections to one server; all of them share its state. See the [module](super).
#[derive(Clone)]
pub struct ClientLayer {
    shared: Arc<Shared>,
}

#[derive(Clone)]
pub(super) struct Shared {
    catalogue: Arc<Catalogue>,
    caller: Caller,
    ways: Arc<Ways>,
    subscriptions: Arc<Subscriptions>,
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

impl ClientLayer {
    /// Sends calls to the server that you call `upstream` through `stack`. What its tools say about themselves is not trusted.
    pub fn new(upstream: impl Into<Arc<str>>, stack: &Stack) -> Self {
        let catalogue = Arc::new(Catalogue::new(upstream));
        // Nothing costs anything yet; what will is held to the stack's quotas.
        let _fits = stack.check_for(&catalogue);
        Self::of(catalogue, stack)
    }

    /// The same with a catalogue that the operator has prepared: with a word on some tools, or with
    /// [trust](Catalogue::trust_annotations) in what they say.
    ///
    /// # Errors
    ///
    /// A tool that costs more than the burst of one of the stack's quotas, with both values: none of its calls would ever pass.
    pub fn with_catalogue(catalogue: Arc<Catalogue>, stack: &Stack) -> Result<Self, QuotaError> {
        stack.check_for(&catalogue)?;
        Ok(Self::of(catalogue, stack))
    }

    fn of(catalogue: Arc<Catalogue>, stack: &Stack) -> Self {
        let changes = Arc::new(Changes::new(stack, &catalogue));
        let ways = Arc::new(Ways { errors: Arc::new(Plain), lease: LEASE, changes });
        let listen = catalogue.resolve(&Method::SubscriptionsListen, None, None);
        Self {
            shared: Arc::new(Shared {
                catalogue,
                caller: Caller::default(),
                ways,
                subscriptions: Arc::new(Subscriptions::new(listen, SUBSCRIPTIONS)),
                service: stack.service(Outlet),
                crowded: stack.refusing(Rejected::new("connection", Reason::QueueFull)),
                recorded: stack.recorded(Elsewhere),
            }),
        }
    }

    /// The names that it knows.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.shared.catalogue
    }

    /// On whose behalf calls are made. Default: one tenant.
    #[must_use]
    pub fn caller(mut self, caller: Caller) -> Self {
        Arc::make_mut(&mut self.shared).caller = caller;
        self
    }

    /// Reads the transport's own errors. Default: only what any transport may have is known.
    #[must_use]
    pub fn errors(mut self, errors: impl ReadError + 'static) -> Self {
        Arc::make_mut(&mut Arc::make_mut(&mut self.shared).ways).errors = Arc::new(errors);
        self
    }

    /// How long a slot is kept for a request that was taken back and has no answer: the server may work on. Default: 5 s; zero
    /// keeps none.
    ///
    /// A server that heeds a cancellation does not answer either (specification, Cancellation), so each call that is taken back
    /// holds a slot for the whole lease, whatever the server does: callers who take back `r` calls a second of one tool hold
    /// `r` times the lease of its slots. Where the server is known to ignore cancellations, a lease as long as its calls is
    /// the better one; where it is known to heed them, zero is.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        Arc::make_mut(&mut Arc::make_mut(&mut self.shared).ways).lease = lease;
        self
    }

    /// Opens at most `cap` `subscriptions/listen` streams at once, over the transports that the stack is put around. Default: 1,024.
    #[must_use]
    pub fn subscriptions(mut self, cap: usize) -> Self {
        let shared = Arc::make_mut(&mut self.shared);
        shared.subscriptions = Arc::new(shared.subscriptions.with_cap(cap));
        self
    }

    /// Puts the stack around a transport: rmcp and all code above it go through it unchanged. See the [module](super).
    pub fn transport<T, E, A>(&self, transport: T) -> LayeredTransport<impl Transport<RoleClient, Error = E> + 'static>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        LayeredTransport::new(transport.into_transport(), self.shared.clone())
    }
}

/// Puts the stack over rmcp's peer.
impl Layer<::rmcp::Peer<RoleClient>> for ClientLayer {
    type Service = Client;

    fn layer(&self, peer: ::rmcp::Peer<RoleClient>) -> Client {
        Client::of(self.shared.clone(), peer)
    }
}

impl fmt::Debug for ClientLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLayer").field("catalogue", &self.shared.catalogue).finish_non_exhaustive()
    }
}

impl Shared {
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
