//! The effect for a comment on a pull request.

use placet_model::{Answer, Voter, visible, wrapped};

use super::text::{group, heading};
use super::{
    answer, at, count, live_lines, load, names, obstacle, result, summary, unknown, voter,
};
use crate::effect::{Effect, GroupChange, Outcome, Veto};

/// No report is longer, in characters: hosts of git refuse comments above 65,536.
pub const LENGTH_MAX: usize = 60_000;

/// Kept for what stands at the end.
const RESERVE: usize = 500;

/// A report of at most [`LENGTH_MAX`] characters: what stands in the way first, then each change,
/// collapsed. What does not fit is counted.
///
/// Whatever names and messages hold, they stand inside code blocks and cannot end them.
pub fn markdown(effect: &Effect) -> String {
    let mut page = Page::default();
    page.always(&format!("### Placet: {}\n\n", outcome(effect)));
    page.always(&format!("{}\n\n", result(effect)));
    let way = format!("{} -> {}", visible(&effect.from), visible(&effect.to));
    page.always(&block(&format!("{way}\n{}", summary(effect))));
    page.list("Stands in the way", effect.problems.iter().map(obstacle));
    let vetoes = effect.vetoes().map(|veto| {
        let (nodes, voter) = (names(&veto.nodes), voter(veto));
        let answer = match veto.answer {
            Answer::Veto => String::new(),
            _ => format!(" ({})", answer(veto)),
        };
        format!(
            "{}{nodes}: {voter}{answer}: {}",
            at(&veto.places),
            visible(&veto.message)
        )
    });
    let is_rule = |veto: &Veto| veto.by == Voter::Rule;
    let title = if effect.vetoes().all(is_rule) {
        "Rules that object"
    } else {
        "Who does not agree"
    };
    page.list(title, vetoes);
    if let Some(live) = &effect.live {
        page.list("Live nodes", live_lines(live).into_iter());
    }
    page.list("Cannot be judged", effect.unknown.iter().map(unknown));
    page.list("Notes", effect.notes.iter().cloned());
    if !effect.left.is_empty() {
        page.list("Leave the fleet", [names(&effect.left)].into_iter());
    }
    page.changes(&effect.changes);
    page.text
}

fn outcome(effect: &Effect) -> &'static str {
    match effect.outcome {
        Outcome::Clean => "clean",
        Outcome::Objection => "non placet",
        Outcome::Unknown => "cannot tell",
    }
}

/// A text that grows as long as there is room.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) text: String,
    length: usize,
}

impl Page {
    pub(crate) fn always(&mut self, part: &str) {
        self.text.push_str(part);
        self.length += part.chars().count();
    }

    /// Adds a part, if there is room for it.
    pub(crate) fn add(&mut self, part: &str) -> bool {
        let fits = self.length + part.chars().count() + RESERVE <= LENGTH_MAX;
        if fits {
            self.always(part);
        }
        fits
    }

    /// A list of sentences, which takes half of the room that is left at most.
    pub(crate) fn list(&mut self, title: &str, lines: impl Iterator<Item = String>) {
        let mut room = LENGTH_MAX.saturating_sub(self.length + RESERVE) / 2;
        let (mut shown, mut more) = (Vec::new(), 0_usize);
        for line in lines {
            let line = wrapped(&line, 2).to_string();
            let length = line.chars().count() + 1;
            if more == 0 && length <= room {
                room -= length;
                shown.push(line);
            } else {
                more += 1;
            }
        }
        if more > 0 {
            shown.push(format!("and {more} more"));
        }
        if !shown.is_empty() {
            self.always(&format!("**{title}**\n\n{}", block(&shown.join("\n"))));
        }
    }

    /// Texts of one or several lines each in one block, as many as there is room for.
    pub(crate) fn blocks(&mut self, title: &str, texts: &[String]) {
        let mut room = LENGTH_MAX.saturating_sub(self.length + RESERVE);
        let fits = texts.iter().take_while(|text| {
            let length = text.chars().count();
            let fits = length <= room;
            room = room.saturating_sub(length);
            fits
        });
        let shown: Vec<_> = fits.map(String::as_str).collect();
        let more = texts.len() - shown.len();
        let more = (more > 0).then(|| format!("and {more} more"));
        let text = shown.concat() + &more.unwrap_or_default();
        if !text.is_empty() {
            self.always(&format!("**{title}**\n\n{}", block(&text)));
        }
    }

    fn changes(&mut self, changes: &[GroupChange]) {
        let mut left_out = 0_usize;
        for change in changes {
            if left_out > 0 || !self.add(&details(change)) {
                left_out += 1;
            }
        }
        if left_out > 0 {
            self.always(&format!(
                "{left_out} more changes are in the text and JSON reports.\n"
            ));
        }
    }
}

fn details(change: &GroupChange) -> String {
    let modules = count(change.change_set.modules.len(), "module", "modules");
    let processes = count(change.change_set.processes.len(), "process", "processes");
    format!(
        "<details><summary>{}: {modules}, {processes}; {} to fetch</summary>\n\n{}</details>\n\n",
        escaped(&heading(change)),
        load(change.travel),
        block(&group(change))
    )
}

/// A code block whose fence is longer than anything inside.
pub(crate) fn block(text: &str) -> String {
    let longest = text.split(|it| it != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}\n\n", text.trim_end())
}

/// Text inside HTML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
