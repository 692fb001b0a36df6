//! The paths: Open-Meteo's two, the observations, and the statistics.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    deck::Deck,
    faults::{Dealer, arrive, deal},
    forecast::forecast,
    sky::CITIES,
    world::{Observation, Report, Stats, World},
};

pub const SEARCH: &str = "/v1/search";
pub const FORECAST: &str = "/v1/forecast";
pub const OBSERVATIONS: &str = "/v1/observations";

/// Far more than a report needs.
const LARGEST_BODY: usize = 16 * 1024;

/// All routes. Only forecasts and reports get the decks, in this order: what
/// only looks things up stays clean, so that effects can be counted reliably.
pub fn router(world: &Arc<World>, decks: Option<(Deck, Deck)>) -> Router {
    let (forecasts, reports) = decks.unzip();
    let api = Router::new()
        .route(SEARCH, get(search))
        .route(FORECAST, faulty(get(forecast), world, forecasts))
        .route(OBSERVATIONS, faulty(post(report), world, reports).get(observations))
        .route_layer(from_fn_with_state(world.clone(), arrive));
    api.route("/stats", get(stats))
        .fallback(async || failure(StatusCode::NOT_FOUND, "Not Found"))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(world.clone())
}

type Routes = MethodRouter<Arc<World>>;

fn faulty(routes: Routes, world: &Arc<World>, deck: Option<Deck>) -> Routes {
    match deck {
        Some(deck) => {
            let dealer = Dealer { world: world.clone(), deck: Arc::new(Mutex::new(deck)) };
            routes.route_layer(from_fn_with_state(dealer, deal))
        }
        None => routes,
    }
}

/// A failure in the words of Open-Meteo.
pub fn failure(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "error": true, "reason": reason }))).into_response()
}

/// A call that makes no sense: always a 400, as with Open-Meteo.
pub struct Refusal(pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        failure(StatusCode::BAD_REQUEST, &self.0)
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self(rejection.body_text())
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.body_text())
    }
}

/// A search for places. Language and format are not looked at: names are in
/// English and answers in JSON.
#[derive(Deserialize)]
pub struct Search {
    name: String,
    #[serde(default = "ten")]
    count: usize,
}

fn ten() -> usize {
    10
}

async fn search(query: Result<Query<Search>, QueryRejection>) -> Result<Json<Value>, Refusal> {
    let Query(Search { name, count }) = query?;
    if !(1..=100).contains(&count) {
        return Err(Refusal("Parameter count must be between 1 and 100.".to_owned()));
    }
    let wanted = name.trim().to_lowercase();
    // As with Open-Meteo, two letters match exactly and three begin to match
    // more loosely, here as a prefix.
    let matches = |city: &str| match wanted.chars().count() {
        0 | 1 => false,
        2 => city == wanted,
        _ => city.starts_with(&wanted),
    };
    let found: Vec<_> = CITIES.iter().filter(|city| matches(&city.name.to_lowercase())).take(count).collect();

    let mut answer = json!({ "generationtime_ms": 0.25 });
    // Where nothing matches, Open-Meteo leaves the key out.
    if !found.is_empty() {
        answer["results"] = json!(found);
    }
    Ok(Json(answer))
}

async fn report(
    State(world): State<Arc<World>>,
    body: Result<Json<Report>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let Json(report) = body?;
    if report.city.trim().is_empty() {
        return Err(Refusal("Parameter city must not be empty.".to_owned()));
    }
    if !(-100.0..=70.0).contains(&report.temperature_c) {
        let given = report.temperature_c;
        return Err(Refusal(format!("Parameter temperature_c must be in range of -100 to 70. Given: {given}.")));
    }
    let id = world.record(report);
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

async fn observations(State(world): State<Arc<World>>) -> Json<Vec<Observation>> {
    Json(world.observations())
}

async fn stats(State(world): State<Arc<World>>) -> Json<Stats> {
    Json(world.stats())
}
