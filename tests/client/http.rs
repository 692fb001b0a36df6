//! Over Streamable HTTP, on loopback: statuses, sessions, cancellation.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header::RETRY_AFTER},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use buttress::{
    Stack,
    call::OUTCOME_KEY,
    deadline::{Limits, Settings},
    retry::{FullJitter, RetryLayer},
    rmcp::client::{HttpErrors, Meaning, ReadError},
};
use rmcp::{
    service::ServiceError,
    transport::{
        StreamableHttpClientTransport,
        streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager},
    },
};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    caller::Caller,
    probe::{Probe, good, texts},
    rig::{ERAS, Rig, SEAMS, Seam, connect, safe},
    road::Era,
    tape::soon,
};

type Fail = Arc<dyn Fn(u32) -> Option<Response> + Send + Sync>;

/// What stands in front of the server: it answers some of the calls itself.
#[derive(Clone)]
struct Gate {
    fail: Fail,
    calls: Arc<AtomicU32>,
}

async fn gate(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    if body.windows(12).any(|part| part == br#""tools/call""#)
        && let Some(response) = (gate.fail)(gate.calls.fetch_add(1, Ordering::SeqCst) + 1)
    {
        return response;
    }
    next.run(Request::from_parts(parts, Body::from(body))).await
}

async fn serve_on(addr: SocketAddr, probe: Probe, fail: Fail) -> (SocketAddr, JoinHandle<()>) {
    let sessions = Arc::<LocalSessionManager>::default();
    let mcp = StreamableHttpService::new(move || Ok(probe.clone()), sessions, StreamableHttpServerConfig::default());
    let router = Router::new().route_service("/mcp", mcp).layer(from_fn_with_state(Gate { fail, calls: Arc::default() }, gate));
    let listener = tokio::net::TcpListener::bind(addr).await.unwrap();
    let addr = listener.local_addr().unwrap();
    (addr, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

async fn serve(probe: Probe, fail: impl Fn(u32) -> Option<Response> + Send + Sync + 'static) -> (SocketAddr, JoinHandle<()>) {
    serve_on(([127, 0, 0, 1], 0).into(), probe, Arc::new(fail)).await
}

async fn dial(seam: Seam, era: Era, addr: SocketAddr, stack: &Stack) -> Rig {
    let transport = StreamableHttpClientTransport::from_uri(format!("http://{addr}/mcp"));
    let layer = safe(stack).errors(HttpErrors::of(&transport).not_sent_if(reqwest::Error::is_connect));
    connect(seam, era, Caller(era.version()), transport, &layer).await
}

fn everywhere() -> impl Iterator<Item = (Seam, Era)> {
    SEAMS.into_iter().flat_map(|seam| ERAS.map(|era| (seam, era)))
}

#[tokio::test]
async fn throttled_twice_and_then_served() {
    for (seam, era) in everywhere() {
        let probe = Probe::new(async |_, _| good());
        let throttled = |nth| (nth <= 2).then(|| (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "0")]).into_response());
        let (addr, _serving) = serve(probe.clone(), throttled).await;
        let ms = Duration::from_millis(1);
        let stack = Stack::new().retry(RetryLayer::default().backoff(FullJitter::try_new(ms, ms, ms).unwrap()));
        let rig = dial(seam, era, addr, &stack).await;
        assert_eq!(texts(&soon(rig.call()).await.unwrap()), ["done"], "{seam:?} {era:?}");
        assert_eq!((rig.sent("tools/call").await.len(), probe.calls()), (3, 1));
    }
}

#[tokio::test]
async fn a_status_and_its_delay_reach_the_caller() {
    for (status, class, delay) in [(429, "throttled", Some(7_000)), (503, "ambiguous", Some(7_000)), (400, "client_fault", None)]
    {
        for (seam, era) in everywhere() {
            let probe = Probe::new(async |_, _| good());
            let fail = move |_| Some((StatusCode::from_u16(status).unwrap(), [(RETRY_AFTER, "7")]).into_response());
            let (addr, _serving) = serve(probe.clone(), fail).await;
            let rig = dial(seam, era, addr, &Stack::new().retry(RetryLayer::off())).await;
            let answer = soon(rig.call()).await.unwrap();
            let facts = &answer.meta.as_ref().unwrap().0[OUTCOME_KEY];
            assert_eq!((&facts["class"], facts["retryAfterMs"].as_u64()), (&class.into(), delay), "{seam:?} {era:?} {answer:?}");
            assert_eq!(probe.calls(), 0);
        }
    }
}

#[tokio::test]
async fn a_denial_is_passed_on_with_its_challenge() {
    let challenge = "Bearer scope=\"weather.read\"";
    for (seam, era) in everywhere() {
        for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
            let fail = move |_| Some((status, [("www-authenticate", challenge)]).into_response());
            let (addr, _serving) = serve(Probe::new(async |_, _| good()), fail).await;
            let rig = dial(seam, era, addr, &Stack::new()).await;
            let error = soon(rig.call()).await.unwrap_err();
            assert_eq!(error.auth_challenge(), Some(challenge), "{seam:?} {era:?} {error:?}");
            assert_eq!(rig.sent("tools/call").await.len(), 1);
        }
        // Without a challenge it is a denial all the same.
        let (addr, _serving) = serve(Probe::new(async |_, _| good()), |_| Some(StatusCode::FORBIDDEN.into_response())).await;
        let rig = dial(seam, era, addr, &Stack::new()).await;
        let error = soon(rig.call()).await.unwrap_err();
        assert!(matches!(error, ServiceError::TransportSend(_)), "{error:?}");
        assert_eq!(rig.sent("tools/call").await.len(), 1);
    }
}

#[tokio::test]
async fn a_session_that_is_lost_is_begun_anew() {
    for seam in SEAMS {
        let probe = Probe::new(async |_, _| good());
        let (addr, serving) = serve(probe.clone(), |_| None).await;
        let rig = dial(seam, Era::Legacy, addr, &Stack::new()).await;
        soon(rig.call()).await.unwrap();
        serving.abort();
        let _ = serving.await;
        let (_, _serving) = serve_on(addr, probe.clone(), Arc::new(|_| None)).await;
        assert_eq!(texts(&soon(rig.call()).await.unwrap()), ["done"], "{seam:?}");
        assert_eq!(probe.calls(), 2);
    }
}

#[tokio::test]
async fn a_server_that_is_down_was_sent_nothing() {
    for (seam, era) in everywhere() {
        let probe = Probe::new(async |_, _| good());
        let (addr, serving) = serve(probe.clone(), |_| None).await;
        let rig = dial(seam, era, addr, &Stack::new().retry(RetryLayer::off())).await;
        serving.abort();
        let _ = serving.await;
        // The first call may find a connection that is kept open, and lose it.
        let _ = soon(rig.call()).await;
        let answer = soon(rig.call()).await.unwrap();
        assert!(
            texts(&answer)[0].starts_with("Unavailable: \"probe\" on \"up\" could not be reached."),
            "{seam:?} {era:?} {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_call_that_hangs_is_taken_back() {
    for (seam, era) in everywhere() {
        let (told, mut cancelled) = mpsc::unbounded_channel();
        let probe = Probe::new(move |_, context| {
            let told = told.clone();
            async move {
                context.ct.cancelled().await;
                told.send(()).unwrap();
                std::future::pending().await
            }
        });
        let (addr, _serving) = serve(probe, |_| None).await;
        let settings = Settings { soft: Some(Duration::from_millis(500)), ..Settings::default() };
        let stack = Stack::new().deadline(Limits::try_new(settings).unwrap());
        let rig = dial(seam, era, addr, &stack).await;
        let answer = soon(rig.call()).await.unwrap();
        assert!(texts(&answer)[0].contains("gave no answer in 1 s"), "{seam:?} {era:?} {answer:?}");
        soon(cancelled.recv()).await.unwrap();
    }
}

/// A transport of the user's own, with errors of its own.
#[test]
fn a_plain_function_reads_faults() {
    let errors = |error: &(dyn std::error::Error + 'static)| error.is::<std::fmt::Error>().then_some(Meaning::NotSent);
    assert_eq!(errors.read(&std::fmt::Error), Some(Meaning::NotSent));
}

/// As behind a balancer that sends each request to another instance. rmcp has begun another session and sent the call again,
/// whatever the tool; beyond that nobody repeats it.
#[tokio::test]
async fn a_session_that_is_lost_again_ends_the_call() {
    for seam in SEAMS {
        let probe = Probe::new(async |_, _| good());
        let lost = |nth| (nth > 1).then(|| StatusCode::NOT_FOUND.into_response());
        let (addr, _serving) = serve(probe.clone(), lost).await;
        let rig = dial(seam, Era::Legacy, addr, &Stack::new()).await;
        soon(rig.call()).await.unwrap();
        let answer = soon(rig.call()).await.unwrap();
        assert!(texts(&answer)[0].starts_with("Session lost: "), "{seam:?} {answer:?}");
        assert_eq!((rig.sent("tools/call").await.len(), probe.calls()), (2, 1), "{seam:?}");
    }
}
