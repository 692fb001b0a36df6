//! One agent: a real MCP client with a will of its own.

use std::{error::Error, sync::Arc, time::Duration};

use fastrand::Rng;
use rmcp::{
    ClientCacheConfig, ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{
        CallToolRequestParams, ClientCapabilities, ClientConfig, GetPromptRequestParams, Implementation, JsonObject,
        ProtocolVersion, ReadResourceRequestParams,
    },
    service::RunningService,
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Books, answer::Answer, tally::Kind};
use crate::weather::OBSERVATIONS;

const CITIES: [&str; 12] =
    ["Berlin", "Paris", "London", "Madrid", "Oslo", "Reykjavik", "New York", "Lima", "Nairobi", "Mumbai", "Tokyo", "Sydney"];

/// What one call in forty asks for: agents misspell.
const NOWHERE: &str = "Atlantis";

/// Far longer than the server may take: who waits for this long has been forgotten.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest that an agent thinks between two calls, in milliseconds.
const THOUGHT: u64 = 100;

/// A connected agent.
#[derive(Debug)]
pub struct Agent {
    number: usize,
    client: RunningService<RoleClient, ClientConfig>,
    rng: Rng,
    books: Arc<Books>,
}

impl Agent {
    /// Connects agent `number`: those with odd numbers as in 2025-11-25, with a session, the others as since 2026-07-28.
    pub async fn connect(number: usize, url: &str, seed: u64, books: Arc<Books>) -> Result<Self, Box<dyn Error>> {
        let lifecycle = if number % 2 == 1 {
            ClientLifecycleMode::Initialize
        } else {
            ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
        };
        // The server is on this machine, where no proxy of the environment's can see it; and it leaves some answers unread to
        // their end, which makes a connection slow when it is used again.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build()?;
        let transport = StreamableHttpClientTransport::with_client(http, StreamableHttpClientTransportConfig::with_uri(url));
        let name = Implementation::new(format!("agent-{number}"), env!("CARGO_PKG_VERSION"));
        let config = ClientConfig::new(ClientCapabilities::default(), name);
        let client = config.serve_with_lifecycle(transport, lifecycle).await?;
        // An old answer in the place of an error would hide the error.
        client.set_response_cache_config(ClientCacheConfig::default().with_serve_stale_on_error(false)).await;
        let rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9).wrapping_add(number as u64));
        Ok(Self { number, client, rng, books })
    }

    /// Calls until `stop`, then leaves.
    pub async fn work(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let kind = self.choose();
            let arguments = self.arguments(kind);
            let note = arguments.get("note").and_then(Value::as_str).map(str::to_owned);
            let asked = Instant::now();
            let answer = timeout(PATIENCE, self.ask(kind, arguments)).await.unwrap_or(Answer::None);
            if let Some(note) = note {
                self.books.ledger.close(&note, answer.claim());
            }
            self.books.tally.count(kind, &answer, asked.elapsed());
            let thought = Duration::from_millis(self.rng.u64(0..=THOUGHT));
            tokio::select! {
                () = sleep(thought) => {}
                () = stop.cancelled() => {}
            }
        }
        // It is leaving: how that ends is no matter.
        let _ = self.client.cancel().await;
    }

    fn choose(&mut self) -> Kind {
        match self.rng.u8(0..100) {
            0..40 => Kind::Weather,
            40..65 => Kind::Forecast,
            65..90 if self.books.ledger.has_room() => Kind::Report,
            65..98 => Kind::PackingList,
            _ => Kind::Observations,
        }
    }

    fn arguments(&mut self, kind: Kind) -> JsonObject {
        let city = match self.rng.u8(0..40) {
            0 => NOWHERE,
            _ => CITIES[self.rng.usize(..CITIES.len())],
        };
        let arguments = match kind {
            Kind::Weather => json!({ "city": city, "units": if self.rng.bool() { "metric" } else { "imperial" } }),
            Kind::Forecast => json!({ "city": city, "days": self.rng.u8(1..=16) }),
            Kind::Report => {
                let note = self.books.ledger.open(self.number);
                json!({ "city": city, "temperature_c": f64::from(self.rng.i32(-200..=350)) / 10.0, "note": note })
            }
            Kind::PackingList => json!({ "city": city }),
            Kind::Observations => json!({}),
        };
        match arguments {
            Value::Object(arguments) => arguments,
            _ => JsonObject::new(),
        }
    }

    async fn ask(&self, kind: Kind, arguments: JsonObject) -> Answer {
        match kind {
            Kind::Weather | Kind::Forecast | Kind::Report => {
                let call = CallToolRequestParams::new(kind.name()).with_arguments(arguments);
                Answer::of_tool(self.client.call_tool(call).await)
            }
            Kind::PackingList => {
                let get = GetPromptRequestParams::new(kind.name()).with_arguments(arguments);
                Answer::of(self.client.get_prompt(get).await)
            }
            Kind::Observations => Answer::of(self.client.read_resource(ReadResourceRequestParams::new(OBSERVATIONS)).await),
        }
    }
}
