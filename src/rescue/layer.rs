use tower::Layer;

use super::Rescue;

/// How a refused or lost `tools/call` is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Deliver {
    /// As a tool result with `isError: true`, which the model reads.
    #[default]
    ToolResult,
    /// As a JSON-RPC error, for clients that handle those themselves.
    JsonRpcError,
}

/// Turns errors into answers. See the [module](super).
#[derive(Debug, Clone, Copy, Default)]
pub struct RescueLayer {
    deliver: Deliver,
}

impl RescueLayer {
    /// Tells refused tool calls in this way.
    pub const fn new(deliver: Deliver) -> Self {
        Self { deliver }
    }
}

impl<S> Layer<S> for RescueLayer {
    type Service = Rescue<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Rescue::new(inner, self.deliver)
    }
}
