//! Effects, shown.

pub(crate) mod explained;
mod findings;
pub(crate) mod json;
pub(crate) mod junit;
pub(crate) mod markdown;
pub(crate) mod sarif;
pub(crate) mod text;

use std::collections::BTreeSet;

use placet_model::{NodeName, VerdictKind, Voter, few, visible};

use crate::effect::{Effect, Obstacle, Outcome, Processes, Travel, UnknownNode, Veto};
use crate::live::Live;
use crate::place::Place;

/// Names that a line shows before it counts the rest.
const NAMES_SHOWN: usize = 8;

/// `core-1, core-2 and 7 more`.
pub(crate) fn names(nodes: &BTreeSet<NodeName>) -> String {
    few(nodes, NAMES_SHOWN)
}

/// `classes.yaml:7:5: ` if it is known where the text comes from.
pub(crate) fn at(places: &[Place]) -> String {
    places
        .first()
        .and_then(Place::at)
        .map_or_else(String::new, |place| place + ": ")
}

/// A problem in one sentence.
fn obstacle(it: &Obstacle) -> String {
    let old = if it.is_old { " (as before)" } else { "" };
    format!("{}{}{old}", at(&it.places), it.message)
}

/// A node that cannot be judged, in one sentence.
fn unknown(it: &UnknownNode) -> String {
    format!("{}node {}: {}", at(&it.places), it.node, it.why)
}

/// `1 node`, `2 nodes`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `2 processes restart, 1 is asked`; empty if none is touched.
fn touched(processes: &Processes) -> String {
    let Processes {
        restarted,
        reloaded,
        told,
        asked,
        started,
        stopped,
    } = processes;
    let parts = [
        (restarted, "restarts", "restart"),
        (reloaded, "reloads", "reload"),
        (told, "is told", "are told"),
        (asked, "is asked", "are asked"),
        (started, "starts", "start"),
        (stopped, "stops", "stop"),
    ];
    let mut text = Vec::new();
    for (number, one, many) in parts {
        if *number > 0 {
            let verb = if *number == 1 { one } else { many };
            let noun = match (text.is_empty(), *number) {
                (false, _) => "",
                (true, 1) => "process ",
                (true, _) => "processes ",
            };
            text.push(format!("{number} {noun}{verb}"));
        }
    }
    text.join(", ")
}

/// `3 modules, 12.1 kB`.
fn load(travel: Travel) -> String {
    let modules = usize::try_from(travel.modules).unwrap_or(usize::MAX);
    format!(
        "{}, {}",
        count(modules, "module", "modules"),
        bytes(travel.bytes)
    )
}

/// Whole numbers only, so that the same bytes give the same text everywhere.
pub(crate) fn bytes(number: u64) -> String {
    let units = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match units.into_iter().find(|(_, unit)| number >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", number / unit, number % unit * 10 / unit),
        None => format!("{number} bytes"),
    }
}

/// What it comes to, in one sentence.
fn result(effect: &Effect) -> String {
    let rules = (effect.objections()).filter(|it| it.by == Voter::Rule);
    let rules = rules.count();
    let logic = effect.objections().count() - rules;
    match effect.outcome {
        Outcome::Clean if effect.changes.is_empty() => {
            "No effect: nothing changes on any node.".to_owned()
        }
        Outcome::Clean if effect.live.is_some() => {
            "Nothing breaks, and neither a rule nor a live node objects.".to_owned()
        }
        Outcome::Clean => "Nothing breaks, and no rule objects.".to_owned(),
        Outcome::Unknown if !effect.problems.is_empty() => "Nothing can be said.".to_owned(),
        Outcome::Unknown if effect.unknown.is_empty() => {
            let live = effect.live.as_ref();
            let what = if live.is_some_and(|it| it.missing.is_some()) {
                "the live nodes were not asked"
            } else {
                "some logic could not be asked"
            };
            format!("Nothing that is known breaks, but {what}.")
        }
        Outcome::Unknown => format!(
            "Nothing that is known breaks, but nothing can be said about {}.",
            count(effect.unknown.len(), "node", "nodes")
        ),
        Outcome::Objection => {
            let problems = effect.problems.len();
            let broken = (problems > 0).then(|| {
                let text = count(problems, "problem blocks", "problems block");
                format!("{text} the roll-out")
            });
            let objecting = (rules > 0).then(|| count(rules, "rule objects", "rules object"));
            let logic = (logic > 0).then(|| {
                let processes = count(logic, "process objects", "processes object");
                format!("the logic of {processes}")
            });
            let live = effect.live.as_ref().filter(|live| live.objects);
            let live = live.map(|_| "the live fleet objects".to_owned());
            let parts = broken.into_iter().chain(objecting).chain(logic);
            let parts: Vec<_> = parts.chain(live).collect();
            format!("{}.", parts.join("; "))
        }
    }
}

/// What the live nodes say, line by line.
fn live_lines(live: &Live) -> Vec<String> {
    if let Some(why) = &live.missing {
        return vec![format!("nobody was asked: {why}")];
    }
    let lines = live.problems.iter().chain(&live.lines);
    lines.chain([&live.summary]).cloned().collect()
}

/// Who does not agree: `rule calm of class core`, `logic of chatd`.
fn voter(veto: &Veto) -> String {
    let rule = visible(&veto.rule);
    match veto.by {
        Voter::Logic => format!("logic of {rule}"),
        _ => format!("rule {rule} of class {}", visible(&veto.class)),
    }
}

/// What that comes to, in a word or two.
fn answer(veto: &Veto) -> String {
    VerdictKind::from(veto.answer).to_string()
}

/// How many nodes change, and what that comes to.
fn summary(effect: &Effect) -> String {
    let counts = &effect.nodes;
    let mut text = format!(
        "{} of {} {}",
        counts.changed,
        count(counts.total, "node", "nodes"),
        if counts.changed == 1 {
            "changes"
        } else {
            "change"
        }
    );
    let touched = touched(&effect.processes);
    if !touched.is_empty() {
        text = format!("{text}: {touched}");
    }
    if counts.changed > 0 {
        text = format!("{text}; {} travel", bytes(effect.travel.bytes));
    }
    text
}
