//! Times in which nodes may begin to change (C-D3).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A time that comes back every day or on some days of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// The days on which it opens; empty means every day.
    pub days: BTreeSet<Weekday>,
    /// The hour at which it opens, 0 to 23, by the clock of its time zone.
    pub hour: u8,
    /// The minute of that hour, 0 to 59.
    pub minute: u8,
    /// How many minutes it stays open, whatever the clock does meanwhile.
    pub minutes: u32,
    /// The name of its time zone (`Europe/Stockholm`).
    pub time_zone: String,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(missing_docs, reason = "the names of the days say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}
