//! The effect for a terminal, in 80 columns where names allow.

use std::fmt::{self, Write as _};

use anstyle::Style;
use placet_model::{Answer, visible, wrapped};

use super::{answer, at, live_lines, load, names, obstacle, result, summary, voter};
use crate::effect::{Effect, GroupChange, Outcome};

/// Where a line that is too long goes on.
const INDENT: usize = 4;

/// How the parts of a report are coloured; not at all by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Paint {
    /// Headings.
    pub head: Style,
    /// What stands in the way.
    pub bad: Style,
    /// What is not known.
    pub wait: Style,
    /// What is in order.
    pub good: Style,
}

/// The whole report.
#[expect(
    clippy::missing_panics_doc,
    reason = "writing to a string does not fail"
)]
pub fn text(effect: &Effect, paint: Paint) -> String {
    let mut text = String::new();
    let report = Report { effect, paint };
    report
        .write(&mut text)
        .expect("writing to a string does not fail");
    text
}

/// One change as plain text, as it stands in the Markdown report too.
pub(super) fn group(change: &GroupChange) -> String {
    let mut text = String::new();
    write_group(&mut text, change, Paint::default()).expect("writing to a string does not fail");
    text
}

struct Report<'a> {
    effect: &'a Effect,
    paint: Paint,
}

impl Report<'_> {
    fn write(&self, f: &mut String) -> fmt::Result {
        let Effect {
            from,
            to,
            outcome,
            nodes: _,
            processes: _,
            travel: _,
            changes,
            problems,
            notes,
            unknown,
            left,
            live,
        } = self.effect;
        let way = format!("{} -> {}", visible(from), visible(to));
        writeln!(f, "{}", wrapped(&way, INDENT))?;
        writeln!(f, "{}", wrapped(&summary(self.effect), INDENT))?;
        for change in changes {
            let head = self.paint.head;
            let heading = heading(change);
            writeln!(f, "\n{head}{}{head:#}", wrapped(&heading, 0))?;
            write_group(f, change, self.paint)?;
        }
        let problems: Vec<_> = problems.iter().map(obstacle).collect();
        section(f, "Stands in the way", self.paint.bad, &problems)?;
        let unknown: Vec<_> = unknown.iter().map(super::unknown).collect();
        section(f, "Cannot be judged", self.paint.wait, &unknown)?;
        section(f, "Notes", self.paint.head, notes)?;
        if !left.is_empty() {
            let they_are = if left.len() == 1 { "it is" } else { "they are" };
            let text = format!("{}: no longer declared; left as {they_are}", names(left));
            section(f, "Leave the fleet", self.paint.head, &[text])?;
        }
        if let Some(live) = live {
            let style = if live.objects {
                self.paint.bad
            } else {
                self.paint.head
            };
            section(f, "Live nodes", style, &live_lines(live))?;
        }
        let style = match outcome {
            Outcome::Clean => self.paint.good,
            Outcome::Objection => self.paint.bad,
            Outcome::Unknown => self.paint.wait,
        };
        writeln!(f, "\n{style}{}{style:#}", wrapped(&result(self.effect), 0))
    }
}

/// Which nodes a change is for: `core-1, core-2 (class core)`.
pub(super) fn heading(change: &GroupChange) -> String {
    let classes: Vec<_> = change.classes.iter().map(String::as_str).collect();
    let added = if change.added { ", new" } else { "" };
    let word = if classes.len() == 1 {
        "class"
    } else {
        "classes"
    };
    let nodes = names(&change.nodes);
    format!("{nodes} ({word} {}{added})", classes.join(", "))
}

fn write_group(f: &mut String, change: &GroupChange, paint: Paint) -> fmt::Result {
    write!(f, "{}", change.change_set)?;
    if change.travel.modules > 0 {
        let each = if change.nodes.len() == 1 {
            ""
        } else {
            " for each node"
        };
        writeln!(f, "  fetch    {}{each}", load(change.travel))?;
    }
    for veto in &change.vetoes {
        let whom = if veto.nodes == change.nodes {
            String::new()
        } else {
            format!(" ({})", names(&veto.nodes))
        };
        let place = at(&veto.places);
        let text = format!("{place}{}{whom}: {}", voter(veto), visible(&veto.message));
        let style = match veto.answer {
            Answer::Defer => paint.wait,
            _ => paint.bad,
        };
        let answer = answer(veto);
        let room = " ".repeat(9_usize.saturating_sub(answer.len()));
        writeln!(f, "  {style}{answer}{style:#}{room}{}", wrapped(&text, 11))?;
    }
    if !change.suspended.is_empty() {
        let text = format!(
            "suspended, waits until that is lifted: {}",
            names(&change.suspended)
        );
        writeln!(f, "  {}", wrapped(&text, INDENT))?;
    }
    Ok(())
}

fn section(f: &mut String, title: &str, style: Style, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{style}{title}{style:#}")?;
    lines
        .iter()
        .try_for_each(|line| writeln!(f, "  {}", wrapped(line, INDENT)))
}
