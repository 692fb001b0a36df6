//! Spans from end to end: a client that says what trace it is in, a gateway over HTTP whose handler fails once, the server behind
//! it, and the collector that is sent what the gateway's stacks saw.

#![expect(clippy::unwrap_used, reason = "clippy takes what tests share for no tests")]

mod collector;
#[path = "../rmcp/probe.rs"]
#[expect(dead_code, reason = "what the tests of the server's side share is used in part")]
mod probe;

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex},
};

use axum::Router;
use buttress::{
    BoxError, Stack,
    call::{Method, Request, Response, TargetPolicy},
    catalogue::Catalogue,
    quota::QuotaLayer,
    rmcp::{
        ServerLayer,
        client::{Client, ClientLayer, watched},
    },
    trace::{Incoming, Otlp, TARGET, TraceLayer},
};
use collector::{Collector, is, says, traceparent};
use governor::Quota;
use metrics_util::{
    CompositeKey,
    debugging::{DebugValue, DebuggingRecorder, Snapshotter},
};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use probe::{Probe, TOOL, good};
use rmcp::{
    ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient, ServiceExt,
    model::{CallToolRequestParams, ClientRequest, PingRequest, RequestMetaObject},
    service::RunningService,
    transport::{
        StreamableHttpClientTransport,
        streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager},
    },
};
use tower::{Layer as _, service_fn};
use tracing::{Level, subscriber::DefaultGuard};
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt};

const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What the server behind the gateway is told of traces.
type Told = Arc<Mutex<Vec<RequestMetaObject>>>;

/// Sends what is shown on this thread.
fn send(otlp: &Otlp) -> DefaultGuard {
    let ours = Targets::new().with_target(TARGET, Level::INFO);
    tracing::subscriber::set_default(tracing_subscriber::registry().with(otlp.layer().with_filter(ours)))
}

/// Waits for the collector on a thread of its own, as it listens on this one.
async fn flush(otlp: &Arc<Otlp>) {
    let otlp = otlp.clone();
    tokio::task::spawn_blocking(move || otlp.flush().map_err(|error| error.to_string())).await.unwrap().unwrap();
}

/// The server behind the gateway, and the gateway's client to it: its caller is the gateway itself.
async fn upstream(told: Told) -> (Client, RunningService<RoleClient, ()>) {
    let server = Probe::new(move |_, context| {
        told.lock().unwrap().push(context.meta);
        good_after()
    });
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move { server.serve(far).await.unwrap().waiting().await });
    let connection = ().serve(watched(near)).await.unwrap();
    let stack = Stack::new().trace(TraceLayer::new().incoming(Incoming::Trust));
    let catalogue = Arc::new(Catalogue::new("behind").tool(TOOL, TargetPolicy::default()));
    (ClientLayer::with_catalogue(catalogue, &stack).unwrap().layer(connection.peer().clone()), connection)
}

async fn good_after() -> probe::Answer {
    good()
}

/// Fails at first, and then asks the server behind it.
async fn gateway(stack: &Stack, client: Client) -> SocketAddr {
    let handler = Probe::new(move |nth, context| {
        let client = client.clone();
        async move {
            if nth == 1 {
                return Err(ErrorData::internal_error("not yet", None));
            }
            let mut params = CallToolRequestParams::new(TOOL);
            let mut meta = RequestMetaObject::new();
            for key in ["traceparent", "tracestate", "baggage"] {
                meta.0.0.extend(context.meta.get(key).map(|value| (key.to_owned(), value.clone())));
            }
            params.meta = Some(meta);
            client.call_tool(params).await.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
            good()
        }
    });
    let layer = ServerLayer::new("gateway", stack);
    let handler = layer.layer(handler.read_only());
    let sessions = Arc::<LocalSessionManager>::default();
    let mcp = StreamableHttpService::new(move || Ok(handler.clone()), sessions, StreamableHttpServerConfig::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route_service("/mcp", mcp)).await });
    addr
}

/// One call of a client that says what trace it is in.
async fn call(addr: SocketAddr) {
    let client = ().serve(StreamableHttpClientTransport::from_uri(format!("http://{addr}/mcp"))).await.unwrap();
    let mut meta = RequestMetaObject::new();
    meta.set_traceparent(SENT);
    meta.set_tracestate("vendor=opaque");
    meta.set_baggage("tenant=acme,user=eve");
    let mut params = CallToolRequestParams::new(TOOL);
    params.meta = Some(meta);
    let result = client.call_tool(params).await.unwrap();
    assert_eq!(result.is_error, Some(false), "{result:?}");
    client.cancel().await.unwrap();
}

fn only<'a>(spans: &'a [Span], kind: SpanKind, upstream: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| is(span, kind, upstream) && span.name.starts_with("tools/call")).collect()
}

#[tokio::test]
async fn a_call_is_followed_from_its_client_to_the_server_behind_us() {
    let collector = Collector::default();
    let otlp = Arc::new(Otlp::to(&collector.listen().await, "gateway-under-test").unwrap());
    let _sending = send(&otlp);
    let told = Told::default();
    let (client, _connection) = upstream(told.clone()).await;
    for incoming in [Incoming::Link, Incoming::Trust, Incoming::Ignore] {
        let trace = TraceLayer::new().incoming(incoming).baggage(["tenant"]);
        let addr = gateway(&Stack::new().trace(trace), client.clone()).await;
        call(addr).await;
        flush(&otlp).await;
        let spans = collector.spans();

        let [ours] = only(&spans, SpanKind::Server, "gateway")[..] else { panic!("{incoming:?} {spans:#?}") };
        assert_eq!((&*ours.name, &*says(ours, "buttress.attempts")), ("tools/call probe", "2"));
        let sent = SENT.split('-').collect::<Vec<_>>();
        let (hex, parent) = (traceparent(ours), &ours.parent_span_id);
        let links: Vec<String> = ours
            .links
            .iter()
            .map(|link| traceparent(&Span { trace_id: link.trace_id.clone(), span_id: link.span_id.clone(), ..Span::default() }))
            .collect();
        let parent: String = parent.iter().map(|byte| format!("{byte:02x}")).collect();
        let stands = (hex.contains(sent[1]), &*parent, links.iter().map(String::as_str).collect::<Vec<_>>());
        match incoming {
            Incoming::Link => assert_eq!(stands, (false, "", vec![SENT])),
            Incoming::Trust => assert_eq!(stands, (true, sent[2], vec![])),
            Incoming::Ignore => assert_eq!(stands, (false, "", vec![])),
        }

        let [first, second] = only(&spans, SpanKind::Client, "gateway")[..] else { panic!("{spans:#?}") };
        for attempt in [first, second] {
            assert_eq!((&attempt.parent_span_id, &attempt.trace_id), (&ours.span_id, &ours.trace_id));
        }
        assert_eq!((says(first, "error.type"), says(second, "error.type")), ("-32603".to_owned(), String::new()));
        let status = first.status.as_ref().unwrap();
        assert_eq!((status.code(), &*status.message), (StatusCode::Error, "not yet"));
        assert!(second.status.as_ref().is_none_or(|status| status.code() == StatusCode::Unset), "{second:?}");

        // The gateway's own client trusts the gateway, so it is all one trace; and a call is that client's own work.
        let [onward] = only(&spans, SpanKind::Internal, "behind")[..] else { panic!("{spans:#?}") };
        let [last] = only(&spans, SpanKind::Client, "behind")[..] else { panic!("{spans:#?}") };
        assert_eq!((&onward.parent_span_id, &last.parent_span_id), (&second.span_id, &onward.span_id));
        let [meta] = &std::mem::take(&mut *told.lock().unwrap())[..] else { panic!("one call") };
        assert_eq!(meta.get_traceparent(), Some(&*traceparent(last)));
        let state = if incoming == Incoming::Trust { Some("vendor=opaque") } else { None };
        assert_eq!((meta.get_tracestate(), meta.get_baggage()), (state, None), "its own client lets no baggage pass");
    }
    assert_eq!(collector.services(), ["gateway-under-test"]);
}

/// They pass by the stack, and are on record all the same.
#[tokio::test]
async fn what_keeps_a_connection_alive_has_spans_where_the_stack_is_around_it() {
    let collector = Collector::default();
    let otlp = Arc::new(Otlp::to(&collector.listen().await, "under test").unwrap());
    let _sending = send(&otlp);
    for traced in [true, false] {
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move { Probe::new(|_, _| good_after()).serve(far).await.unwrap().waiting().await });
        let stack = if traced { Stack::new().trace(TraceLayer::new()) } else { Stack::new() };
        let layer = ClientLayer::new("up", &stack);
        let connection = ().serve_with_lifecycle(layer.transport(near), ClientLifecycleMode::Initialize).await.unwrap();
        let ping = ClientRequest::PingRequest(PingRequest::default());
        connection.send_request(ping).await.unwrap();
        flush(&otlp).await;
        let spans = collector.spans();
        if !traced {
            assert!(spans.is_empty(), "{spans:#?}");
            continue;
        }
        let [attempt, call, ping_attempt, ping] = &spans[..] else { panic!("{spans:#?}") };
        for (call, attempt, name) in [(call, attempt, "initialize"), (ping, ping_attempt, "ping")] {
            assert_eq!(
                [(call.kind(), &*call.name), (attempt.kind(), &*attempt.name)],
                [(SpanKind::Internal, name), (SpanKind::Client, name)]
            );
            assert_eq!((&attempt.parent_span_id, &attempt.trace_id), (&call.span_id, &call.trace_id));
            assert_eq!((says(call, "mcp.method.name"), says(call, "buttress.verdict")), (name.to_owned(), "ok".to_owned()));
            assert!(!says(call, "jsonrpc.request.id").is_empty());
        }
        assert_ne!(call.trace_id, ping.trace_id);
    }
}

#[tokio::test]
async fn calls_that_are_refused_or_left_have_spans_that_say_so() {
    let collector = Collector::default();
    let otlp = Arc::new(Otlp::to(&collector.listen().await, "under test").unwrap());
    let _sending = send(&otlp);
    let hangs = service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, BoxError>>());
    let one = QuotaLayer::new().per_tenant(Quota::per_hour(NonZeroU32::MIN));
    let service = Stack::new().quota(one).trace(TraceLayer::new()).service(hangs);
    let target = Catalogue::new("up").tool("slow", TargetPolicy::default()).resolve(&Method::ToolsCall, Some("slow"), None);

    let mut left = service.answer(Request::new(target.clone(), ()));
    assert!(futures_util::poll!(&mut left).is_pending());
    let refused = service.answer(Request::new(target, ())).await.unwrap();
    assert!(refused.refusal.is_some());
    drop(left);
    flush(&otlp).await;

    let ended = |span: &Span| {
        let status = span.status.clone().unwrap_or_default();
        assert_eq!((&*span.name, status.code()), ("tools/call slow", StatusCode::Error), "{span:#?}");
        let says = |member| says(span, member);
        (span.kind(), says("error.type"), says("buttress.refused.layer"), status.message)
    };
    let text = |(kind, a, b, c): (SpanKind, &str, &str, &str)| (kind, a.to_owned(), b.to_owned(), c.to_owned());
    let expected = [
        (SpanKind::Server, "rejected", "quota", "refused by quota: quota"),
        (SpanKind::Client, "cancelled", "", ""),
        (SpanKind::Server, "cancelled", "", ""),
    ];
    assert_eq!(collector.spans().iter().map(ended).collect::<Vec<_>>(), expected.map(text));
}

/// How many spans have been lost, by the reason.
fn spans_lost(metrics: &Snapshotter) -> Vec<(String, u64)> {
    let of = |(key, _, _, value): (CompositeKey, _, _, _)| match value {
        DebugValue::Counter(lost) if key.key().name() == "buttress_spans_lost_total" => {
            key.key().labels().next().map(|reason| (reason.value().to_owned(), lost))
        }
        _ => None,
    };
    let mut lost: Vec<_> = metrics.snapshot().into_vec().into_iter().filter_map(of).collect();
    lost.sort();
    lost
}

#[tokio::test]
async fn what_a_collector_refuses_is_counted_from_zero() {
    let recorder = DebuggingRecorder::new();
    let metrics = recorder.snapshotter();
    let collector = Collector::default();
    // Made before there is a recorder: it lasts as long as the program, and so does a subscriber.
    let otlp = Arc::new(Otlp::to(&collector.listen().await, "under test").unwrap());
    let _sending = send(&otlp);
    let _recording = metrics::set_default_local_recorder(&recorder);
    let service =
        Stack::new().trace(TraceLayer::new()).service(service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(()))));
    let target = Catalogue::new("up").resolve(&Method::ToolsList, None, None);
    let call = async || drop(service.answer(Request::new(target.clone(), ())).await.unwrap());

    call().await;
    flush(&otlp).await;
    assert_eq!(spans_lost(&metrics), [("not_sent".to_owned(), 0), ("queue_full".to_owned(), 0)]);
    collector.refuse();
    call().await;
    let refused = tokio::task::spawn_blocking({
        let otlp = otlp.clone();
        move || otlp.flush().is_err()
    });
    assert!(refused.await.unwrap());
    assert_eq!(spans_lost(&metrics), [("not_sent".to_owned(), 2), ("queue_full".to_owned(), 0)]);
    assert_eq!(otlp.lost(), 2);
}

/// It takes what it is sent and never answers.
#[tokio::test]
async fn no_call_waits_for_a_collector() {
    let recorder = DebuggingRecorder::new();
    let metrics = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let otlp = Arc::new(Otlp::to(&format!("http://{}/v1/traces", silent.local_addr().unwrap()), "under test").unwrap());
    let sending = send(&otlp);
    let answers = service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(())));
    let service = Stack::new().trace(TraceLayer::new()).service(answers);
    let target = Catalogue::new("up").resolve(&Method::ToolsList, None, None);
    for _ in 0..10_000 {
        let answer = service.answer(Request::new(target.clone(), ()));
        assert!(futures_util::FutureExt::now_or_never(answer).is_some_and(|answer| answer.is_ok()), "it waited");
    }
    // Two for each call, and room for 2,048.
    assert!(otlp.lost() > 15_000, "{}", otlp.lost());
    let [(_, 0), (_, full)] = spans_lost(&metrics)[..] else { panic!("nothing was sent, and nothing was given up") };
    assert_eq!(full, otlp.lost());
    drop((sending, silent));
    // What is lost anyway is not waited for.
    std::mem::forget(otlp);
}
