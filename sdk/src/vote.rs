//! What a process says of a proposal.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// An answer to a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote(Said);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Accept,
    Veto { code: String, message: String },
    Defer { until: SystemTime, message: String },
}

impl Vote {
    /// The change may be made. This is a promise: there is no second question.
    pub fn accept() -> Self {
        Self(Said::Accept)
    }

    /// Not unless a person decides otherwise.
    ///
    /// `code` is short and for programs: at most 64 letters, digits and `-_./`. `message` is for
    /// people: at most 1,000 characters.
    pub fn veto(code: &str, message: &str) -> Self {
        Self(Said::Veto {
            code: code.to_owned(),
            message: message.to_owned(),
        })
    }

    /// Ask again after `pause`, which is at most 24 hours.
    pub fn defer(pause: Duration, message: &str) -> Self {
        Self(Said::Defer {
            until: SystemTime::now() + pause,
            message: message.to_owned(),
        })
    }

    pub(crate) fn into_parameters(self, change_digest: &str) -> Value {
        match self.0 {
            Said::Accept => json!({"changeDigest": change_digest, "answer": "accept"}),
            Said::Veto { code, message } => json!({
                "changeDigest": change_digest,
                "answer": "veto",
                "code": code,
                "message": message,
            }),
            Said::Defer { until, message } => json!({
                "changeDigest": change_digest,
                "answer": "defer",
                "until": rfc3339(until),
                "message": message,
            }),
        }
    }
}

/// Writes a time as `2026-01-31T12:00:00Z`. A time before 1970 becomes 1970.
fn rfc3339(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day since 1970, counted in eras of 400 years that begin in March, so
/// that the leap day is the last one of its year.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::rfc3339;

    #[test]
    fn times_are_written_as_calendars_have_them() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
