//! Everything that an effect found, in one list, for formats that know nothing of fleets.

use placet_model::{Answer, visible};

use super::{answer, live_lines, names, voter};
use crate::effect::{Effect, ObstacleKind};
use crate::place::Place;

/// One thing that was found.
pub(super) struct Finding<'a> {
    /// The identifier of a rule of [`RULES`].
    pub(super) rule: &'static str,
    pub(super) level: Level,
    pub(super) message: String,
    pub(super) places: &'a [Place],
    /// True if the older revision has it too.
    pub(super) is_old: bool,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// The roll-out would be blocked or held.
    Error,
    /// It is not known whether it would be.
    Warning,
    /// Nothing waits for it.
    Note,
}

const VETO: &str = "veto";
const LIVE: &str = "live";
const UNKNOWN: &str = "cannot-judge";
const NOTE: &str = "note";

/// The identifier of every kind of findings, and what it is about.
pub(super) const RULES: [(&str, &str); 16] = [
    (
        "declaration",
        "A declaration is not valid, and nothing else can be said.",
    ),
    ("class", "A node belongs to no class, or to several."),
    (
        "facts",
        "What a node says of itself contradicts what is declared of it.",
    ),
    ("feature", "A wanted feature is not offered."),
    (
        "node-type",
        "A package does not apply to the type of a node.",
    ),
    ("order", "The order of packages contradicts what they need."),
    ("package", "A package cannot be had."),
    ("path", "Two packages cannot be laid out in one tree."),
    ("requirement", "A requirement of a package does not hold."),
    ("same-process", "Two modules run as processes of one name."),
    ("symbol", "Nothing defines a symbol that a module imports."),
    (
        "unknown-reference",
        "A declaration names something that does not exist.",
    ),
    (VETO, "A rule objects to the change."),
    (
        LIVE,
        "A live node, or the controller, objects to the change or was not asked.",
    ),
    (
        UNKNOWN,
        "Too little is declared of a node to say what would happen to it.",
    ),
    (NOTE, "Something to know that nothing waits for."),
];

fn of_kind(kind: ObstacleKind) -> &'static str {
    match kind {
        ObstacleKind::Declaration => "declaration",
        ObstacleKind::UnknownReference => "unknown-reference",
        ObstacleKind::Package => "package",
        ObstacleKind::Class => "class",
        ObstacleKind::NodeType => "node-type",
        ObstacleKind::Order => "order",
        ObstacleKind::Path => "path",
        ObstacleKind::SameProcess => "same-process",
        ObstacleKind::Requirement => "requirement",
        ObstacleKind::Symbol => "symbol",
        ObstacleKind::Feature => "feature",
        ObstacleKind::Facts => "facts",
    }
}

/// What stands in the way, then what is not known, then what is worth knowing.
pub(super) fn findings(effect: &Effect) -> Vec<Finding<'_>> {
    let problems = effect.problems.iter().map(|problem| Finding {
        rule: of_kind(problem.kind),
        level: Level::Error,
        message: problem.message.clone(),
        places: &problem.places,
        is_old: problem.is_old,
    });
    let finding = |rule, level, message, places| Finding {
        rule,
        level,
        message,
        places,
        is_old: false,
    };
    let vetoes = effect.vetoes().map(|veto| {
        let (does, level) = match veto.answer {
            Answer::Veto => ("objects".to_owned(), Level::Error),
            Answer::NoAnswer => (format!("gives {}", answer(veto)), Level::Error),
            Answer::Error => ("could not be asked".to_owned(), Level::Warning),
            Answer::Defer | Answer::Accept => (format!("{}s", answer(veto)), Level::Note),
        };
        let message = format!(
            "{} {does} for {}: {}",
            voter(veto),
            names(&veto.nodes),
            visible(&veto.message)
        );
        finding(VETO, level, message, &veto.places[..])
    });
    let unknown = effect.unknown.iter().map(|unknown| {
        let message = format!("node {}: {}", unknown.node, unknown.why);
        finding(UNKNOWN, Level::Warning, message, &unknown.places[..])
    });
    let live = effect.live.iter().flat_map(|live| {
        let level = match (live.objects, &live.missing) {
            (true, _) => Level::Error,
            (false, Some(_)) => Level::Warning,
            (false, None) => Level::Note,
        };
        let lines = live_lines(live).into_iter();
        lines.map(move |line| finding(LIVE, level, line, &[][..]))
    });
    let notes = effect.notes.iter();
    let notes = notes.map(|note| finding(NOTE, Level::Note, note.clone(), &[][..]));
    let known = problems.chain(vetoes).chain(live);
    known.chain(unknown).chain(notes).collect()
}
