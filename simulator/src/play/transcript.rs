//! What happened, as people and programs read it.

use std::fmt;

use jiff::Timestamp;
use placet_model::{visible, wrapped};
use serde::Serialize;

/// Where text stands behind a time.
const INDENT: usize = 22;

/// All that happened, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Transcript {
    /// Its lines.
    pub lines: Vec<Line>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When.
    pub time: Timestamp,
    /// What.
    pub text: String,
}

impl Transcript {
    pub(super) fn add(&mut self, time: Timestamp, text: impl Into<String>) {
        self.lines.push(Line {
            time,
            text: text.into(),
        });
    }
}

impl fmt::Display for Transcript {
    /// A time is written once, with all that happened then below it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = None;
        for Line { time, text } in &self.lines {
            let shown = if before == Some(time) {
                String::new()
            } else {
                time.to_string()
            };
            before = Some(time);
            let text = visible(text).to_string();
            let words = text.trim_start();
            let inset = text.len() - words.len();
            let words = wrapped(words, INDENT + inset);
            writeln!(f, "{shown:20}  {:inset$}{words}", "")?;
        }
        Ok(())
    }
}
