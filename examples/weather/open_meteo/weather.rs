//! What the client answers with, fit to be passed on as it is: each type knows
//! its JSON schema.

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

/// The units of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Units {
    /// Degrees Celsius and kilometres per hour.
    #[default]
    Metric,
    /// Degrees Fahrenheit and miles per hour.
    Imperial,
}

impl Units {
    /// The units as query parameters.
    pub fn query(self) -> [(&'static str, &'static str); 2] {
        let (temperature, wind) = match self {
            Self::Metric => ("celsius", "kmh"),
            Self::Imperial => ("fahrenheit", "mph"),
        };
        [("temperature_unit", temperature), ("wind_speed_unit", wind)]
    }
}

/// A place on the map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Place {
    pub name: String,
    /// Some places, such as islands, belong to none.
    pub country: Option<String>,
    pub latitude: f64,
    pub longitude: f64,
    pub timezone: Option<String>,
}

/// The weather right now.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Current {
    /// Local time at the place, to the minute.
    pub time: String,
    pub sky: &'static str,
    pub temperature: f64,
    pub temperature_unit: String,
    pub humidity_percent: f64,
    pub wind_speed: f64,
    pub wind_speed_unit: String,
}

/// The weather of the days to come.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Forecast {
    pub temperature_unit: String,
    pub days: Vec<Day>,
}

/// One day of a forecast. What the models do not reach is left open.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Day {
    pub date: String,
    pub sky: Option<&'static str>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub precipitation_mm: Option<f64>,
}

/// An observation somebody reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    pub id: u64,
    pub city: String,
    pub temperature_c: f64,
    pub note: String,
}

/// A weather code of the WMO, in words.
pub fn sky(code: u8) -> &'static str {
    match code {
        0 => "clear",
        1 => "mostly clear",
        2 => "partly cloudy",
        3 => "overcast",
        45 | 48 => "fog",
        51..=57 => "drizzle",
        61 | 80 => "light rain",
        63 | 65 | 66 | 67 | 81 | 82 => "rain",
        71..=77 | 85 | 86 => "snow",
        95..=99 => "thunderstorm",
        _ => "unknown",
    }
}
