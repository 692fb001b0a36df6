//! What a trace layer says of a call.

use super::{BAGGAGE_KEY, Baggage, TRACEPARENT_KEY, TRACESTATE_KEY, TraceContext};

/// What a layer that traces says of a call, to what is inside of it: at the edge of the whole call, within an attempt of that
/// attempt. It stands in the [head](super::Head::traced).
///
/// Where it is there, what the caller says of traces goes no further by itself: the next hop is told what is said here, and where
/// nothing is, nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Traced {
    /// The span of our own that is open here: that of the call, or that of the attempt. The next hop's parent. `None`: nobody
    /// here gives spans their ids.
    pub span: Option<TraceContext>,
    /// What the next hop is told where there is no span of our own: of what the caller said, what may go on.
    pub relayed: Option<TraceContext>,
    /// Of what the caller's baggage says, what may go on.
    pub baggage: Option<Baggage>,
}

impl Traced {
    /// The span that the next hop is told to stand in.
    pub fn onward(&self) -> Option<&TraceContext> {
        self.span.as_ref().or(self.relayed.as_ref())
    }

    /// What is to stand under each key of traces. `None`: nothing is.
    pub(super) fn keys(&self) -> [(&'static str, Option<String>); 3] {
        let onward = self.onward();
        [
            (TRACEPARENT_KEY, onward.map(TraceContext::traceparent)),
            (TRACESTATE_KEY, onward.and_then(TraceContext::state).map(str::to_owned)),
            (BAGGAGE_KEY, self.baggage.as_ref().map(|baggage| baggage.as_str().to_owned())),
        ]
    }
}
