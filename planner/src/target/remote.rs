//! Requirements on other nodes (D7, B8).

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{NodeName, Quantifier, RemoteRequirement};

use super::place::Placed;
use super::shelf::Shelf;
use super::{Computed, Configuration, Findings};
use crate::{CatalogEntry, Problem};

/// Checks the whole target: a node counts with what it is to run. Nodes of which too little is
/// known count neither for nor against.
pub(super) fn check(
    nodes: &BTreeMap<NodeName, Placed>,
    computed: &BTreeMap<&Configuration, Computed>,
    shelf: &Shelf,
    findings: &mut Findings,
) {
    for (configuration, result) in computed {
        let members = || {
            nodes
                .iter()
                .filter(|(_, placed)| placed.configuration == **configuration)
        };
        for package in &result.packages {
            let own_type = configuration.node_type.as_deref();
            let requirements = package.config.requires_remote.iter();
            for requirement in requirements.filter(|it| it.concerns(own_type)) {
                let looked_at = LookedAt::new(requirement, nodes, computed);
                let failing: BTreeSet<_> = members()
                    .map(|(name, _)| name)
                    .filter(|name| !looked_at.holds_for(name, requirement.quantifier))
                    .cloned()
                    .collect();
                if !failing.is_empty() {
                    findings
                        .problems
                        .insert(problem(package, requirement, failing, shelf));
                }
            }
        }
    }
}

/// The nodes that a requirement looks at, and whether each satisfies it.
struct LookedAt<'n> {
    nodes: BTreeMap<&'n NodeName, bool>,
    satisfied: usize,
}

impl<'n> LookedAt<'n> {
    fn new(
        requirement: &RemoteRequirement,
        nodes: &'n BTreeMap<NodeName, Placed>,
        computed: &BTreeMap<&Configuration, Computed>,
    ) -> Self {
        let is_meant = |placed: &Placed| {
            let own = &placed.configuration;
            requirement
                .class
                .as_ref()
                .is_none_or(|class| *class == own.class)
                && (requirement.node_type.is_none() || requirement.node_type == own.node_type)
                && requirement
                    .labels
                    .iter()
                    .all(|(key, value)| placed.labels.get(key) == Some(value))
        };
        let satisfies = |placed: &Placed| {
            let mut packages = computed[&placed.configuration]
                .packages
                .iter()
                .map(|it| &it.config);
            packages.any(|config| {
                config.name == requirement.package && requirement.version.matches(&config.version)
            })
        };
        let meant = nodes.iter().filter(|(_, placed)| is_meant(placed));
        let nodes: BTreeMap<_, _> = meant
            .map(|(name, placed)| (name, satisfies(placed)))
            .collect();
        let count = nodes.values().filter(|satisfies| **satisfies).count();
        Self {
            nodes,
            satisfied: count,
        }
    }

    /// The requirement is about other nodes: `asking` itself does not count.
    fn holds_for(&self, asking: &NodeName, quantifier: Quantifier) -> bool {
        let own = self.nodes.get(asking);
        let total = self.nodes.len() - usize::from(own.is_some());
        let satisfied = self.satisfied - usize::from(own == Some(&true));
        match quantifier {
            Quantifier::All => satisfied == total,
            Quantifier::Any => satisfied >= 1,
            Quantifier::AtLeast(least) => satisfied >= usize::try_from(least).unwrap_or(usize::MAX),
        }
    }
}

fn problem(
    package: &CatalogEntry,
    requirement: &RemoteRequirement,
    nodes: BTreeSet<NodeName>,
    shelf: &Shelf,
) -> Problem {
    Problem::Requirement {
        nodes,
        package: package.config.name.clone(),
        module: None,
        needs: crate::remote::needs(requirement),
        candidates: shelf.with_version(&requirement.package, &requirement.version),
    }
}
