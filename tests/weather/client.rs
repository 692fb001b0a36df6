//! Real MCP clients, in either era and over either transport.

use rmcp::{
    ClientCacheConfig, ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{ClientCapabilities, ClientConfig, Implementation, ProtocolVersion},
    service::RunningService,
    transport::{
        IntoTransport, StreamableHttpClientTransport, TokioChildProcess,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};

pub type Client = RunningService<RoleClient, ClientConfig>;

/// The two lives of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// 2025-11-25: a handshake, and over HTTP a session.
    Legacy,
    /// 2026-07-28: every request stands for itself.
    Modern,
}

impl Era {
    pub const BOTH: [Self; 2] = [Self::Legacy, Self::Modern];

    /// Connects over Streamable HTTP.
    pub async fn over_http(self, url: &str) -> Client {
        // No proxy of the environment's sees this machine. And rmcp leaves some answers unread to their end, which makes a
        // connection slow when it is used again.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        let config = StreamableHttpClientTransportConfig::with_uri(url);
        self.connect(StreamableHttpClientTransport::with_client(http, config)).await
    }

    /// Connects over the stdin and stdout of a child.
    pub async fn over_stdio(self, child: TokioChildProcess) -> Client {
        self.connect(child).await
    }

    async fn connect<E, A>(self, transport: impl IntoTransport<RoleClient, E, A>) -> Client
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let (version, lifecycle) = match self {
            Self::Legacy => (ProtocolVersion::V_2025_11_25, ClientLifecycleMode::Initialize),
            Self::Modern => {
                let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
                (ProtocolVersion::V_2026_07_28, ClientLifecycleMode::Discover { preferred_versions })
            }
        };
        let config = ClientConfig::new(ClientCapabilities::default(), Implementation::new("tests/weather", "1"));
        let client = config.with_protocol_version(version).serve_with_lifecycle(transport, lifecycle).await.unwrap();
        // An old answer in the place of an error would hide the error.
        client.set_response_cache_config(ClientCacheConfig::default().with_serve_stale_on_error(false)).await;
        client
    }
}
