//! A weather server that makes everything up. What goes wrong with it is injected behind the stack ([`crate::faults`]).

use std::{sync::Arc, time::Duration};

use rmcp::{
    ErrorData, ServerHandler,
    handler::server::{
        router::{prompt::PromptRouter, tool::ToolRouter},
        wrapper::Parameters,
    },
    model::{Implementation, PromptMessage, Role, ServerCapabilities, ServerConfig, SubscriptionFilter},
    prompt, prompt_handler, prompt_router,
    schemars::{self, JsonSchema},
    service::SubscriptionContext,
    tool, tool_handler, tool_router,
};
use serde::Deserialize;
use tokio::time::sleep;

/// How cities begin that no gazetteer has.
pub const NOWHERE: &str = "Atlantis";

/// The handler. Clones share everything.
#[derive(Clone, Debug)]
pub struct Weather {
    tools: Arc<ToolRouter<Self>>,
    prompts: Arc<PromptRouter<Self>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Place {
    /// The city's name in English.
    city: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Report {
    /// What was seen, in a few words.
    note: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Frame {
    /// The frame's number.
    frame: u64,
}

/// The backend's work.
async fn work(least: u64, most: u64) {
    sleep(Duration::from_millis(fastrand::u64(least..=most))).await;
}

#[tool_router]
impl Weather {
    pub fn new() -> Self {
        Self { tools: Arc::new(Self::tool_router()), prompts: Arc::new(Self::prompt_router()) }
    }

    /// The weather in a city right now.
    #[tool(annotations(read_only_hint = true))]
    async fn get_weather(&self, Parameters(Place { city }): Parameters<Place>) -> Result<String, String> {
        work(10, 40).await;
        if city.starts_with(NOWHERE) {
            Err(format!("No city called {city:?} is known."))
        } else {
            Ok(format!("{city}: 12 degrees"))
        }
    }

    /// The weather in a city tomorrow.
    #[tool(annotations(read_only_hint = true))]
    async fn get_forecast(&self, Parameters(Place { city }): Parameters<Place>) -> String {
        work(40, 120).await;
        format!("{city}: rain")
    }

    /// One frame of the radar film.
    #[tool(annotations(read_only_hint = true))]
    async fn get_radar(&self, Parameters(Frame { frame }): Parameters<Frame>) -> String {
        work(60, 120).await;
        format!("frame {frame}")
    }

    /// Records what was seen.
    #[tool(annotations(read_only_hint = false, destructive_hint = false, idempotent_hint = false))]
    async fn report_observation(&self, Parameters(Report { note }): Parameters<Report>) -> String {
        work(100, 300).await;
        format!("recorded: {note}")
    }
}

#[prompt_router]
impl Weather {
    /// Asks for a packing list.
    #[prompt]
    async fn packing_list(&self, Parameters(Place { city }): Parameters<Place>) -> Vec<PromptMessage> {
        work(5, 10).await;
        vec![PromptMessage::new_text(Role::User, format!("What should I pack for {city}?"))]
    }
}

#[tool_handler(router = self.tools)]
#[prompt_handler(router = self.prompts)]
impl ServerHandler for Weather {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tool_list_changed().enable_prompts().build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("weather", env!("CARGO_PKG_VERSION")))
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    /// The list of tools never changes: there is nothing to say.
    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        context.cancelled().await;
        Ok(())
    }
}
