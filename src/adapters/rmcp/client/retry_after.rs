//! The `Retry-After` header (RFC 9110, 10.2.3): seconds, or a date.

use std::time::Duration;

/// The delay that the header's value names, `now` being the time since 1970. A date that is past is no delay at all; `None`
/// for what is neither.
pub(super) fn parse(value: &str, now: Duration) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    Some(date(value)?.saturating_sub(now))
}

/// The time between 1970 and a date like `Sun, 06 Nov 1994 08:49:37 GMT`: the one form that a server may send.
fn date(value: &str) -> Option<Duration> {
    let (_weekday, rest) = value.strip_suffix(" GMT")?.split_once(", ")?;
    let mut parts = rest.split(' ');
    let (day, month, year) = (number(parts.next()?, 31)?, parts.next()?, number(parts.next()?, 9999)?);
    let mut clock = parts.next().filter(|_| parts.next().is_none())?.split(':');
    let mut unit = |most| number(clock.next()?, most);
    let (hour, minute, second) = (unit(23)?, unit(59)?, unit(60)?);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = u64::try_from(months.iter().position(|name| *name == month)?).ok()?;
    let days = days_before(year, month)?.checked_add(day.checked_sub(1)?)?;
    Some(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

fn number(digits: &str, most: u64) -> Option<u64> {
    let number = digits.bytes().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok())??;
    (number <= most).then_some(number)
}

/// The days from 1970 to the first of a month, which is counted from 0. `None` before 1970.
fn days_before(year: u64, month: u64) -> Option<u64> {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap_years = |year: u64| year / 4 - year / 100 + year / 400;
    let since = year.checked_sub(1970)?;
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let leap_day = u64::from(is_leap && month > 1);
    let within = BEFORE.get(usize::try_from(month).ok()?)?;
    Some(since * 365 + leap_years(year - 1) - leap_years(1969) + within + leap_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOV_1994: u64 = 784_111_777;

    #[test]
    fn seconds_and_dates_are_delays() {
        let of = |value, now| parse(value, Duration::from_secs(now)).map(|delay| delay.as_secs());
        assert_eq!(of(" 120 ", 9), Some(120));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT", NOV_1994 - 90), Some(90));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT", NOV_1994 + 90), Some(0));
        assert_eq!(of("Thu, 01 Jan 1970 00:00:00 GMT", 0), Some(0));
        assert_eq!(of("Tue, 29 Feb 2000 00:00:00 GMT", 0), Some(951_782_400));
        assert_eq!(of("Wed, 01 Mar 2028 00:00:00 GMT", 0), Some(1_835_481_600));
        assert_eq!(of("Mon, 01 Mar 2100 00:00:00 GMT", 0), Some(4_107_542_400));
    }

    #[test]
    fn anything_else_is_no_delay() {
        let odd = [
            "",
            "-1",
            "+ 1",
            "1.5",
            "soon",
            "Sun, 06 Nov 1994 08:49:37",
            "06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Now 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37 pm GMT",
        ];
        for value in odd {
            assert_eq!(parse(value, Duration::ZERO), None, "{value}");
        }
    }
}
