//! The spans of the calls: sent over OTLP to whatever collector the environment names, or else to a small one in this process,
//! which keeps the last traces and shows them as text.

mod kept;
#[cfg(test)]
mod tests;

use std::{
    env,
    error::Error,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use buttress::{
    BoxError,
    trace::{Otlp, TARGET},
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::{net::TcpListener, task::spawn_blocking};
use tracing_subscriber::{EnvFilter, Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use kept::Kept;

/// By these the environment names a collector.
const NAMED: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The way of the spans, for as long as this lives.
pub struct Traces {
    otlp: Otlp,
    at: String,
}

impl Traces {
    /// Sends the spans of this process from now on, and shows them at `address` where nobody else takes them.
    pub async fn begin(address: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let (otlp, at) = way(address).await.map_err(|error| -> Box<dyn Error> { error })?;
        // Troubles are all that there is here: only who asks for them is told of each in the log.
        let asked = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
        let ours = Targets::new().with_target(TARGET, tracing::Level::INFO);
        tracing_subscriber::registry()
            .with(otlp.layer().with_filter(ours))
            .with(fmt::layer().with_writer(std::io::stderr).with_filter(asked))
            .try_init()?;
        Ok(Self { otlp, at })
    }

    /// Where to look.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Sends the last ones.
    pub async fn end(self) -> Result<(), Box<dyn Error>> {
        // It waits for the collector, which may be in this process.
        Ok(spawn_blocking(move || drop(self.otlp)).await?)
    }
}

/// The way of the spans, and where to look for them.
async fn way(address: SocketAddr) -> Result<(Otlp, String), BoxError> {
    if let Some(endpoint) = NAMED.iter().find_map(|name| env::var(name).ok()) {
        return Ok((Otlp::from_env("weather")?, endpoint));
    }
    let address = listen(address).await?;
    Ok((Otlp::to(&format!("http://{address}/v1/traces"), "weather")?, format!("http://{address}/ and /trouble")))
}

/// Takes spans at `address` from now on, and shows them.
async fn listen(address: SocketAddr) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind(address).await.map_err(|error| format!("--traces {address}: {error}"))?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/v1/traces", post(take))
        .route("/", get(async |kept| show(kept, false)))
        .route("/trouble", get(async |kept| show(kept, true)))
        .with_state(Shared::default());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

type Shared = Arc<Mutex<Kept>>;

async fn take(State(kept): State<Shared>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    kept.lock().unwrap_or_else(PoisonError::into_inner).extend(scopes.flat_map(|scope| scope.spans));
    StatusCode::OK
}

fn show(State(kept): State<Shared>, only_trouble: bool) -> String {
    kept.lock().unwrap_or_else(PoisonError::into_inner).text(only_trouble)
}
