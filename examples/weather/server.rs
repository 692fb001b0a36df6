//! The stack around the handler, and the two transports it is served by.

use std::{io, num::NonZeroU32, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use buttress::{
    Stack,
    admin::Admin,
    deadline::Limits,
    retry::RetryLayer,
    rmcp::{RefusalStatusLayer, Server, ServerLayer},
};
use http_body_util::BodyExt;
use rmcp::{
    ServiceExt,
    service::ServerInitializeError,
    transport::{
        stdio,
        streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager},
    },
};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tower::Layer;
use tower_http::{
    limit::RequestBodyLimitLayer,
    sensitive_headers::SetSensitiveHeadersLayer,
    trace::{DefaultOnFailure, TraceLayer},
};
use tracing::Level;

use crate::weather::Weather;

/// Where MCP is served over HTTP.
pub const PATH: &str = "/mcp";

/// The weather service answers in milliseconds or not at all.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);

/// One attempt in six fails here: after three of them, one read in 250 would still be lost.
const ATTEMPTS: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// A model should not wait longer for the weather; nor does a shutdown for the calls in flight.
const LIMIT: Duration = Duration::from_secs(10);

/// Far more than any call of these tools needs.
const LARGEST_BODY: usize = 1024 * 1024;

/// The handler behind the stack, which `admin` shows. Clones share the state of all layers.
pub fn wrap(weather: Weather, admin: &Admin) -> Server<Weather> {
    let stack = Stack::new().deadline(Limits::at_most(LIMIT)).retry(RetryLayer::new(ATTEMPTS)).attempt_limit(ATTEMPT_LIMIT);
    let layer = ServerLayer::new("weather", &stack);
    admin.watch(&stack, layer.catalogue());
    layer.layer(weather)
}

/// Serves Streamable HTTP on `listener` until `stop`, then lets the calls in flight end.
pub async fn http(listener: TcpListener, server: Server<Weather>, stop: CancellationToken) -> io::Result<()> {
    let sessions = CancellationToken::new();
    let config =
        StreamableHttpServerConfig::default().with_max_request_body_bytes(LARGEST_BODY).with_cancellation_token(sessions.clone());
    // Asked for a handler per session, and per request since 2026-07-28: each is a clone of the one.
    let mcp = StreamableHttpService::new(move || Ok(server.clone()), Arc::<LocalSessionManager>::default(), config);
    let calls = Calls::default();
    let router = Router::new()
        .nest_service(PATH, RefusalStatusLayer.layer(mcp))
        .layer(from_fn_with_state(calls.clone(), hold))
        // Twice that, for what a request declares. One that does not is measured by rmcp, which answers 413 too; cut off on its
        // way there, it would look like a failure of ours.
        .layer(RequestBodyLimitLayer::new(2 * LARGEST_BODY))
        // A refusal is a 503 too, and no error: the metrics count it.
        .layer(TraceLayer::new_for_http().on_failure(DefaultOnFailure::new().level(Level::DEBUG)))
        .layer(SetSensitiveHeadersLayer::new([AUTHORIZATION]));

    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned()).into_future();
    tokio::pin!(serving);
    let idle = async {
        stop.cancelled().await;
        // Not for ever: a call that subscribes to something has no end.
        let _ = timeout(LIMIT, calls.closed()).await;
    };
    tokio::select! {
        ended = &mut serving => return ended,
        // What is still open now are the sessions' own streams, which do not end by themselves.
        () = idle => sessions.cancel(),
    }
    serving.await
}

/// A receiver for each call that is being answered: so the sender knows when there is none.
type Calls = Arc<watch::Sender<()>>;

/// Lets each call hold its receiver until its answer has left, or was dropped.
async fn hold(State(calls): State<Calls>, request: Request, next: Next) -> Response {
    let call = (request.method() == Method::POST).then(|| calls.subscribe());
    let held = move |frame| {
        let _held = &call;
        frame
    };
    next.run(request).await.map(|body| Body::new(body.map_frame(held)))
}

/// Serves stdin and stdout until `stop`, or until the client hangs up.
pub async fn over_stdio(server: Server<Weather>, stop: CancellationToken) -> Result<(), Box<ServerInitializeError>> {
    match server.serve_with_ct(stdio(), stop.clone()).await {
        // How it ended tells nothing more: the client left, or was left.
        Ok(running) => drop(running.waiting().await),
        // So it may before it has said anything.
        Err(ServerInitializeError::ConnectionClosed(_)) => {}
        Err(_) if stop.is_cancelled() => {}
        Err(error) => return Err(Box::new(error)),
    }
    Ok(())
}
