//! Servers in this process: the example's handler behind a stack of the test's own. Each has an upstream name of its own, so
//! that their series stay apart in this process's one recorder.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::Router;
use buttress::{
    Stack,
    admin::{Admin, Metrics},
    metrics::{Metric, REJECTIONS},
    retry::{Backoff, Cause, MakeBackoff},
    rmcp::ServerLayer,
};
use rmcp::{
    RoleClient,
    service::{PeerRequestOptions, RequestHandle},
    transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager},
};
use tokio::{net::TcpListener, sync::OnceCell};
use tokio_util::sync::CancellationToken;
use tower::Layer;

use crate::{
    ask::{Answer, Ask},
    client::{Client, Era},
    crowd::at_once,
    open_meteo::{Endpoints, OpenMeteo},
    patience::until,
    series::Series,
    server,
    stand_in::{Options, StandIn},
    weather::Weather,
};

/// A server with a stack of its own, and a client.
pub struct Bench {
    upstream: &'static str,
    /// Connected when first needed: some stacks let nobody connect.
    client: OnceCell<Arc<Client>>,
    /// Where MCP is served.
    pub mcp: String,
    metrics: String,
}

impl Bench {
    pub async fn new(upstream: &'static str, stack: Stack, api: &str) -> Self {
        static METRICS: OnceLock<Metrics> = OnceLock::new();
        // Before the stack makes its first handle.
        let metrics = METRICS.get_or_init(|| Metrics::install().unwrap()).clone();
        let admin = Admin::bind(([127, 0, 0, 1], 0)).await.unwrap();
        let scraped = format!("http://{}/metrics", admin.local_addr());
        tokio::spawn(admin.serve(metrics, std::future::pending()));

        let (listener, mcp) = listen().await;
        let wrapped = ServerLayer::new(upstream, &stack).layer(weather(api));
        tokio::spawn(server::http(listener, wrapped, CancellationToken::new()));
        Self { upstream, client: OnceCell::new(), mcp, metrics: scraped }
    }

    async fn client(&self) -> &Arc<Client> {
        self.client.get_or_init(async || Arc::new(Era::Modern.over_http(&self.mcp).await)).await
    }

    pub async fn ask(&self, ask: Ask) -> Answer {
        ask.put(self.client().await).await
    }

    pub async fn ask_at_once(&self, asks: Vec<Ask>) -> Vec<Answer> {
        let client = self.client().await;
        at_once(asks.into_iter().map(|ask| {
            let client = client.clone();
            async move { ask.put(&client).await }
        }))
        .await
    }

    /// Begins a tool call, to be answered or taken back later.
    pub async fn begin(&self, ask: Ask) -> RequestHandle<RoleClient> {
        self.client().await.send_request_with_option(ask.request(), PeerRequestOptions::no_options()).await.unwrap()
    }

    /// The sum over this server's series of a metric that bear these labels.
    pub async fn sum(&self, metric: Metric, labels: &[(&str, &str)]) -> i64 {
        Series::scrape(&self.metrics).await.sum(metric, &[labels, &[("upstream", self.upstream)]].concat())
    }

    pub async fn refusals(&self, layer: &str, reason: &str) -> i64 {
        self.sum(REJECTIONS, &[("layer", layer), ("reason", reason)]).await
    }

    /// Waits until a metric of this server's is at `value`.
    pub async fn wait_for(&self, metric: Metric, labels: &[(&str, &str)], value: i64) {
        until(metric.name, async || (self.sum(metric, labels).await == value).then_some(())).await;
    }
}

fn weather(api: &str) -> Weather {
    Weather::new(OpenMeteo::new(Endpoints::single(api)).unwrap())
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mcp = format!("http://{}{}", listener.local_addr().unwrap(), server::PATH);
    (listener, mcp)
}

/// The handler with nothing in front of it but a cap on bodies; where MCP is served.
pub async fn bare(api: &str, largest_body: usize) -> String {
    let (listener, mcp) = listen().await;
    let weather = weather(api);
    let config = StreamableHttpServerConfig::default().with_max_request_body_bytes(largest_body);
    let service = StreamableHttpService::new(move || Ok(weather.clone()), Arc::<LocalSessionManager>::default(), config);
    let router = Router::new().nest_service(server::PATH, service);
    tokio::spawn(async move { axum::serve(listener, router).await });
    mcp
}

/// A stand-in without faults.
pub async fn calm() -> StandIn {
    backend(Options { seed: 1, calm: true }).await
}

pub async fn backend(options: Options) -> StandIn {
    StandIn::start(([127, 0, 0, 1], 0).into(), options).await.unwrap()
}

/// A backend that takes connections and never says a word, as long as the listener lives.
pub async fn mute() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// The same delay before each retry.
pub struct Every(pub Duration);

impl MakeBackoff for Every {
    fn make_backoff(&self) -> Box<dyn Backoff> {
        Box::new(Self(self.0))
    }
}

impl Backoff for Every {
    fn next_delay(&mut self, _cause: Cause) -> Option<Duration> {
        Some(self.0)
    }
}
