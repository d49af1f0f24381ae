//! The same for a fleet, from declarations and packages.

use std::collections::BTreeMap;

use placet_model::visible;
use serde::Serialize;

use super::{Configuration, Entangled, entangled};
use crate::compare::{Side, Unknowable, require_packages};
use crate::effect::UnknownNode;
use crate::facts::known;

/// What hangs together in a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfFleet {
    /// The revision looked at.
    pub revision: String,
    /// Nodes of which it cannot be told what they are to run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<UnknownNode>,
    /// Problems that keep the revision from being rolled out, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// What hangs together.
    #[serde(flatten)]
    pub entangled: Entangled,
}

/// Why nothing can be said of a fleet.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Packages could not be had.
    #[error("packages could not be had")]
    Packages(Unknowable),
    /// No class has that name.
    #[error("no NodeClass `{name}` is declared; there are: {}", known.join(", "))]
    Class {
        /// What was asked for, fit to be shown.
        name: String,
        /// The classes.
        known: Vec<String>,
    },
}

/// What hangs together on the nodes of a fleet, or of one class of it.
///
/// # Errors
///
/// If a package could not be had, or there is no such class.
pub fn of_fleet(side: &Side, class: Option<&str>, cuts: usize) -> Result<OfFleet, FleetError> {
    let classes = &side.desired.classes;
    if let Some(name) = class.filter(|name| !classes.contains_key(*name)) {
        return Err(FleetError::Class {
            name: visible(name).to_string(),
            known: classes.keys().cloned().collect(),
        });
    }
    let known = known(side);
    require_packages(&[(side, &known, true)], &BTreeMap::new()).map_err(FleetError::Packages)?;
    let mut configurations = BTreeMap::new();
    let nodes = known.target.nodes.values();
    for node in nodes.filter(|node| class.is_none_or(|class| node.class == class)) {
        let new = Configuration {
            manifest: &node.manifest,
            nodes: 0,
        };
        let one = configurations.entry(node.manifest_digest).or_insert(new);
        one.nodes += 1;
    }
    let configurations: Vec<_> = configurations.into_values().collect();
    let problems = known.target.problems.iter();
    Ok(OfFleet {
        revision: side.revision.clone(),
        problems: problems.map(ToString::to_string).collect(),
        entangled: entangled(&configurations, cuts),
        unknown: known.unknown,
    })
}
