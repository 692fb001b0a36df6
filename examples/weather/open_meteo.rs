//! A client for [Open-Meteo](https://open-meteo.com) whose errors say what is
//! known about delivery, which is what decides whether a call may be repeated.
//!
//! It sets no time limit but for connecting: whoever calls limits an attempt
//! by dropping it.

mod error;
mod weather;

use std::time::Duration;

use reqwest::{RequestBuilder, redirect, retry};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use weather::sky;

pub use error::ApiError;
pub use weather::{Current, Day, Forecast, Observation, Place, Units};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the services are.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// Serves forecasts, and observations where there are any.
    pub weather: String,
    /// Finds places by name.
    pub geocoding: String,
}

impl Endpoints {
    /// The public service. It takes no observations.
    pub fn open_meteo() -> Self {
        Self { weather: "https://api.open-meteo.com".to_owned(), geocoding: "https://geocoding-api.open-meteo.com".to_owned() }
    }

    /// One server for everything, as the stand-in is.
    pub fn single(url: impl Into<String>) -> Self {
        let url = url.into();
        Self { weather: url.clone(), geocoding: url }
    }

    fn are_local(&self) -> bool {
        let local = ["http://127.", "http://[::1]", "http://localhost"];
        let is_local = |url: &str| local.iter().any(|start| url.starts_with(start));
        is_local(&self.weather) && is_local(&self.geocoding)
    }
}

/// The client. Clones share their settings.
#[derive(Clone, Debug)]
pub struct OpenMeteo {
    http: reqwest::Client,
    endpoints: Endpoints,
}

impl OpenMeteo {
    /// A client of the services at `endpoints`; fails where HTTP cannot be set
    /// up at all.
    pub fn new(endpoints: Endpoints) -> Result<Self, reqwest::Error> {
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // Repeating is the caller's business, never done behind its back.
            .retry(retry::never())
            // A fresh connection for each call: a pooled one may have died
            // unnoticed, which would make calls ambiguous that never arrived.
            .pool_max_idle_per_host(0)
            // Nor is a redirected report sent a second time.
            .redirect(redirect::Policy::none());
        if endpoints.are_local() {
            // Whatever proxy the environment names cannot see this machine.
            http = http.no_proxy();
        }
        Ok(Self { http: http.build()?, endpoints })
    }

    /// The best-known place of that name.
    pub async fn geocode(&self, city: &str) -> Result<Place, ApiError> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(default)]
            results: Vec<Place>,
        }
        let query = [("name", city), ("count", "1"), ("language", "en"), ("format", "json")];
        let url = format!("{}/v1/search", self.endpoints.geocoding);
        let found: Found = answer(self.http.get(url).query(&query)).await?;
        let unknown = || ApiError::UnknownCity(city.to_owned());
        found.results.into_iter().next().ok_or_else(unknown)
    }

    /// The weather at a place right now.
    pub async fn current(&self, place: &Place, units: Units) -> Result<Current, ApiError> {
        #[derive(Deserialize)]
        struct Answer {
            current: Values,
            current_units: Symbols,
        }
        #[derive(Deserialize)]
        struct Values {
            time: String,
            temperature_2m: f64,
            relative_humidity_2m: f64,
            wind_speed_10m: f64,
            weather_code: u8,
        }
        #[derive(Deserialize)]
        struct Symbols {
            temperature_2m: String,
            wind_speed_10m: String,
        }
        let variables = "temperature_2m,relative_humidity_2m,wind_speed_10m,weather_code";
        let request = self.weather_at(place, units).query(&[("current", variables)]);
        let Answer { current, current_units } = answer(request).await?;
        Ok(Current {
            time: current.time,
            sky: sky(current.weather_code),
            temperature: current.temperature_2m,
            temperature_unit: current_units.temperature_2m,
            humidity_percent: current.relative_humidity_2m,
            wind_speed: current.wind_speed_10m,
            wind_speed_unit: current_units.wind_speed_10m,
        })
    }

    /// The weather at a place for `days` days, of which today is the first.
    /// The service knows up to 16.
    pub async fn forecast(&self, place: &Place, days: u8, units: Units) -> Result<Forecast, ApiError> {
        #[derive(Deserialize)]
        struct Answer {
            daily: Columns,
            daily_units: Symbols,
        }
        #[derive(Deserialize)]
        struct Columns {
            time: Vec<String>,
            temperature_2m_max: Vec<Option<f64>>,
            temperature_2m_min: Vec<Option<f64>>,
            precipitation_sum: Vec<Option<f64>>,
            weather_code: Vec<Option<u8>>,
        }
        #[derive(Deserialize)]
        struct Symbols {
            temperature_2m_max: String,
        }
        let variables = "temperature_2m_max,temperature_2m_min,precipitation_sum,weather_code";
        let request = self.weather_at(place, units).query(&[("daily", variables), ("forecast_days", &days.to_string())]);
        let Answer { daily, daily_units } = answer(request).await?;
        let at = |column: &[Option<f64>], day: usize| column.get(day).copied().flatten();
        let day = |(day, date)| Day {
            date,
            sky: daily.weather_code.get(day).copied().flatten().map(sky),
            low: at(&daily.temperature_2m_min, day),
            high: at(&daily.temperature_2m_max, day),
            precipitation_mm: at(&daily.precipitation_sum, day),
        };
        Ok(Forecast {
            temperature_unit: daily_units.temperature_2m_max,
            days: daily.time.into_iter().enumerate().map(day).collect(),
        })
    }

    /// Reports an observation and tells its number. Each call that arrives
    /// adds one, so one whose fate is [`ApiError::Ambiguous`] had better not
    /// be repeated.
    pub async fn report(&self, city: &str, temperature_c: f64, note: &str) -> Result<u64, ApiError> {
        #[derive(Deserialize)]
        struct Recorded {
            id: u64,
        }
        let body = json!({ "city": city, "temperature_c": temperature_c, "note": note });
        let url = format!("{}/v1/observations", self.endpoints.weather);
        let Recorded { id } = answer(self.http.post(url).json(&body)).await?;
        Ok(id)
    }

    /// All observations, oldest first.
    pub async fn observations(&self) -> Result<Vec<Observation>, ApiError> {
        let url = format!("{}/v1/observations", self.endpoints.weather);
        answer(self.http.get(url)).await
    }

    fn weather_at(&self, place: &Place, units: Units) -> RequestBuilder {
        let (latitude, longitude) = (place.latitude.to_string(), place.longitude.to_string());
        let query = [("latitude", &*latitude), ("longitude", &*longitude), ("timezone", "auto")];
        let url = format!("{}/v1/forecast", self.endpoints.weather);
        self.http.get(url).query(&query).query(&units.query())
    }
}

/// Sends a request and reads what comes back.
async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, ApiError> {
    let response = error::delivery(request.send().await).await?;
    // Sent and accepted, but the answer is lost: it does not count as a
    // failure to deliver.
    response.json().await.map_err(|error| {
        tracing::debug!(error = %error.without_url(), "the answer could not be read");
        ApiError::Ambiguous
    })
}
