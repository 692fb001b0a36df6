//! Where a span stands in a trace. Only tracing-opentelemetry gives spans ids that others know; without it they have none, and
//! nothing is done here.

use tracing::Span;

use super::Incoming;
use crate::call::TraceContext;

#[cfg(not(feature = "otel"))]
pub(super) const fn adopt(_span: &Span, _incoming: Incoming, _said: Option<&TraceContext>) {}

#[cfg(not(feature = "otel"))]
pub(super) const fn of(_span: &Span) -> Option<TraceContext> {
    None
}

#[cfg(feature = "otel")]
pub(super) use otel::{adopt, of};

#[cfg(feature = "otel")]
mod otel {
    use opentelemetry::{
        Context,
        trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
    };
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    use super::{Incoming, Span, TraceContext};

    /// Gives a call's span its place: among what its caller says, and what it is made in here. It must not have begun.
    ///
    /// What the span is made in here is a caller's word too where nobody else says anything: an HTTP server's span stands in the
    /// trace that its headers name, and the span of a session is open for as long as the session.
    pub(in super::super) fn adopt(span: &Span, incoming: Incoming, said: Option<&TraceContext>) {
        let said = said.map(remote);
        let parent = match (incoming, &said) {
            // It has its place already.
            (Incoming::Trust, None) => return,
            (Incoming::Trust, Some(said)) => Context::new().with_remote_span_context(said.clone()),
            (Incoming::Link | Incoming::Ignore, _) => Context::new(),
        };
        // Where nobody gives ids, or the span's place is known already, there is nothing to be set.
        let Ok(()) = span.set_parent(parent) else { return };
        let here = || Span::current().context().span().span_context().clone();
        // The conventions want those that are not the parent to be linked.
        match incoming {
            Incoming::Trust => span.add_link(here()),
            Incoming::Link => said.into_iter().chain([here()]).for_each(|other| span.add_link(other)),
            Incoming::Ignore => {}
        }
    }

    /// The span's own ids. From here on it has its place.
    pub(in super::super) fn of(span: &Span) -> Option<TraceContext> {
        let context = span.context();
        let span = context.span();
        let own = span.span_context();
        let flags = own.trace_flags().to_u8();
        let ids = TraceContext::new(
            u128::from_be_bytes(own.trace_id().to_bytes()),
            u64::from_be_bytes(own.span_id().to_bytes()),
            flags,
        );
        let state = own.trace_state().header();
        Some(if state.is_empty() { ids? } else { ids?.with_state(&state) })
    }

    fn remote(said: &TraceContext) -> SpanContext {
        let state = said.state().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
        let (trace, span) = (TraceId::from(said.trace_id()), SpanId::from(said.span_id()));
        SpanContext::new(trace, span, TraceFlags::new(said.flags()), true, state)
    }
}
