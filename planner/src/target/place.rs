//! Facts and class of each node (D2, S1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use placet_model::{
    Architecture, ClassDeclaration, Desired, NodeDeclaration, NodeFacts, NodeName, Selector,
    Strategy,
};

use super::Configuration;
use crate::Problem;

/// Where a node belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Its configuration is known.
    In(Placed),
    /// It has to say more of itself first.
    Awaited,
    /// It announces something else than is declared of it.
    Misfit(Problem),
    /// The declarations do not say.
    Unclear(Problem),
}

/// A node whose configuration is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) configuration: Arc<Configuration>,
    pub(super) labels: Arc<BTreeMap<String, String>>,
    /// What is declared of it, and what it announced where nothing is.
    pub(super) facts: Arc<NodeFacts>,
}

/// Which waves of a strategy select a node.
pub(super) fn waves(strategy: &Strategy, placed: &Placed) -> BTreeSet<usize> {
    let waves = strategy.waves.iter().enumerate();
    waves
        .filter(|(_, wave)| is_selected(&wave.selector, &placed.facts, &placed.labels))
        .map(|(index, _)| index)
        .collect()
}

/// Where the node `name`, which is declared so, belongs. `announced` is what it said of itself.
pub(super) fn place(
    desired: &Desired,
    name: &NodeName,
    node: &NodeDeclaration,
    announced: Option<&NodeFacts>,
) -> Place {
    let silent = NodeFacts::default();
    let announced = announced.unwrap_or(&silent);
    let facts = match settle(name, &node.facts, announced) {
        Ok(facts) => facts,
        Err(misfit) => return Place::Misfit(misfit),
    };
    let class = class_of(desired, name, node, &facts);
    match (class, facts.architecture.clone()) {
        (Ok((class, declaration)), Some(architecture)) => {
            let configuration = configure(class, declaration, node, &facts, architecture);
            Place::In(Placed {
                configuration: Arc::new(configuration),
                labels: Arc::new(node.labels.clone()),
                facts: Arc::new(facts),
            })
        }
        // More may match once it has said what it is.
        (Err(Problem::Class { candidates, .. }), _)
            if candidates.is_empty() && *announced == silent =>
        {
            Place::Awaited
        }
        (Err(problem), _) => Place::Unclear(problem),
        (Ok(_), None) => Place::Awaited,
    }
}

/// Declared facts win; the first that is contradicted holds the node.
fn settle(
    node: &NodeName,
    declared: &NodeFacts,
    announced: &NodeFacts,
) -> Result<NodeFacts, Problem> {
    let mut misfit = None;
    let mut compare = |fact: &str, declared: Option<String>, announced: Option<String>| {
        if let (Some(declared), Some(announced)) = (declared, announced)
            && declared != announced
        {
            let (node, fact) = (node.clone(), fact.to_owned());
            misfit.get_or_insert(Problem::Facts {
                node,
                fact,
                declared,
                announced,
            });
        }
    };
    let text = |architecture: &Option<Architecture>| architecture.as_ref().map(|it| it.0.clone());
    let list = |features: &BTreeSet<String>| {
        let names: Vec<_> = features.iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    compare("type", declared.kind.clone(), announced.kind.clone());
    compare(
        "architecture",
        text(&declared.architecture),
        text(&announced.architecture),
    );
    compare(
        "location",
        declared.location.clone(),
        announced.location.clone(),
    );
    compare(
        "features",
        list(&declared.features),
        list(&announced.features),
    );
    if let Some(misfit) = misfit {
        return Err(misfit);
    }
    let either = |declared: &Option<String>, announced: &Option<String>| {
        declared.clone().or_else(|| announced.clone())
    };
    Ok(NodeFacts {
        kind: either(&declared.kind, &announced.kind),
        architecture: declared
            .architecture
            .clone()
            .or_else(|| announced.architecture.clone()),
        location: either(&declared.location, &announced.location),
        features: if declared.features.is_empty() {
            &announced.features
        } else {
            &declared.features
        }
        .clone(),
    })
}

/// The class that a node names, or the one whose selector matches it.
fn class_of<'a>(
    desired: &'a Desired,
    name: &NodeName,
    node: &NodeDeclaration,
    facts: &NodeFacts,
) -> Result<(&'a str, &'a ClassDeclaration), Problem> {
    if let Some(class) = &node.class {
        let found = desired.classes.get_key_value(class);
        return found
            .map(|(name, class)| (name.as_str(), class))
            .ok_or_else(|| Problem::UnknownReference {
                from: format!("FleetNode {name}"),
                to: format!("NodeClass {class}"),
            });
    }
    let matching: Vec<_> = desired
        .classes
        .iter()
        .filter(|(_, class)| is_selected(&class.selector, facts, &node.labels))
        .collect();
    match matching[..] {
        [(name, class)] => Ok((name, class)),
        _ => Err(Problem::Class {
            node: name.clone(),
            candidates: matching.into_iter().map(|(name, _)| name.clone()).collect(),
        }),
    }
}

fn is_selected(selector: &Selector, facts: &NodeFacts, labels: &BTreeMap<String, String>) -> bool {
    fn allows<T: Ord>(allowed: &BTreeSet<T>, fact: Option<&T>) -> bool {
        allowed.is_empty() || fact.is_some_and(|fact| allowed.contains(fact))
    }
    *selector != Selector::default()
        && allows(&selector.types, facts.kind.as_ref())
        && allows(&selector.architectures, facts.architecture.as_ref())
        && allows(&selector.locations, facts.location.as_ref())
        && selector
            .labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
}

/// What the class wants and what the node wants are added up; where neither says anything, all is
/// wanted.
fn configure(
    class: &str,
    declaration: &ClassDeclaration,
    node: &NodeDeclaration,
    facts: &NodeFacts,
    architecture: Architecture,
) -> Configuration {
    let (general, own) = (&declaration.wants, &node.wants);
    Configuration {
        class: class.to_owned(),
        overridden: node.package_sets.is_some(),
        package_sets: node
            .package_sets
            .as_ref()
            .unwrap_or(&declaration.package_sets)
            .clone(),
        node_type: facts.kind.clone(),
        architecture,
        boot: boot_image(declaration, facts),
        types: &general.types | &own.types,
        functions: &general.functions | &own.functions,
        features: &general.features | &own.features,
        // What the node says of itself goes before what its class says.
        characteristics: (general.characteristics.iter())
            .chain(&own.characteristics)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    }
}

/// The first boot image of the class that is for such a node.
fn boot_image(declaration: &ClassDeclaration, facts: &NodeFacts) -> Option<usize> {
    let nobody = BTreeMap::new();
    declaration.boot_images.iter().position(|image| {
        image.selector == Selector::default() || is_selected(&image.selector, facts, &nobody)
    })
}
