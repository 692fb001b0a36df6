//! A collector that keeps what it is sent.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;

#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    services: Vec<String>,
    refuses: bool,
}

impl Collector {
    /// Listens on loopback; says where to send spans to.
    pub async fn listen(&self) -> String {
        let router = Router::new().route("/v1/traces", post(take)).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        endpoint
    }

    /// Takes no more.
    pub fn refuse(&self) {
        self.0.lock().unwrap().refuses = true;
    }

    /// The spans that have come since, by when they ended.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = std::mem::take(&mut self.0.lock().unwrap().spans);
        spans.sort_by_key(|span| span.end_time_unix_nano);
        spans
    }

    /// What the senders called themselves.
    pub fn services(&self) -> Vec<String> {
        let mut services = self.0.lock().unwrap().services.clone();
        services.dedup();
        services
    }
}

async fn take(State(collector): State<Collector>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let mut received = collector.0.lock().unwrap();
    if received.refuses {
        return StatusCode::BAD_REQUEST;
    }
    for of_one in request.resource_spans {
        let resource = of_one.resource.unwrap_or_default();
        received.services.extend(text(&resource.attributes, "service.name"));
        received.spans.extend(of_one.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    StatusCode::OK
}

fn text(members: &[KeyValue], key: &str) -> Option<String> {
    let value = members.iter().find(|member| member.key == key)?.value.as_ref()?.value.as_ref()?;
    Some(match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

/// What a span says there; empty: nothing.
pub fn says(span: &Span, member: &str) -> String {
    text(&span.attributes, member).unwrap_or_default()
}

/// What the next hop is told by whoever is in this span.
pub fn traceparent(span: &Span) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id))
}

pub fn is(span: &Span, kind: SpanKind, upstream: &str) -> bool {
    span.kind() == kind && says(span, "buttress.upstream") == upstream
}
