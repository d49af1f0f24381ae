//! Requirements on other nodes in a fleet of which part has changed (D7).
//!
//! While a change is on its way, nodes run what they ran before beside what they are to run. Each
//! such mixture is looked at before it is entered: what every node would run then, and whether all
//! remote requirements of it hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use placet_model::{
    Digest, NodeManifest, NodeName, PackageName, Quantifier, RemoteRequirement, Version, visible,
};

use crate::observed::memory;
use crate::problem::Names;
use crate::{Observed, Target, TargetNode};

/// A remote requirement that does not hold, or would not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unmet {
    /// The nodes that run what has the requirement.
    pub nodes: BTreeSet<NodeName>,
    /// The package that has it.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// What it needs (`base ^2 on every other node with class edge`).
    pub needs: String,
    /// The nodes that it looks at and that do not satisfy it: any of them would by running that.
    pub lacking: BTreeSet<NodeName>,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Names(&self.nodes), self.why())
    }
}

impl Unmet {
    /// The requirement and where it does not hold, whoever has it.
    pub(crate) fn why(&self) -> String {
        let Self {
            nodes: _,
            package,
            version,
            needs,
            lacking,
        } = self;
        let needs = visible(needs);
        let where_not = if lacking.is_empty() {
            "there is no such node".to_owned()
        } else {
            format!("not so on {}", Names(lacking))
        };
        format!("package {package} {version} needs {needs}; {where_not}")
    }
}

/// What a requirement needs, for people.
pub(crate) fn needs(requirement: &RemoteRequirement) -> String {
    let wanted_of = match requirement.quantifier {
        Quantifier::All => "every other node".to_owned(),
        Quantifier::Any => "another node".to_owned(),
        Quantifier::AtLeast(least) => format!("at least {least} other nodes"),
    };
    let mut needs = format!(
        "{} {} on {wanted_of}",
        requirement.package, requirement.version
    );
    let class = requirement.class.iter().map(|class| ("class", class));
    let node_type = requirement.node_type.iter().map(|it| ("type", it));
    let labels = requirement.labels.iter();
    let labels = labels.map(|(key, value)| (key.as_str(), value));
    for (index, (key, value)) in class.chain(node_type).chain(labels).enumerate() {
        let word = if index == 0 { " with" } else { "," };
        write!(needs, "{word} {key} {value}").expect("writing to a string does not fail");
    }
    needs
}

/// Every node of the target, with what it runs and what it is to run.
pub(crate) struct Mixture<'a> {
    members: BTreeMap<&'a NodeName, Member<'a>>,
    /// False if no package has a remote requirement: then every mixture is as good as the next.
    has_requirements: bool,
}

struct Member<'a> {
    target: &'a TargetNode,
    /// None while unknown: then it counts neither for nor against.
    running: Option<&'a NodeManifest>,
    /// Set for a node that stores nothing of its change: what it goes back to.
    stored: Option<&'a NodeManifest>,
}

/// A requirement that does not hold, and what would have to move for it.
struct Broken<'a> {
    unmet: Unmet,
    requirement: &'a RemoteRequirement,
}

/// What tells one requirement from another: the package, and its place in the list.
type Key = (Digest, usize);

impl<'a> Mixture<'a> {
    pub(crate) fn new(target: &'a Target, observed: &'a Observed) -> Self {
        let members: BTreeMap<_, _> = target
            .nodes
            .iter()
            .map(|(name, target)| {
                let seen = observed.nodes.get(name);
                let running = seen.and_then(|seen| seen.running.as_ref());
                let running = running.map(crate::Running::manifest);
                let goes_back = seen.is_some_and(|seen| memory(target, seen).is_some());
                let stored = seen.and_then(|seen| seen.falls_back_to.as_ref());
                let stored = stored.map(crate::Running::manifest).or(running);
                let member = Member {
                    target,
                    running,
                    stored: stored.filter(|_| goes_back),
                };
                (name, member)
            })
            .collect();
        let has_requirements = members.values().any(|member| {
            let manifests = [Some(&*member.target.manifest), member.running];
            let packages = manifests.into_iter().flatten().flat_map(|it| &it.packages);
            packages
                .into_iter()
                .any(|package| !package.requires_remote.is_empty())
        });
        Self {
            members,
            has_requirements,
        }
    }

    pub(crate) fn has_requirements(&self) -> bool {
        self.has_requirements
    }

    /// What does not hold once the nodes of `changed`, and no others, run their target.
    pub(crate) fn unmet(&self, changed: &BTreeSet<NodeName>) -> Vec<Unmet> {
        let broken = self.broken(changed).into_values();
        broken.map(|broken| broken.unmet).collect()
    }

    /// The nodes for which a requirement does not hold as the fleet is now, and which one: of those
    /// that `helper`, one of the nodes that it looks at, would satisfy by running its target.
    pub(crate) fn let_down(
        &self,
        helper: impl Fn(&NodeName) -> bool,
    ) -> BTreeMap<NodeName, String> {
        let mut let_down = BTreeMap::new();
        for broken in self.broken(&BTreeSet::new()).into_values() {
            let satisfies =
                |name: &&NodeName| has(&self.members[*name].target.manifest, broken.requirement);
            let mut helpers = broken.unmet.lacking.iter().filter(satisfies);
            if helpers.any(&helper) {
                let why = broken.unmet.why();
                let nodes = broken.unmet.nodes.into_iter();
                let_down.extend(nodes.map(|name| (name, why.clone())));
            }
        }
        let_down
    }

    /// What held while `moving` had changed and does not hold with `more`, once every node that
    /// stores nothing of its change has gone back to what it has stored.
    pub(crate) fn breaks_after_tests(
        &self,
        moving: &BTreeSet<NodeName>,
        more: &BTreeSet<NodeName>,
    ) -> Option<Unmet> {
        if self.members.values().all(|member| member.stored.is_none()) {
            return None;
        }
        let before = self.broken_in(&self.after_tests(moving));
        let after = self.broken_in(&self.after_tests(&(moving | more)));
        worse(&before, after).map(|broken| broken.unmet)
    }

    fn after_tests(
        &self,
        changed: &BTreeSet<NodeName>,
    ) -> BTreeMap<&'a NodeName, &'a NodeManifest> {
        let mut runs = self.after(changed);
        let stored = self.members.iter();
        runs.extend(stored.filter_map(|(name, member)| Some((*name, member.stored?))));
        runs
    }

    /// What every node runs once those of `changed`, and no others, run their target.
    fn after(&self, changed: &BTreeSet<NodeName>) -> BTreeMap<&'a NodeName, &'a NodeManifest> {
        let runs = self.members.iter().filter_map(|(name, member)| {
            let target = changed.contains(*name).then_some(&*member.target.manifest);
            Some((*name, target.or(member.running)?))
        });
        runs.collect()
    }

    fn broken(&self, changed: &BTreeSet<NodeName>) -> BTreeMap<Key, Broken<'a>> {
        self.broken_in(&self.after(changed))
    }

    fn broken_in(
        &self,
        runs: &BTreeMap<&'a NodeName, &'a NodeManifest>,
    ) -> BTreeMap<Key, Broken<'a>> {
        if !self.has_requirements {
            return BTreeMap::new();
        }
        let mut asking = BTreeMap::<Key, (_, _, BTreeSet<&NodeName>)>::new();
        for (name, manifest) in runs {
            for package in &manifest.packages {
                let own_type = self.members[*name].target.node_type.as_deref();
                let requirements = package.requires_remote.iter().enumerate();
                for (index, requirement) in requirements.filter(|(_, it)| it.concerns(own_type)) {
                    let entry = asking.entry((package.digest, index));
                    let entry = entry.or_insert((package, requirement, BTreeSet::new()));
                    entry.2.insert(name);
                }
            }
        }
        let broken = asking
            .into_iter()
            .filter_map(|(key, (package, requirement, nodes))| {
                let count = self.looked_at(requirement, runs);
                let nodes: BTreeSet<_> = nodes
                    .into_iter()
                    .filter(|name| !count.holds_for(name, requirement.quantifier))
                    .cloned()
                    .collect();
                let lacking = count.nodes.iter().filter(|(_, satisfies)| !**satisfies);
                let unmet = Unmet {
                    package: package.name.clone(),
                    version: package.version.clone(),
                    needs: needs(requirement),
                    lacking: lacking.map(|(name, _)| (*name).clone()).collect(),
                    nodes,
                };
                (!unmet.nodes.is_empty()).then_some((key, Broken { unmet, requirement }))
            });
        broken.collect()
    }

    /// The nodes that a requirement looks at, and whether each satisfies it.
    fn looked_at<'n>(
        &self,
        requirement: &RemoteRequirement,
        runs: &BTreeMap<&'n NodeName, &NodeManifest>,
    ) -> Count<'n> {
        let meant = runs.iter().filter(|(name, _)| {
            let of = self.members[**name].target;
            let class = requirement.class.as_ref();
            class.is_none_or(|class| *class == of.class)
                && (requirement.node_type.is_none() || requirement.node_type == of.node_type)
                && (requirement.labels.iter()).all(|(key, value)| of.labels.get(key) == Some(value))
        });
        let nodes: BTreeMap<_, _> = meant
            .map(|(name, manifest)| (*name, has(manifest, requirement)))
            .collect();
        Count {
            satisfying: nodes.values().filter(|satisfies| **satisfies).count(),
            nodes,
        }
    }

    /// `wanted` and those of `available` that have to move with it so that nothing breaks that holds
    /// while only `moving` have moved; or what would break.
    pub(crate) fn group(
        &self,
        wanted: &BTreeSet<NodeName>,
        moving: &BTreeSet<NodeName>,
        available: &BTreeSet<NodeName>,
    ) -> Result<BTreeSet<NodeName>, Box<Unmet>> {
        let before = self.broken(moving);
        let mut changed = moving | wanted;
        loop {
            let broken = self.broken(&changed);
            let Some(broken) = worse(&before, broken) else {
                return Ok(&changed - moving);
            };
            let more = self.helpers(&broken, &changed, available);
            if more.is_empty() {
                return Err(Box::new(broken.unmet));
            }
            changed.extend(more);
        }
    }

    /// The nodes whose change may mend a requirement: those that have it and would leave it behind,
    /// or those that would satisfy it.
    fn helpers(
        &self,
        broken: &Broken<'_>,
        changed: &BTreeSet<NodeName>,
        available: &BTreeSet<NodeName>,
    ) -> Vec<NodeName> {
        let may_move = |name: &&NodeName| !changed.contains(*name) && available.contains(*name);
        let unmet = &broken.unmet;
        let leaving: Vec<_> = unmet.nodes.iter().filter(may_move).cloned().collect();
        if !leaving.is_empty() {
            return leaving;
        }
        let satisfies =
            |name: &&NodeName| has(&self.members[*name].target.manifest, broken.requirement);
        let helping = unmet.lacking.iter().filter(may_move).filter(satisfies);
        match broken.requirement.quantifier {
            Quantifier::All => helping.cloned().collect(),
            Quantifier::Any | Quantifier::AtLeast(_) => helping.take(1).cloned().collect(),
        }
    }
}

/// The first requirement that holds for fewer nodes in `after` than in `before`.
fn worse<'a>(
    before: &BTreeMap<Key, Broken<'_>>,
    after: BTreeMap<Key, Broken<'a>>,
) -> Option<Broken<'a>> {
    let mut worse = after.into_iter().filter(|(key, broken)| {
        let known = before.get(key);
        known.is_none_or(|known| !broken.unmet.nodes.is_subset(&known.unmet.nodes))
    });
    worse.next().map(|(_, broken)| broken)
}

/// True if what `manifest` runs satisfies a requirement of others.
pub(crate) fn has(manifest: &NodeManifest, requirement: &RemoteRequirement) -> bool {
    manifest.packages.iter().any(|package| {
        package.name == requirement.package && requirement.version.matches(&package.version)
    })
}

/// How many nodes a requirement looks at, and how many of them satisfy it.
struct Count<'n> {
    nodes: BTreeMap<&'n NodeName, bool>,
    satisfying: usize,
}

impl Count<'_> {
    /// The requirement is about other nodes: `asking` itself does not count.
    fn holds_for(&self, asking: &NodeName, quantifier: Quantifier) -> bool {
        let own = self.nodes.get(asking);
        let total = self.nodes.len() - usize::from(own.is_some());
        let satisfying = self.satisfying - usize::from(own == Some(&true));
        match quantifier {
            Quantifier::All => satisfying == total,
            Quantifier::Any => satisfying >= 1,
            Quantifier::AtLeast(least) => {
                satisfying >= usize::try_from(least).unwrap_or(usize::MAX)
            }
        }
    }
}
