//! Two revisions of a fleet, compared.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Answer, Desired, Digest, NodeFacts, NodeName, visible};
use placet_planner::{Catalog, Problem, Unresolved};

use crate::changes::Comparison;
use crate::counsel::Files;
use crate::effect::{
    Counts, Effect, GroupChange, Obstacle, ObstacleKind, Outcome, Processes, Travel, UnknownNode,
    Veto,
};
use crate::facts::{Known, known};
use crate::place::{Place, Places, of_reference};
use crate::undefined::{Definer, Undefined};

/// One revision: what is declared, and the packages that it names.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// What people know it by.
    pub revision: String,
    /// The declarations.
    pub desired: Desired,
    /// The packages.
    pub catalog: Catalog,
    /// Those of its nodes that it does not declare itself. Where no class claims one, it is left out.
    pub strangers: BTreeSet<NodeName>,
    /// What nodes announced of themselves, where that is known.
    pub announced: BTreeMap<NodeName, NodeFacts>,
    /// The manifests that nodes really run, where that is known; of the older revision alone.
    pub running: BTreeMap<NodeName, Option<Digest>>,
}

/// Why nothing can be said: packages that could not be had. A manifest without them would look as
/// if their modules were to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknowable {
    /// Each of them.
    pub reasons: Vec<Missing>,
}

/// A package that could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// True if the newer revision names it, false if the older one does.
    pub is_new: bool,
    /// Which package, of which revision, and why not, as a sentence.
    pub message: String,
    /// Where it is named.
    pub places: Vec<Place>,
}

/// What going from one revision to the other would do to each node. `files` gives what the logic of
/// processes needs.
///
/// # Errors
///
/// If a package of either revision could not be had. Where the new revision names one that is there
/// and that no listed key has signed, the answer is known: it is refused.
pub fn compare(from: &Side, to: &Side, files: &mut Files<'_>) -> Result<Effect, Unknowable> {
    let (old, new) = (known(from), known(to));
    let untrusted = untrusted(to);
    require_packages(&[(from, &old, false), (to, &new, true)], &untrusted)?;
    if !untrusted.is_empty() {
        return Ok(refused(from, to, &untrusted));
    }
    let unknown = unknown(from, to, &old, &new);
    let places = Places {
        from,
        to,
        old: &old,
        new: &new,
    };
    let comparison = Comparison {
        running: &from.running,
        old: &old,
        new: &new,
        places: &places,
    };
    let changes = comparison.changes(files);
    let mut effect = Effect {
        from: from.revision.clone(),
        to: to.revision.clone(),
        outcome: Outcome::Clean,
        nodes: counts(&changes, to, &unknown),
        processes: Processes::default(),
        travel: Travel::default(),
        problems: obstacles(&old, &new, &places),
        notes: comparison
            .running_notes(&from.revision)
            .into_iter()
            .chain(notes(&new))
            .collect(),
        left: left(&from.desired, &to.desired),
        unknown,
        changes,
        live: None,
    };
    for change in &effect.changes {
        effect.processes.add(&change.change_set, change.nodes.len());
        effect.travel.add(change.travel, change.nodes.len());
    }
    effect.outcome = outcome(&effect);
    Ok(effect)
}

/// That every package of the revisions could be had, but for those of the newer one (`true`) in
/// `refused`.
pub(crate) fn require_packages(
    sides: &[(&Side, &Known, bool)],
    refused: &BTreeMap<&str, &str>,
) -> Result<(), Unknowable> {
    let reasons: Vec<_> = sides
        .iter()
        .flat_map(|&(side, known, is_new)| {
            let is_refused = |why: &str| is_new && refused.values().any(|it| *it == why);
            let missing = missing_packages(side, known, is_refused).into_iter();
            missing.map(move |(reference, why)| Missing {
                is_new,
                message: format!("in {}: {why}", side.revision),
                places: of_reference(&side.desired, &reference),
            })
        })
        .collect();
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(Unknowable { reasons })
    }
}

/// The reference of each package that could not be had, and why, but for those that are refused.
fn missing_packages(
    side: &Side,
    known: &Known,
    is_refused: impl Fn(&str) -> bool,
) -> Vec<(String, String)> {
    let named = known.target.problems.iter();
    let named = named.filter_map(|problem| match problem {
        Problem::Package { reference, why } if !is_refused(why) => {
            Some((reference.clone(), problem.to_string()))
        }
        _ => None,
    });
    // Of packages that could not be had no node can be told what it is.
    let lacking = side.catalog.entries.iter();
    let lacking = lacking.filter(|_| !known.unknown.is_empty());
    let lacking = lacking.filter_map(|(reference, entry)| {
        let why = entry.as_ref().err()?.why();
        let text = format!("package {}: {why}", visible(reference));
        (!is_refused(why)).then(|| (reference.clone(), text))
    });
    named.chain(lacking).collect()
}

/// The packages of a revision that no listed key has signed, by reference, and why they are refused.
fn untrusted(side: &Side) -> BTreeMap<&str, &str> {
    let entries = side.catalog.entries.iter();
    let untrusted = entries.filter_map(|(reference, entry)| match entry {
        Err(Unresolved::Untrusted(why)) => Some((reference.as_str(), why.as_str())),
        _ => None,
    });
    untrusted.collect()
}

/// A revision of which nothing is planned.
fn refused(from: &Side, to: &Side, untrusted: &BTreeMap<&str, &str>) -> Effect {
    let problems = untrusted.iter().map(|(reference, why)| Obstacle {
        kind: ObstacleKind::Package,
        message: visible(why).to_string(),
        is_old: false,
        places: of_reference(&to.desired, reference),
        undefined: None,
    });
    Effect {
        from: from.revision.clone(),
        to: to.revision.clone(),
        outcome: Outcome::Objection,
        nodes: counts(&[], to, &[]),
        processes: Processes::default(),
        travel: Travel::default(),
        changes: Vec::new(),
        problems: problems.collect(),
        notes: vec!["no node changes: packages are verified before anything is planned".to_owned()],
        unknown: Vec::new(),
        left: left(&from.desired, &to.desired),
        live: None,
    }
}

fn outcome(effect: &Effect) -> Outcome {
    let is_unheard = |veto: &Veto| veto.answer == Answer::Error;
    if !effect.problems.is_empty() || effect.objections().next().is_some() {
        Outcome::Objection
    } else if effect.unknown.is_empty() && !effect.vetoes().any(is_unheard) {
        Outcome::Clean
    } else {
        Outcome::Unknown
    }
}

fn counts(changes: &[GroupChange], to: &Side, unknown: &[UnknownNode]) -> Counts {
    let count = |added: bool| {
        let of_kind = changes.iter().filter(|change| !added || change.added);
        of_kind.map(|change| change.nodes.len()).sum()
    };
    let total = to.desired.nodes.len();
    let differing = count(false);
    Counts {
        total,
        changed: differing,
        added: count(true),
        unchanged: total.saturating_sub(differing + unknown.len()),
    }
}

fn obstacles(old: &Known, new: &Known, places: &Places<'_>) -> Vec<Obstacle> {
    let before: BTreeSet<_> = old.target.problems.iter().collect();
    let obstacles = new.target.problems.iter().map(|problem| {
        let is_old = before.contains(problem);
        let undefined = match problem {
            Problem::Symbols(missing) => Some(places.undefined(missing)),
            _ => None,
        };
        Obstacle {
            kind: problem.into(),
            message: message(problem, undefined.as_ref(), &places.from.revision),
            is_old,
            places: places.of_problem(problem, undefined.as_ref(), is_old),
            undefined,
        }
    });
    obstacles.collect()
}

/// What the plan says, and what the old revision had.
fn message(problem: &Problem, undefined: Option<&Undefined>, from: &str) -> String {
    match undefined.and_then(|undefined| undefined.formerly.as_ref()) {
        Some(Definer {
            module,
            package,
            version,
        }) => {
            format!(
                "{problem}; in {} {module} of {package} {version} defined it",
                visible(from)
            )
        }
        None => problem.to_string(),
    }
}

fn notes(new: &Known) -> Vec<String> {
    let assumed = new.assumed.iter().map(|architecture| {
        format!(
            "nodes that declare no architecture are taken to be {}, as all packages are for it",
            architecture.0
        )
    });
    let misfits = new.target.misfits.values();
    let misfits = misfits.map(|problem| format!("held as it is: {problem}"));
    let notes = new.target.notes.iter().map(ToString::to_string);
    assumed.chain(misfits).chain(notes).collect()
}

/// Nodes that cannot be judged on either side; the new revision's reason goes first.
fn unknown(from: &Side, to: &Side, old: &Known, new: &Known) -> Vec<UnknownNode> {
    let told: BTreeSet<_> = new.unknown.iter().map(|it| &it.node).collect();
    let stays = |it: &&UnknownNode| to.desired.nodes.contains_key(&it.node);
    let before = old.unknown.iter().filter(stays);
    let before = before
        .filter(|it| !told.contains(&it.node))
        .map(|it| UnknownNode {
            why: format!("in {}: {}", from.revision, it.why),
            ..it.clone()
        });
    let mut unknown: Vec<_> = new.unknown.iter().cloned().chain(before).collect();
    unknown.sort_by(|one, other| one.node.cmp(&other.node));
    unknown
}

fn left(from: &Desired, to: &Desired) -> BTreeSet<NodeName> {
    let names = from.nodes.keys();
    names
        .filter(|name| !to.nodes.contains_key(*name))
        .cloned()
        .collect()
}
