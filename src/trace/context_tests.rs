//! Where a call's span stands, by what its caller says and by what it is made in.

use std::sync::{Arc, Mutex};

use opentelemetry::trace::{SpanId, TraceId, TracerProvider};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use tower::{Layer, ServiceExt, service_fn};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;

use super::{Incoming, TraceLayer};
use crate::{
    call::{Meta, Request, Response, TraceContext, Traced},
    error::BoxError,
    testing::tool,
};

#[derive(Debug, Clone, Default)]
struct Exported(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Exported {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Exported {
    fn listen(&self) -> DefaultGuard {
        let provider = SdkTracerProvider::builder().with_simple_exporter(self.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
    }

    fn named(&self, name: &str) -> Option<SpanData> {
        self.0.lock().unwrap().iter().find(|span| span.name == name).cloned()
    }
}

/// A call within a span of ours, by a caller who says this; what is inside of both halves is told that. The spans that were
/// recorded: what it was made in, the call.
async fn call(incoming: Incoming, said: Option<TraceContext>) -> (SpanData, Option<SpanData>, [Arc<Traced>; 2]) {
    let exported = Exported::default();
    let _listening = exported.listen();
    let told: Arc<Mutex<Vec<Arc<Traced>>>> = Arc::default();
    let tell = |call: &Request<()>| told.lock().unwrap().extend(call.head.traced.clone());
    let layer = TraceLayer::new().incoming(incoming);
    let handler = service_fn(|call: Request<()>| {
        tell(&call);
        std::future::ready(Ok::<_, BoxError>(Response::new(())))
    });
    let attempts = layer.clone().of_attempts().layer(handler);
    let edge = layer.layer(service_fn(|call: Request<()>| {
        tell(&call);
        attempts.clone().oneshot(call)
    }));
    let mut request = Request::new(tool("t"), ());
    request.head.meta = Some(Arc::new(Meta { trace: said, ..Meta::default() }));
    {
        let _within = tracing::info_span!("around").entered();
        assert!(edge.oneshot(request).await.is_ok());
    }
    let told = told.lock().unwrap().clone();
    let calls = exported.0.lock().unwrap().iter().find(|span| span.span_kind == opentelemetry::trace::SpanKind::Server).cloned();
    (exported.named("around").unwrap(), calls, told.try_into().unwrap())
}

const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
const SPAN: u64 = 0xb7ad_6b71_6920_3331;

fn said(flags: u8) -> Option<TraceContext> {
    Some(TraceContext::new(TRACE, SPAN, flags)?.with_state("vendor=opaque"))
}

fn links(span: &SpanData) -> Vec<SpanId> {
    span.links.iter().map(|link| link.span_context.span_id()).collect()
}

#[tokio::test]
async fn who_is_trusted_is_the_parent_and_else_what_it_is_made_in() {
    let (around, ours, _) = call(Incoming::Trust, said(1)).await;
    let ours = ours.unwrap();
    assert_eq!((ours.parent_span_id, links(&ours)), (SpanId::from(SPAN), vec![around.span_context.span_id()]));
    assert_eq!((ours.span_context.trace_id(), ours.parent_span_is_remote), (TraceId::from(TRACE), true));
    assert_eq!(ours.span_context.trace_state().header(), "vendor=opaque");

    let (around, ours, _) = call(Incoming::Trust, None).await;
    let ours = ours.unwrap();
    assert_eq!((ours.parent_span_id, links(&ours)), (around.span_context.span_id(), vec![]));
}

#[tokio::test]
async fn who_is_not_trusted_is_at_most_a_link_beside_what_the_call_is_made_in() {
    for (incoming, said) in
        [(Incoming::Link, said(1)), (Incoming::Link, None), (Incoming::Ignore, said(1)), (Incoming::Ignore, None)]
    {
        let (around, ours, _) = call(incoming, said.clone()).await;
        let ours = ours.unwrap();
        assert_eq!(ours.parent_span_id, SpanId::INVALID);
        assert!(![TraceId::from(TRACE), around.span_context.trace_id()].contains(&ours.span_context.trace_id()));
        let linked: Vec<SpanId> =
            said.map(|said| said.span_id().into()).into_iter().chain([around.span_context.span_id()]).collect();
        assert_eq!(links(&ours), if incoming == Incoming::Link { linked } else { vec![] });
    }
}

#[tokio::test]
async fn the_next_hop_is_told_of_the_attempt_and_the_record_of_the_call() {
    for incoming in [Incoming::Link, Incoming::Trust] {
        let (_, ours, [edge, attempt]) = call(incoming, said(1)).await;
        let ours = ours.unwrap();
        let told = edge.span.clone().unwrap();
        assert_eq!(SpanId::from(told.span_id()), ours.span_context.span_id());
        let onward = attempt.onward().unwrap();
        assert_eq!(TraceId::from(onward.trace_id()), ours.span_context.trace_id());
        assert_ne!(onward.span_id(), told.span_id());
        assert_eq!(onward.state(), if incoming == Incoming::Trust { Some("vendor=opaque") } else { None });
    }
}

#[tokio::test]
async fn what_a_trusted_caller_does_not_record_is_not_recorded_and_says_so() {
    let (_, ours, [_, attempt]) = call(Incoming::Trust, said(0)).await;
    assert!(ours.is_none());
    let onward = attempt.onward().unwrap();
    assert_eq!((onward.trace_id(), onward.is_sampled()), (TRACE, false));
    let (_, ours, [_, attempt]) = call(Incoming::Link, said(0)).await;
    assert!(ours.is_some() && attempt.onward().unwrap().is_sampled());
}
