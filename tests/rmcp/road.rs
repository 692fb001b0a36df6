//! How a client and a server meet: either era, over a pipe in this process or over HTTP on loopback.

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use buttress::rmcp::RefusalStatusLayer;
use rmcp::{
    ClientLifecycleMode, ClientServiceExt, RoleClient, ServerHandler, ServiceExt,
    model::ProtocolVersion,
    service::RunningService,
    transport::{
        IntoTransport, StreamableHttpClientTransport,
        streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager},
    },
};
use tokio::task::AbortHandle;
use tower::Layer;
use tower_http::limit::RequestBodyLimitLayer;

use crate::{
    caller::Caller,
    tape::{Tap, Tape},
};

pub type Client = RunningService<RoleClient, Caller>;

/// The two lives of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// 2025-11-25: a handshake, and sessions.
    Legacy,
    /// 2026-07-28: every request stands for itself.
    Modern,
}

impl Era {
    pub fn version(self) -> ProtocolVersion {
        match self {
            Self::Legacy => ProtocolVersion::V_2025_11_25,
            Self::Modern => ProtocolVersion::V_2026_07_28,
        }
    }

    fn lifecycle(self) -> ClientLifecycleMode {
        match self {
            Self::Legacy => ClientLifecycleMode::Initialize,
            Self::Modern => ClientLifecycleMode::Discover { preferred_versions: vec![self.version()] },
        }
    }
}

/// The transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    Duplex,
    Http,
}

async fn connect<E, A>(era: Era, transport: impl IntoTransport<RoleClient, E, A>, tape: &Tape) -> Client
where
    E: std::error::Error + Send + Sync + 'static,
{
    let tap = Tap { inner: transport.into_transport(), tape: tape.clone() };
    Caller(era.version()).serve_with_lifecycle(tap, era.lifecycle()).await.expect("the client connects")
}

/// Serves `handler` over a pipe, and connects a client to it whose messages go on `tape`.
pub async fn over_duplex(era: Era, handler: impl ServerHandler, tape: &Tape) -> Client {
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        if let Ok(server) = handler.serve(far).await {
            let _ = server.waiting().await;
        }
    });
    connect(era, near, tape).await
}

/// A Streamable HTTP server on loopback; it goes down when this is dropped.
pub struct Site {
    pub addr: SocketAddr,
    serving: AbortHandle,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The cap on a request's body.
pub const BODY_CAP: usize = 64 * 1024;

impl Site {
    /// Serves what `make` makes for each session or request, behind the layers that a real server has.
    pub async fn open<H: ServerHandler>(make: impl Fn() -> H + Send + Sync + 'static) -> Self {
        Self::with(StreamableHttpServerConfig::default(), make).await
    }

    pub async fn with<H: ServerHandler>(
        config: StreamableHttpServerConfig,
        make: impl Fn() -> H + Send + Sync + 'static,
    ) -> Self {
        let mcp = StreamableHttpService::new(move || Ok(make()), Arc::new(LocalSessionManager::default()), config);
        let router =
            Router::new().route_service("/mcp", RefusalStatusLayer.layer(mcp)).layer(RequestBodyLimitLayer::new(BODY_CAP));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await }).abort_handle();
        Self { addr, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.addr)
    }

    pub async fn connect(&self, era: Era, tape: &Tape) -> Client {
        connect(era, StreamableHttpClientTransport::from_uri(self.url()), tape).await
    }
}
