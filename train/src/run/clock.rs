//! Wall-clock time as people read it, and durations.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970, UTC.
pub fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// A time in the form `2026-11-23T08:15:00Z`.
pub fn utc(unix_seconds: u64) -> String {
    let (year, month, day) = date(unix_seconds / 86400);
    let second = unix_seconds % 86400;
    format!("{year}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    // Count from 1 March of year 0, so that the leap day is the last of its year.
    let days = days + 719_468;
    let day_of_era = days % DAYS_IN_400_YEARS;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / (DAYS_IN_400_YEARS - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153; // March is 0
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = days / DAYS_IN_400_YEARS * 400 + year_of_era + u64::from(month >= 10);
    (year, if month < 10 { month + 3 } else { month - 9 }, day)
}

/// A duration as `45s`, `12m 05s`, `3h 07m` or `2d 03h`.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {:02}s", seconds % 60),
        3600..86400 => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {:02}h", hours % 24),
    }
}

/// Reads a duration such as `90s`, `30m`, `7h50m` or `1d12h`.
///
/// # Errors
/// Says what was expected, in words for a user.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("`{text}` is not a duration: expected something like 90s, 30m or 7h50m");
    let mut rest = text;
    let mut seconds = 0u64;
    let mut largest_left = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?;
        let count: u64 = rest[..digits].parse().map_err(|_| expected())?;
        let unit = match rest.as_bytes()[digits] {
            b'd' => 86400,
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return Err(expected()),
        };
        if unit >= largest_left {
            return Err(expected());
        }
        largest_left = unit;
        seconds = count.checked_mul(unit).and_then(|part| seconds.checked_add(part)).ok_or_else(expected)?;
        rest = &rest[digits + 1..];
    }
    if seconds == 0 { Err(expected()) } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_763_886_600, "2025-11-23T08:30:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), expected);
        }
    }

    #[test]
    fn durations_read_back() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("7h50m", 28_200), ("1d12h", 129_600)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in
            ["", "7", "h", "5x", "1m2h", "0s", "-3m", "99999999999999999999d", "9999999999999999999d", "1é"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        let formatted = [0, 45, 60, 725, 11_220, 97_200].map(|s| format_duration(Duration::from_secs(s)));
        assert_eq!(formatted, ["0s", "45s", "1m 00s", "12m 05s", "3h 07m", "1d 03h"]);
    }
}
