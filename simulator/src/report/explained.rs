//! An explanation for a terminal.

use std::fmt::{self, Write as _};

use placet_model::{ProcessAction, visible, wrapped};

use super::text::Paint;
use crate::explain::{Explanation, Link, LinkKind};
use crate::place::Place;

/// Columns of the name of a link; a longer one has its note on the next line.
const NAME: usize = 30;

/// The chain of every reason, one link a line, from the process to the line that is declared.
#[expect(
    clippy::missing_panics_doc,
    reason = "writing to a string does not fail"
)]
pub fn explained(explanation: &Explanation, paint: Paint) -> String {
    let mut text = String::new();
    write(&mut text, explanation, paint).expect("writing to a string does not fail");
    text
}

fn write(f: &mut String, explanation: &Explanation, paint: Paint) -> fmt::Result {
    let Explanation {
        from,
        to,
        node,
        process,
        action,
        chains,
    } = explanation;
    let way = format!("{} -> {}", visible(from), visible(to));
    writeln!(f, "{}", wrapped(&way, 4))?;
    let head = paint.head;
    let fate = fate(*action);
    writeln!(f, "{head}{node}/{process} {fate}{head:#}")?;
    for chain in chains {
        writeln!(f)?;
        for (index, link) in chain.links.iter().enumerate() {
            let arrow = if index == 0 { "  " } else { "<-" };
            write_link(f, arrow, link)?;
        }
    }
    Ok(())
}

fn fate(action: Option<ProcessAction>) -> &'static str {
    match action {
        None => "is not touched",
        Some(ProcessAction::Start) => "starts",
        Some(ProcessAction::Stop) => "stops",
        Some(ProcessAction::Restart) => "restarts",
        Some(ProcessAction::Reload) => "reads its files again",
        Some(ProcessAction::Notify) => "is told",
        Some(ProcessAction::Ask) => "is asked",
    }
}

fn write_link(f: &mut String, arrow: &str, link: &Link) -> fmt::Result {
    let at = link.place.as_ref().and_then(Place::at);
    let (name, note) = match at {
        Some(at) => (at, link.name.clone()),
        None => (link.name.clone(), format!("{}{}", what(link), link.note)),
    };
    let text = format!("  {arrow} {name:NAME$} {note}");
    writeln!(f, "{}", wrapped(text.trim_end(), 7))
}

fn what(link: &Link) -> &'static str {
    match link.kind {
        LinkKind::Process => "process, ",
        LinkKind::Api => "used of it",
        LinkKind::Package => "package ",
        LinkKind::BootImage => "boot image, ",
        LinkKind::Module | LinkKind::Declaration => "",
    }
}
