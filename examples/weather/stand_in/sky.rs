//! Cities, and weather made up from coordinates: the same place always has the
//! same week, so two answers can be compared.

use fastrand::Rng;
use serde::Serialize;

/// A city, in the fields of Open-Meteo's geocoding.
#[derive(Serialize)]
pub struct City {
    pub id: u32,
    pub name: &'static str,
    pub latitude: f64,
    pub longitude: f64,
    pub elevation: f64,
    pub country_code: &'static str,
    pub country: &'static str,
    pub timezone: &'static str,
    /// In June, where the stand-in's week lies.
    #[serde(skip)]
    pub utc_offset_minutes: i32,
}

const fn city(
    (id, name): (u32, &'static str),
    (latitude, longitude, elevation): (f64, f64, f64),
    (country_code, country): (&'static str, &'static str),
    (timezone, utc_offset_minutes): (&'static str, i32),
) -> City {
    City { id, name, latitude, longitude, elevation, country_code, country, timezone, utc_offset_minutes }
}

/// Everywhere there is.
#[rustfmt::skip] // one city per line
pub static CITIES: [City; 12] = [
    city((2950159, "Berlin"), (52.52437, 13.41053, 74.0), ("DE", "Germany"), ("Europe/Berlin", 120)),
    city((2988507, "Paris"), (48.85341, 2.3488, 42.0), ("FR", "France"), ("Europe/Paris", 120)),
    city((2643743, "London"), (51.50853, -0.12574, 25.0), ("GB", "United Kingdom"), ("Europe/London", 60)),
    city((3117735, "Madrid"), (40.4165, -3.70256, 665.0), ("ES", "Spain"), ("Europe/Madrid", 120)),
    city((3143244, "Oslo"), (59.91273, 10.74609, 26.0), ("NO", "Norway"), ("Europe/Oslo", 120)),
    city((3413829, "Reykjavik"), (64.13548, -21.89541, 37.0), ("IS", "Iceland"), ("Atlantic/Reykjavik", 0)),
    city((5128581, "New York"), (40.71427, -74.00597, 10.0), ("US", "United States"), ("America/New_York", -240)),
    city((3936456, "Lima"), (-12.04318, -77.02824, 154.0), ("PE", "Peru"), ("America/Lima", -300)),
    city((184745, "Nairobi"), (-1.28333, 36.81667, 1684.0), ("KE", "Kenya"), ("Africa/Nairobi", 180)),
    city((1275339, "Mumbai"), (19.07283, 72.88261, 8.0), ("IN", "India"), ("Asia/Kolkata", 330)),
    city((1850147, "Tokyo"), (35.6895, 139.69171, 44.0), ("JP", "Japan"), ("Asia/Tokyo", 540)),
    city((2147714, "Sydney"), (-33.86785, 151.20732, 58.0), ("AU", "Australia"), ("Australia/Sydney", 600)),
];

/// The city a pair of coordinates belongs to, if any is near.
pub fn city_at(latitude: f64, longitude: f64) -> Option<&'static City> {
    CITIES.iter().find(|city| (city.latitude - latitude).abs() < 0.5 && (city.longitude - longitude).abs() < 0.5)
}

/// The days there are weather for, as many as Open-Meteo forecasts.
pub const LAST_DAY: u8 = 16;

/// The weather of one day, in metric units.
pub struct Day {
    pub date: String,
    pub low: f64,
    pub high: f64,
    pub precipitation: f64,
    pub code: u8,
    /// Around noon.
    pub temperature: f64,
    pub humidity: u8,
    pub wind: f64,
}

/// The weather of a day at a place, where day 0 is the stand-in's today.
///
/// Today is always the first of June 2026: a clock would only make answers
/// differ from one run to the next.
pub fn day(latitude: f64, longitude: f64, day: u8) -> Day {
    // Hundredths of a degree, about a kilometre: a place and its rounded
    // coordinates share their weather.
    let grid = |degrees: f64| (degrees * 100.0).round() as i64 as u64;
    let place = grid(latitude).wrapping_mul(100_003).wrapping_add(grid(longitude));
    let mut rng = Rng::with_seed(place.wrapping_mul(31).wrapping_add(day.into()));
    let mut between = |low: f64, high: f64| low + (high - low) * rng.f64();

    // Warm at the equator, freezing at the poles.
    let low = 24.0 - latitude.abs() * 0.4 + between(-4.0, 4.0);
    let high = low + between(3.0, 12.0);
    let precipitation = between(-12.0, 12.0).max(0.0);
    let code = match precipitation {
        wet if wet > 6.0 => 63,
        wet if wet > 0.0 => 61,
        _ => [0, 1, 2, 3, 45][between(0.0, 4.99) as usize],
    };
    // The same codes for snow are ten higher.
    let code = if code > 60 && high < 0.0 { code + 10 } else { code };
    Day {
        date: format!("2026-06-{:02}", day + 1),
        temperature: low + (high - low) * between(0.6, 1.0),
        low,
        high,
        precipitation,
        code,
        humidity: between(35.0, 95.0) as u8,
        wind: between(0.0, 40.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weather_makes_sense_everywhere() {
        for latitude in -90..=90 {
            for number in 0..LAST_DAY {
                let day = day(f64::from(latitude), 10.0, number);
                assert!(day.low <= day.temperature && day.temperature <= day.high);
                assert!((-30.0..=45.0).contains(&day.low) && day.humidity <= 100);
                assert_eq!(day.precipitation > 0.0, day.code > 45);
            }
        }
    }
}
