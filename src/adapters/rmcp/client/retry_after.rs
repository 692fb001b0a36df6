//! The `Retry-After` header (RFC 9110, 10.2.3): seconds, or a date.

use std::time::{Duration, SystemTime};

/// The delay that the header's value names. A date that is past is no delay at all; `None` for what is neither.
pub(super) fn parse(value: &str, now: impl FnOnce() -> SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    Some(httpdate::parse_http_date(value).ok()?.duration_since(now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOV_1994: u64 = 784_111_777;

    #[test]
    fn seconds_and_dates_are_delays() {
        let of = |value, now| parse(value, || SystemTime::UNIX_EPOCH + Duration::from_secs(now)).map(|delay| delay.as_secs());
        assert_eq!(of(" 120 ", 9), Some(120));
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(of(date, NOV_1994 - 90), Some(90), "{date}");
            assert_eq!(of(date, NOV_1994 + 90), Some(0), "{date}");
        }
    }

    #[test]
    fn anything_else_is_no_delay() {
        for value in ["", "-1", "1.5", "soon", "Sun, 06 Nov 1994 08:49:37", "Sun, 32 Nov 1994 08:49:37 GMT"] {
            assert_eq!(parse(value, || SystemTime::UNIX_EPOCH), None, "{value}");
        }
    }
}
