//! When nodes may begin to change (C-D3).
//!
//! Time zones come from the database that is built in, so that the same plan comes out everywhere.

use jiff::civil::{Date, DateTime};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Span, Timestamp};
use placet_model::{Weekday, Window};

/// A window is open for a week at most, and opens once a week at least.
const DAYS: i64 = 8;

/// When nodes may begin to change next: `now` while a window is open or there is none to wait for;
/// none if no window ever opens.
///
/// A window opens at the time that the clock of its zone shows. On the day on which the clock skips
/// that time, it opens as much later as is skipped; on the day on which the clock shows it twice,
/// the first time. It stays open for its minutes, whatever the clock does meanwhile.
pub fn window_opens(windows: &[Window], now: Timestamp) -> Option<Timestamp> {
    if windows.is_empty() {
        return Some(now);
    }
    windows
        .iter()
        .flat_map(|window| openings(window, now))
        .filter(|(_, closes)| *closes > now)
        .map(|(opens, _)| opens.max(now))
        .min()
}

/// The times around `now` from and until which a window is open.
fn openings(window: &Window, now: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let Ok(zone) = TimeZoneDatabase::bundled().get(&window.time_zone) else {
        return Vec::new();
    };
    let today = zone.to_datetime(now).date();
    let days = (-DAYS..=DAYS).filter_map(|days| today.checked_add(Span::new().days(days)).ok());
    days.filter(|day| is_on(window, *day))
        .filter_map(|day| opening(window, day, &zone))
        .collect()
}

fn is_on(window: &Window, day: Date) -> bool {
    let weekday = match day.weekday() {
        jiff::civil::Weekday::Monday => Weekday::Monday,
        jiff::civil::Weekday::Tuesday => Weekday::Tuesday,
        jiff::civil::Weekday::Wednesday => Weekday::Wednesday,
        jiff::civil::Weekday::Thursday => Weekday::Thursday,
        jiff::civil::Weekday::Friday => Weekday::Friday,
        jiff::civil::Weekday::Saturday => Weekday::Saturday,
        jiff::civil::Weekday::Sunday => Weekday::Sunday,
    };
    window.days.is_empty() || window.days.contains(&weekday)
}

fn opening(window: &Window, day: Date, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
    let hour = i8::try_from(window.hour).ok()?;
    let minute = i8::try_from(window.minute).ok()?;
    let clock = DateTime::new(day.year(), day.month(), day.day(), hour, minute, 0, 0).ok()?;
    let opens = zone.to_ambiguous_timestamp(clock).compatible().ok()?;
    let closes = opens.checked_add(SignedDuration::from_mins(window.minutes.into()));
    Some((opens, closes.unwrap_or(Timestamp::MAX)))
}
