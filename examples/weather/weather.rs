//! The MCP server: three tools, a resource and a prompt over the weather service.
//!
//! Nothing in here repeats, limits or counts a call. It says what became of it ([`failure`]), and the stack in front does the
//! rest.

mod failure;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    handler::server::{
        router::{prompt::PromptRouter, tool::ToolRouter},
        wrapper::{Json, Parameters},
    },
    model::{
        Implementation, ListResourcesResult, PaginatedRequestParams, PromptMessage, ReadResourceRequestParams,
        ReadResourceResponse, ReadResourceResult, Resource, ResourceContents, Role, ServerCapabilities, ServerConfig,
    },
    prompt, prompt_handler, prompt_router,
    schemars::{self, JsonSchema},
    service::RequestContext,
    tool, tool_handler, tool_router,
};
use serde::{Deserialize, Serialize};

use crate::open_meteo::{Current, Forecast, OpenMeteo, Place, Units};
use failure::Asked;

/// Where the observations are read.
pub const OBSERVATIONS: &str = "weather://observations";

const INSTRUCTIONS: &str = "Weather of any city, now and for up to 16 days. What you report with report_observation can be read \
                            in weather://observations, by its note.";

/// The handler. Clones share everything.
#[derive(Clone, Debug)]
pub struct Weather {
    api: OpenMeteo,
    // Kept, since the macros would otherwise build them anew for every call.
    tools: Arc<ToolRouter<Self>>,
    prompts: Arc<PromptRouter<Self>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct WeatherOf {
    /// The city's name in English, such as "Oslo".
    city: String,
    /// Degrees Celsius and km/h, or degrees Fahrenheit and mph.
    #[serde(default)]
    units: Units,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ForecastOf {
    /// The city's name in English, such as "Oslo".
    city: String,
    /// How many days, today included.
    #[schemars(range(min = 1, max = 16))]
    days: u8,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Report {
    /// The city's name in English, such as "Oslo".
    city: String,
    /// What the thermometer says, in degrees Celsius.
    #[schemars(range(min = -100, max = 70))]
    temperature_c: f64,
    /// Anything by which you will know this report again.
    note: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Trip {
    /// Where the trip goes: a city's name in English.
    city: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Now {
    place: Place,
    current: Current,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Outlook {
    place: Place,
    forecast: Forecast,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Recorded {
    /// The observation's number.
    id: u64,
}

#[tool_router]
impl Weather {
    /// A server that asks `api`.
    pub fn new(api: OpenMeteo) -> Self {
        Self { api, tools: Arc::new(Self::tool_router()), prompts: Arc::new(Self::prompt_router()) }
    }

    /// The weather in a city right now.
    #[tool(annotations(read_only_hint = true))]
    async fn get_weather(&self, Parameters(WeatherOf { city, units }): Parameters<WeatherOf>) -> Result<Json<Now>, String> {
        let place = self.api.geocode(&city).await.map_err(Asked::Read.explain())?;
        let current = self.api.current(&place, units).await.map_err(Asked::Read.explain())?;
        Ok(Json(Now { place, current }))
    }

    /// The weather in a city for the next days, of which today is the first. In degrees Celsius.
    #[tool(annotations(read_only_hint = true))]
    async fn get_forecast(&self, Parameters(ForecastOf { city, days }): Parameters<ForecastOf>) -> Result<Json<Outlook>, String> {
        if !(1..=16).contains(&days) {
            return Err(format!("days must be from 1 to 16, not {days}."));
        }
        let place = self.api.geocode(&city).await.map_err(Asked::Read.explain())?;
        let forecast = self.api.forecast(&place, days, Units::Metric).await.map_err(Asked::Read.explain())?;
        Ok(Json(Outlook { place, forecast }))
    }

    /// Records what you observed in a city. Each call adds one observation.
    #[tool(annotations(read_only_hint = false, destructive_hint = false, idempotent_hint = false))]
    async fn report_observation(&self, Parameters(report): Parameters<Report>) -> Result<Json<Recorded>, String> {
        let Report { city, temperature_c, note } = report;
        let place = self.api.geocode(&city).await.map_err(Asked::BeforeWrite.explain())?;
        let id = self.api.report(&place.name, temperature_c, &note).await.map_err(Asked::Write.explain())?;
        Ok(Json(Recorded { id }))
    }
}

#[prompt_router]
impl Weather {
    /// Asks for a packing list that suits the weather of the next days.
    #[prompt]
    async fn packing_list(&self, Parameters(Trip { city }): Parameters<Trip>) -> Result<Vec<PromptMessage>, ErrorData> {
        let place = self.api.geocode(&city).await.map_err(Asked::Read.error())?;
        let forecast = self.api.forecast(&place, 5, Units::Metric).await.map_err(Asked::Read.error())?;
        let (name, unit) = (&place.name, &forecast.temperature_unit);
        let mut text = format!("I am going to {name} for five days. What should I pack? The forecast:\n");
        for day in &forecast.days {
            let degrees = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
            let (low, high, sky) = (degrees(day.low), degrees(day.high), day.sky.unwrap_or("unknown"));
            text.push_str(&format!("{}: {sky}, {low} to {high} {unit}\n", day.date));
        }
        Ok(vec![PromptMessage::new_text(Role::User, text)])
    }
}

#[tool_handler(router = self.tools)]
#[prompt_handler(router = self.prompts)]
impl ServerHandler for Weather {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_prompts().enable_resources().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("weather", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_resources(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let observations = Resource::new(OBSERVATIONS, "observations")
            .with_description("Every observation that was reported, oldest first.")
            .with_mime_type("application/json");
        Ok(ListResourcesResult::with_all_items(vec![observations]))
    }

    async fn read_resource(
        &self,
        ReadResourceRequestParams { uri, .. }: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if uri != OBSERVATIONS {
            return Err(ErrorData::resource_not_found(format!("There is no resource {uri:?}, only {OBSERVATIONS}."), None));
        }
        let observations = self.api.observations().await.map_err(Asked::Read.error())?;
        let json = serde_json::to_string(&observations).map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let contents = ResourceContents::text(json, uri).with_mime_type("application/json");
        Ok(ReadResourceResult::new(vec![contents]).into())
    }
}
