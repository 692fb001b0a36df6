use tower::Layer;

use super::{Incoming, Trace, policy::Policy};
use crate::metrics::Side;

/// Opens a span for each call, or for each attempt. See the [module](super).
#[derive(Debug, Clone)]
pub struct TraceLayer {
    side: Side,
    policy: Policy,
}

impl Default for TraceLayer {
    fn default() -> Self {
        Self { side: Side::Server, policy: Policy::default() }
    }
}

impl TraceLayer {
    /// A span for each call, in a trace of its own, with a link to the caller's.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the trace counts for that a caller says its call is part of. Default: [`Incoming::Link`].
    #[must_use]
    pub const fn incoming(mut self, incoming: Incoming) -> Self {
        self.policy.incoming = incoming;
        self
    }

    /// Which members of a caller's baggage go on to the next hop, by their names. Default: none.
    #[must_use]
    pub fn baggage<N: Into<Box<str>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.policy.baggage = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// For a stack that stands at whoever makes the calls: their spans are of kind *internal*, since only attempts are
    /// sent. rmcp's client adapter sees to it. Default: the stack stands at the server.
    #[must_use]
    pub const fn at_client(mut self) -> Self {
        self.policy.at_client = true;
        self
    }

    /// The layer's other half: a span for each attempt, within that of the call. It stands just outside of
    /// [`attempt`](crate::attempt).
    #[must_use]
    pub const fn of_attempts(mut self) -> Self {
        self.side = Side::Client;
        self
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Trace::new(inner, self.side, self.policy.clone())
    }
}
