//! What nodes are taken to be, since none can be asked.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Architecture, Module, NodeFacts, NodeName};
use placet_planner::{Problem, Target, target_with};

use crate::compare::Side;
use crate::effect::UnknownNode;
use crate::place::Place;

/// The target of one side, as far as it can be known.
pub(crate) struct Known {
    pub(crate) target: Target,
    pub(crate) unknown: Vec<UnknownNode>,
    /// The architecture that nodes were taken to have that declare none.
    pub(crate) assumed: Option<Architecture>,
}

/// What every node should run by its declared facts, and by what it announced where that is known. A
/// node that declares no architecture is taken to be of the one that all packages are for, where
/// there is but one; where they are for any, it has none.
pub(crate) fn known(side: &Side) -> Known {
    let target_of = |announced| {
        let Side {
            desired,
            catalog,
            strangers,
            ..
        } = side;
        target_with(desired, catalog, announced, strangers)
    };
    let first = target_of(&side.announced);
    let packages = side.catalog.entries.values().flatten();
    let modules = packages.flat_map(|entry| &entry.config.modules);
    let mut architectures = architectures(modules).into_iter();
    let entries = &side.catalog.entries;
    let only = match (architectures.next(), architectures.next()) {
        (Some(only), None) => Some(only),
        // A package that could not be had may be for one.
        (None, _) if !entries.is_empty() && entries.values().all(Result::is_ok) => {
            Some(Architecture::default())
        }
        _ => None,
    };
    let lacks = |name: &NodeName| {
        let declared = side.desired.nodes.get(name);
        declared.is_some_and(|node| node.facts.architecture.is_none())
    };
    let assumed: BTreeMap<_, _> = first
        .awaited
        .iter()
        .filter(|name| lacks(name))
        .filter_map(|name| {
            let facts = NodeFacts {
                architecture: Some(only.clone()?),
                ..side.announced.get(name).cloned().unwrap_or_default()
            };
            Some((name.clone(), facts))
        })
        .collect();
    let mut target = if assumed.is_empty() {
        first
    } else {
        let mut announced = side.announced.clone();
        announced.extend(assumed.clone());
        target_of(&announced)
    };
    let unknown = set_apart(&mut target, &assumed);
    let is_assumed = target.nodes.keys().any(|name| assumed.contains_key(name));
    Known {
        unknown,
        assumed: only.filter(|it| is_assumed && *it != Architecture::default()),
        target,
    }
}

/// Nodes that would have to say more of themselves first. That no class fits such a node is no
/// problem yet.
fn set_apart(target: &mut Target, assumed: &BTreeMap<NodeName, NodeFacts>) -> Vec<UnknownNode> {
    let mut unknown: BTreeMap<NodeName, &str> = BTreeMap::new();
    for node in &target.awaited {
        let why = "declare type and architecture in spec.facts, or name its class";
        unknown.insert(node.clone(), why);
    }
    target.problems.retain(|problem| match problem {
        Problem::Class { node, candidates }
            if candidates.is_empty() && assumed.contains_key(node) =>
        {
            let why =
                "no class fits what is declared of it: complete spec.facts, or name its class";
            unknown.insert(node.clone(), why);
            false
        }
        _ => true,
    });
    let unknown = unknown.into_iter().map(|(node, why)| UnknownNode {
        places: vec![Place::node(&node, "spec")],
        node,
        why: why.to_owned(),
    });
    unknown.collect()
}

/// Every architecture that some module is for.
pub(crate) fn architectures<'a>(
    modules: impl Iterator<Item = &'a Module>,
) -> BTreeSet<Architecture> {
    modules
        .map(|module| module.architecture.clone())
        .filter(|architecture| *architecture != Architecture::default())
        .collect()
}
