//! What the demo says: a story for people, or one JSON object a line for programs.

use std::io::BufRead as _;

use serde_json::Value;

use super::Pids;
use crate::events::Event;
use crate::output::{self, DIM, Format, GOOD, HEAD};

/// Tells the story.
#[derive(Debug, Clone, Copy)]
pub(super) struct Teller {
    format: Format,
    pause: bool,
}

impl Teller {
    pub(super) fn new(format: Format, pause: bool) -> Self {
        Self { format, pause }
    }

    pub(super) fn format(self) -> Format {
        self.format
    }

    /// Begins a step; waits for Enter if asked to.
    pub(super) fn step(self, title: &str, what: &str) {
        if self.format != Format::Table {
            return;
        }
        if self.pause {
            anstream::eprint!("{DIM}Enter to go on{DIM:#} ");
            let _ = std::io::stdin().lock().read_line(&mut String::new());
        }
        anstream::println!("\n{HEAD}{title}{HEAD:#}\n{DIM}{what}{DIM:#}\n");
    }

    /// Says something between events.
    pub(super) fn say(self, text: &str) {
        if self.format == Format::Table {
            anstream::println!("\n{text}");
        }
    }

    /// Shows a command as a person would type it.
    pub(super) fn command(self, arguments: &[&str]) {
        if self.format == Format::Table {
            let words: Vec<_> = arguments
                .iter()
                .map(|word| {
                    if word.contains(' ') {
                        format!("'{word}'")
                    } else {
                        (*word).to_owned()
                    }
                })
                .collect();
            anstream::println!("{GOOD}$ placet {}{GOOD:#}", words.join(" "));
        }
    }

    /// Shows the output of a command.
    pub(super) fn output(self, text: &str) {
        if self.format == Format::Table {
            text.lines().for_each(|line| anstream::println!("{line}"));
        }
    }

    /// Tells an event of the feed.
    pub(super) fn news(self, event: &Event) {
        match self.format {
            // The table at the end of a step says it better.
            Format::Table if event.name == "processes" => {}
            Format::Table => event
                .lines()
                .iter()
                .for_each(|line| anstream::println!("{line}")),
            _ => self.event(&event.to_json()),
        }
    }

    /// Prints one JSON object on a line of its own.
    pub(super) fn event(self, event: &Value) {
        if self.format != Format::Table {
            anstream::println!("{event}");
        }
    }

    /// Shows which processes are others than before.
    pub(super) fn pids(self, before: &Pids, after: &Pids) {
        if self.format != Format::Table {
            return;
        }
        let rows = after.iter().map(|((node, process), pid)| {
            let was = before.get(&(node.clone(), process.clone()));
            let change = match was {
                Some(was) if was == pid => "untouched",
                Some(_) => "restarted",
                None => "started",
            };
            let was = was.map_or_else(String::new, u64::to_string);
            vec![
                node.clone(),
                process.clone(),
                was,
                pid.to_string(),
                change.to_owned(),
            ]
        });
        anstream::println!();
        output::table(
            &["node", "process", "pid before", "pid after", ""],
            rows.collect(),
        );
    }
}
