//! The stack that several connections to one server share.

use std::{fmt, sync::Arc, time::Duration};

use ::rmcp::{
    RoleClient,
    transport::{IntoTransport, Transport},
};
use tower::Layer;

use super::{Client, shared::Shared, transport::LayeredTransport, transport_error::ReadError};
use crate::{call::Caller, catalogue::Catalogue, quota::QuotaError, stack::Stack};

/// Puts a stack in front of connections to one server; all of them share its state. See the [module](super).
#[derive(Clone)]
pub struct ClientLayer {
    shared: Arc<Shared>,
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
        Self { shared: Arc::new(Shared::new(catalogue, stack)) }
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

    /// How long a slot is kept, at the most, for a request that was taken back and has no answer: the server may work on. Half of
    /// it is sure and the other half drawn, so that slots which many callers left at once do not all come back at once. Default:
    /// 5 s; zero keeps none.
    ///
    /// A server that heeds a cancellation does not answer either (specification, Cancellation), so each call that is taken back
    /// holds a slot for the whole lease, whatever the server does: callers who take back `r` calls a second of one tool hold
    /// up to `r` times the lease of its slots. Where the server is known to ignore cancellations, a lease as long as its calls is
    /// the better one; where it is known to heed them, zero is.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        Arc::make_mut(&mut Arc::make_mut(&mut self.shared).ways).lease = lease;
        self
    }

    /// Opens at most `cap` `subscriptions/listen` streams at once, over the transports that the stack is put around. Default:
    /// 1,024.
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
