//! The forecast path, with as much of Open-Meteo's query as the example needs.

use axum::{
    Json,
    extract::{Query, rejection::QueryRejection},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    api::Refusal,
    sky::{self, Day, LAST_DAY},
};

/// What is asked for. Parameters not named here are ignored.
#[derive(Deserialize)]
pub struct Ask {
    latitude: f64,
    longitude: f64,
    #[serde(default)]
    current: String,
    #[serde(default)]
    daily: String,
    #[serde(default = "a_week")]
    forecast_days: u8,
    #[serde(default)]
    temperature_unit: Temperature,
    #[serde(default)]
    wind_speed_unit: Wind,
    #[serde(default)]
    timezone: String,
}

fn a_week() -> u8 {
    7
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Temperature {
    #[default]
    Celsius,
    Fahrenheit,
}

impl Temperature {
    fn symbol(self) -> &'static str {
        match self {
            Self::Celsius => "°C",
            Self::Fahrenheit => "°F",
        }
    }

    fn of(self, celsius: f64) -> f64 {
        tenths(match self {
            Self::Celsius => celsius,
            Self::Fahrenheit => celsius * 1.8 + 32.0,
        })
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wind {
    #[default]
    Kmh,
    Ms,
    Mph,
    Kn,
}

impl Wind {
    fn symbol(self) -> &'static str {
        match self {
            Self::Kmh => "km/h",
            Self::Ms => "m/s",
            // Open-Meteo's own spelling.
            Self::Mph => "mp/h",
            Self::Kn => "kn",
        }
    }

    fn of(self, kmh: f64) -> f64 {
        tenths(match self {
            Self::Kmh => kmh,
            Self::Ms => kmh / 3.6,
            Self::Mph => kmh / 1.609_344,
            Self::Kn => kmh / 1.852,
        })
    }
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

pub async fn forecast(ask: Result<Query<Ask>, QueryRejection>) -> Result<Json<Value>, Refusal> {
    let Query(ask) = ask?;
    within("Latitude", ask.latitude, 90.0)?;
    within("Longitude", ask.longitude, 180.0)?;
    if ask.forecast_days > LAST_DAY {
        return Err(Refusal(format!("Forecast days is invalid. Allowed range 0 to {LAST_DAY}. Given {}.", ask.forecast_days)));
    }
    let city = sky::city_at(ask.latitude, ask.longitude);
    // A zone that is named is taken at its word, with the offset of the place:
    // the stand-in knows no other zones.
    let (timezone, offset) = match (ask.timezone.as_str(), city) {
        ("auto", Some(city)) => (city.timezone, city.utc_offset_minutes),
        ("" | "auto" | "GMT" | "UTC", _) => ("GMT", 0),
        (named, city) => (named, city.map_or(0, |city| city.utc_offset_minutes)),
    };
    let mut answer = json!({
        "latitude": ask.latitude,
        "longitude": ask.longitude,
        "generationtime_ms": 0.25,
        "utc_offset_seconds": offset * 60,
        "timezone": timezone,
        "timezone_abbreviation": abbreviation(offset),
        "elevation": city.map_or(0.0, |city| city.elevation),
    });
    let block = current(&ask)?;
    add(&mut answer, "current", block);
    let block = daily(&ask)?;
    add(&mut answer, "daily", block);
    Ok(Json(answer))
}

/// A block of the answer: its variables, and their units.
struct Block {
    values: Map<String, Value>,
    units: Map<String, Value>,
}

impl Block {
    fn starting_with(time: Value) -> Self {
        let mut block = Self { values: Map::new(), units: Map::new() };
        block.put("time", time, "iso8601");
        block
    }

    fn put(&mut self, name: &str, value: impl Into<Value>, unit: &str) {
        self.values.insert(name.to_owned(), value.into());
        self.units.insert(name.to_owned(), unit.into());
    }
}

fn add(answer: &mut Value, name: &str, block: Option<Block>) {
    if let Some(Block { values, units }) = block {
        answer[format!("{name}_units")] = units.into();
        answer[name] = values.into();
    }
}

fn current(ask: &Ask) -> Result<Option<Block>, Refusal> {
    if ask.current.is_empty() {
        return Ok(None);
    }
    let now = sky::day(ask.latitude, ask.longitude, 0);
    let mut block = Block::starting_with(format!("{}T12:00", now.date).into());
    block.put("interval", 900, "seconds");
    let (temperature, wind) = (ask.temperature_unit, ask.wind_speed_unit);
    for name in ask.current.split(',') {
        match name {
            "temperature_2m" => {
                block.put(name, temperature.of(now.temperature), temperature.symbol());
            }
            "relative_humidity_2m" => block.put(name, now.humidity, "%"),
            "wind_speed_10m" => block.put(name, wind.of(now.wind), wind.symbol()),
            "weather_code" => block.put(name, now.code, "wmo code"),
            unknown => return Err(no_variable(unknown)),
        }
    }
    Ok(Some(block))
}

fn daily(ask: &Ask) -> Result<Option<Block>, Refusal> {
    if ask.daily.is_empty() {
        return Ok(None);
    }
    let days: Vec<Day> = (0..ask.forecast_days).map(|number| sky::day(ask.latitude, ask.longitude, number)).collect();
    let each = |value: &dyn Fn(&Day) -> Value| -> Value { days.iter().map(value).collect() };

    let mut block = Block::starting_with(each(&|day| day.date.as_str().into()));
    let temperature = ask.temperature_unit;
    for name in ask.daily.split(',') {
        let (values, unit) = match name {
            "temperature_2m_max" => (each(&|day| temperature.of(day.high).into()), temperature.symbol()),
            "temperature_2m_min" => (each(&|day| temperature.of(day.low).into()), temperature.symbol()),
            "precipitation_sum" => (each(&|day| tenths(day.precipitation).into()), "mm"),
            "weather_code" => (each(&|day| day.code.into()), "wmo code"),
            unknown => return Err(no_variable(unknown)),
        };
        block.put(name, values, unit);
    }
    Ok(Some(block))
}

fn within(name: &str, degrees: f64, most: f64) -> Result<(), Refusal> {
    if (-most..=most).contains(&degrees) {
        return Ok(());
    }
    Err(Refusal(format!("{name} must be in range of -{most} to {most}°. Given: {degrees}.")))
}

fn no_variable(name: &str) -> Refusal {
    Refusal(format!("Cannot initialize a weather variable from invalid String value {name}."))
}

/// `GMT+2`, or `GMT+5:30`.
fn abbreviation(offset_minutes: i32) -> String {
    let (hours, minutes) = (offset_minutes / 60, offset_minutes.abs() % 60);
    match (offset_minutes, minutes) {
        (0, _) => "GMT".to_owned(),
        (_, 0) => format!("GMT{hours:+}"),
        _ => format!("GMT{hours:+}:{minutes:02}"),
    }
}
