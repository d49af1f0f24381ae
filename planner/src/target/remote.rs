//! Requirements on other nodes (D7, B8).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use placet_model::{ChosenPackage, NodeName, Quantifier, RemoteRequirement};

use super::place::Placed;
use super::shelf::Shelf;
use super::{Computed, Configuration, Findings};
use crate::Problem;

/// The nodes by their configuration, and what each configuration comes to.
pub(super) struct Fleet<'a> {
    pub(super) members: &'a BTreeMap<Arc<Configuration>, BTreeSet<NodeName>>,
    pub(super) computed: &'a BTreeMap<Arc<Configuration>, Computed>,
    pub(super) placed: &'a dyn Fn(&NodeName) -> Option<&'a Placed>,
}

/// How many nodes a requirement looks at, and how many of them satisfy it.
#[derive(Default)]
struct LookedAt {
    nodes: usize,
    satisfying: usize,
}

impl<'a> Fleet<'a> {
    /// Checks the whole target: a node counts with what it is to run. Nodes of which too little is
    /// known count neither for nor against.
    pub(super) fn check<'c>(&self, catalog: impl Fn() -> &'a Shelf<'c>, findings: &mut Findings)
    where
        'c: 'a,
    {
        for (configuration, result) in self.computed {
            let own_type = configuration.node_type.as_deref();
            for package in &result.composed.manifest.packages {
                let requirements = package.requires_remote.iter();
                for requirement in requirements.filter(|it| it.concerns(own_type)) {
                    let failing = self.failing(configuration, requirement);
                    if !failing.is_empty() {
                        let problem = problem(package, requirement, failing, catalog());
                        findings.problems.insert(problem);
                    }
                }
            }
        }
    }

    /// The members of `asking` for which a requirement does not hold. It is about other nodes: one
    /// that asks does not count itself.
    fn failing(
        &self,
        asking: &Arc<Configuration>,
        requirement: &RemoteRequirement,
    ) -> BTreeSet<NodeName> {
        let all = self.looked_at(requirement);
        let satisfies = satisfies(&self.computed[asking], requirement);
        let holds_for = |name: &NodeName| {
            let counts = is_meant(asking, requirement) && self.has_labels(name, requirement);
            let nodes = all.nodes - usize::from(counts);
            let satisfying = all.satisfying - usize::from(counts && satisfies);
            match requirement.quantifier {
                Quantifier::All => satisfying == nodes,
                Quantifier::Any => satisfying >= 1,
                Quantifier::AtLeast(least) => {
                    satisfying >= usize::try_from(least).unwrap_or(usize::MAX)
                }
            }
        };
        let mut members = self.members[asking].iter();
        // Without labels all members stand alike.
        let is_clear =
            requirement.labels.is_empty() && members.clone().next().is_none_or(holds_for);
        if is_clear {
            return BTreeSet::new();
        }
        members
            .by_ref()
            .filter(|name| !holds_for(name))
            .cloned()
            .collect()
    }

    fn looked_at(&self, requirement: &RemoteRequirement) -> LookedAt {
        let mut looked_at = LookedAt::default();
        for (configuration, members) in self.members {
            if !is_meant(configuration, requirement) {
                continue;
            }
            let nodes = if requirement.labels.is_empty() {
                members.len()
            } else {
                let members = members.iter();
                members
                    .filter(|name| self.has_labels(name, requirement))
                    .count()
            };
            looked_at.nodes += nodes;
            if satisfies(&self.computed[configuration], requirement) {
                looked_at.satisfying += nodes;
            }
        }
        looked_at
    }

    fn has_labels(&self, name: &NodeName, requirement: &RemoteRequirement) -> bool {
        let mut labels = requirement.labels.iter();
        labels.all(|(key, value)| {
            let own = (self.placed)(name).and_then(|placed| placed.labels.get(key));
            own == Some(value)
        })
    }
}

fn is_meant(configuration: &Configuration, requirement: &RemoteRequirement) -> bool {
    let class = requirement.class.as_ref();
    class.is_none_or(|class| *class == configuration.class)
        && (requirement.node_type.is_none() || requirement.node_type == configuration.node_type)
}

fn satisfies(computed: &Computed, requirement: &RemoteRequirement) -> bool {
    crate::remote::has(&computed.composed.manifest, requirement)
}

fn problem(
    package: &ChosenPackage,
    requirement: &RemoteRequirement,
    nodes: BTreeSet<NodeName>,
    shelf: &Shelf,
) -> Problem {
    Problem::Requirement {
        nodes,
        package: package.name.clone(),
        module: None,
        needs: crate::remote::needs(requirement),
        candidates: shelf.with_version(&requirement.package, &requirement.version),
    }
}
