//! Where something is declared that a report speaks of.

use std::sync::Arc;

use placet_model::{Desired, NodeManifest, NodeName, PackageName, PackageReference};
use placet_planner::{MissingSymbols, Problem, TargetNode};
use serde::Serialize;

use crate::compare::Side;
use crate::facts::Known;
use crate::undefined::Undefined;

/// A field of a declaration, and where it stands once somebody has looked it up in the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The resource, as in `PackageSet/base`.
    pub resource: String,
    /// The field, as in `spec.packages[0].version`.
    pub field: String,
    /// The file, from the root of the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl Place {
    pub(crate) fn new(resource: impl Into<String>, field: impl Into<String>) -> Self {
        Self {
            resource: resource.into(),
            field: field.into(),
            ..Self::default()
        }
    }

    /// `classes.yaml:7:5`, once it is known.
    pub fn at(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        let numbers = [self.line, self.column].into_iter().flatten();
        Some(numbers.fold(file.clone(), |text, number| format!("{text}:{number}")))
    }

    fn class(name: &str, field: impl Into<String>) -> Self {
        Self::new(format!("NodeClass/{name}"), field)
    }

    /// Of a node's own declaration.
    pub(crate) fn node(name: &NodeName, field: impl Into<String>) -> Self {
        Self::new(format!("FleetNode/{name}"), field)
    }
}

/// What findings are traced back to: the declarations of the newer revision.
pub(crate) struct Places<'a> {
    pub(crate) from: &'a Side,
    pub(crate) to: &'a Side,
    pub(crate) old: &'a Known,
    pub(crate) new: &'a Known,
}

impl Places<'_> {
    /// Where a problem comes from; what most likely causes it goes first.
    pub(crate) fn of_problem(
        &self,
        problem: &Problem,
        undefined: Option<&Undefined>,
        is_old: bool,
    ) -> Vec<Place> {
        match problem {
            Problem::UnknownReference { from, .. } => of_list(from),
            Problem::Package { reference, .. } => of_reference(&self.to.desired, reference),
            Problem::Class { node, .. } => vec![Place::node(node, "spec")],
            Problem::Facts { node, fact, .. } => {
                vec![Place::node(node, format!("spec.facts.{fact}"))]
            }
            Problem::NodeType { nodes, package, .. } => self.of_package(nodes.first(), package),
            Problem::Order { declared_by, .. }
            | Problem::CircularUpgrades { declared_by, .. }
            | Problem::SameProcess { declared_by, .. } => of_list(declared_by),
            Problem::Path {
                declared_by,
                package,
                inside_package,
                ..
            } => {
                let node = self.node_of(declared_by);
                let mut places = self.of_package(node, package);
                places.extend(self.of_package(node, inside_package));
                places
            }
            Problem::Feature { nodes, .. } => {
                let of_node = |node| self.of_wants(node);
                nodes.first().into_iter().flat_map(of_node).collect()
            }
            Problem::Requirement {
                nodes,
                package,
                needs,
                ..
            } => self.of_need((nodes.first(), package), is_old, |old| provider(old, needs)),
            Problem::Symbols(missing) => {
                let formerly = undefined.and_then(|undefined| undefined.formerly.as_ref());
                let user = (missing.nodes.first(), &missing.package);
                self.of_need(user, is_old, |_| formerly.map(|definer| &definer.package))
            }
        }
    }

    /// Which symbols are missing, with what defined them on the same node.
    pub(crate) fn undefined(&self, missing: &MissingSymbols) -> Undefined {
        let node = missing.nodes.first();
        let before = node.and_then(|node| self.old.target.nodes.get(node));
        let before = before.map(|node| (&*node.manifest, &self.from.catalog));
        Undefined::new(missing, before)
    }

    /// Where a rule is declared: that of a class by its name, that of a process with its package.
    pub(crate) fn of_rule(&self, class: &str, rule: &str, node: &NodeName) -> Vec<Place> {
        let declared = self.to.desired.classes.get(class);
        let rules = declared.into_iter().flat_map(|class| &class.veto_rules);
        let at = rules
            .enumerate()
            .find(|(_, declared)| declared.name.as_str() == rule);
        if let Some((index, _)) = at {
            return vec![Place::class(class, format!("spec.vetoRules[{index}]"))];
        }
        let process = rule.split('/').next().unwrap_or_default();
        let manifest = [self.new, self.old]
            .into_iter()
            .filter_map(|known| known.target.nodes.get(node))
            .find_map(|node| package_of_process(&node.manifest, process));
        manifest.map_or_else(Vec::new, |package| self.of_package(Some(node), package))
    }

    /// A need is not met for what changed: the package that has it, or the one that met it, which is
    /// the `provider` in the old manifest.
    fn of_need<'p>(
        &'p self,
        (node, package): (Option<&NodeName>, &PackageName),
        is_old: bool,
        provider: impl FnOnce(&'p NodeManifest) -> Option<&'p PackageName>,
    ) -> Vec<Place> {
        let own = self.of_package(node, package);
        let manifests = node.and_then(|node| {
            let old = self.old.target.nodes.get(node)?;
            let new = self.new.target.nodes.get(node)?;
            Some((node, &*old.manifest, &*new.manifest))
        });
        let Some((node, old, new)) = manifests.filter(|_| !is_old) else {
            return own;
        };
        if version(old, package) != version(new, package) {
            return own;
        }
        let Some(provider) = provider(old) else {
            return own;
        };
        let cause = match version(new, provider) {
            None => self.of_removed(node, provider),
            now if now == version(old, provider) => Vec::new(),
            Some(_) => self.of_package(Some(node), provider),
        };
        let others = own.into_iter().filter(|place| !cause.contains(place));
        let others: Vec<_> = others.collect();
        [cause, others].concat()
    }

    /// The list that a package is no longer in: its set, or that of sets.
    pub(crate) fn of_removed(&self, node: &NodeName, package: &PackageName) -> Vec<Place> {
        let before = sets_of(&self.from.desired, self.old.target.nodes.get(node), node);
        let lists = |set: &&&String| {
            let declared = self.from.desired.package_sets.get(**set);
            declared.is_some_and(|it| it.packages.iter().any(|entry| entry.name == *package))
        };
        let set = before.iter().find(lists);
        let now = sets_of(&self.to.desired, self.new.target.nodes.get(node), node);
        match set.filter(|set| now.contains(set)) {
            Some(set) => vec![Place::new(format!("PackageSet/{set}"), "spec.packages")],
            None => self.of_sets(node),
        }
    }

    /// Where the list of a node's package sets stands.
    fn of_sets(&self, node: &NodeName) -> Vec<Place> {
        let own = self.to.desired.nodes.get(node);
        if own.is_some_and(|own| own.package_sets.is_some()) {
            return vec![Place::node(node, "spec.packageSets")];
        }
        let class = self.new.target.nodes.get(node);
        let place = |node: &Arc<TargetNode>| Place::class(&node.class, "spec.packageSets");
        class.map(place).into_iter().collect()
    }

    fn of_wants(&self, node: &NodeName) -> Vec<Place> {
        let own = self.to.desired.nodes.get(node);
        if own.is_some_and(|own| !own.wants.features.is_empty()) {
            return vec![Place::node(node, "spec.wants.features")];
        }
        let class = self.new.target.nodes.get(node);
        let place = |node: &Arc<TargetNode>| Place::class(&node.class, "spec.wants.features");
        class.map(place).into_iter().collect()
    }

    /// A node that has the list which is `declared_by` somebody.
    fn node_of(&self, declared_by: &str) -> Option<&NodeName> {
        let (kind, name) = declared_by.split_once(' ')?;
        let nodes = self.new.target.nodes.iter();
        let mut nodes = nodes.filter(|(node, target)| match kind {
            "FleetNode" => node.as_str() == name,
            _ => target.class == name,
        });
        nodes.next().map(|(node, _)| node)
    }

    /// Where a package of a node is listed.
    pub(crate) fn of_package(&self, node: Option<&NodeName>, package: &PackageName) -> Vec<Place> {
        let target = node.and_then(|node| self.new.target.nodes.get(node));
        let sets = node.map_or_else(Vec::new, |node| sets_of(&self.to.desired, target, node));
        let all = self.to.desired.package_sets.keys();
        let mut places = entries(&self.to.desired, sets.into_iter(), |it| it.name == *package);
        let class = target.and_then(|target| {
            let class = self.to.desired.classes.get(&target.class)?;
            Some((&target.class, class))
        });
        if let Some((name, class)) = class {
            let images = class.boot_images.iter().enumerate();
            let images = images.filter(|(_, image)| image.package.name == *package);
            places.extend(
                images.map(|(index, _)| {
                    Place::class(name, format!("spec.bootImages[{index}].version"))
                }),
            );
        }
        if places.is_empty() {
            places = entries(&self.to.desired, all, |it| it.name == *package);
        }
        places
    }
}

/// Where a list stands that is `declared_by` somebody, as in `NodeClass core`.
fn of_list(declared_by: &str) -> Vec<Place> {
    let resource = declared_by.replacen(' ', "/", 1);
    vec![Place::new(resource, "spec.packageSets")]
}

/// Every entry of package sets and boot images that has this reference, by itself or after the name
/// of its package as problems tell it: `greet (oci-layout:greet:1.0.0)`.
pub(crate) fn of_reference(desired: &Desired, reference: &str) -> Vec<Place> {
    let is_meant = |it: &PackageReference| {
        it.reference == reference || format!("{} ({})", it.name, it.reference) == reference
    };
    let mut places = entries(desired, desired.package_sets.keys(), is_meant);
    for (name, class) in &desired.classes {
        let images = class.boot_images.iter().enumerate();
        let images = images.filter(|(_, image)| is_meant(&image.package));
        places.extend(
            images.map(|(index, _)| {
                Place::class(name, format!("spec.bootImages[{index}].reference"))
            }),
        );
    }
    for place in &mut places {
        place.field = place.field.replace("].version", "].reference");
    }
    places
}

fn entries<'d>(
    desired: &'d Desired,
    sets: impl Iterator<Item = &'d String>,
    is_meant: impl Fn(&PackageReference) -> bool,
) -> Vec<Place> {
    let mut places = Vec::new();
    for set in sets {
        let listed = desired.package_sets.get(set);
        let listed = listed.into_iter().flat_map(|it| &it.packages).enumerate();
        let meant = listed.filter(|(_, entry)| is_meant(entry));
        places.extend(meant.map(|(index, _)| {
            Place::new(
                format!("PackageSet/{set}"),
                format!("spec.packages[{index}].version"),
            )
        }));
    }
    places
}

/// The package sets of a node, in order.
fn sets_of<'d>(
    desired: &'d Desired,
    target: Option<&Arc<TargetNode>>,
    node: &NodeName,
) -> Vec<&'d String> {
    let own = desired.nodes.get(node);
    let own = own.and_then(|own| own.package_sets.as_ref());
    let class = target.and_then(|target| desired.classes.get(&target.class));
    let sets = own.or(class.map(|class| &class.package_sets));
    sets.into_iter().flatten().collect()
}

pub(crate) fn version<'m>(
    manifest: &'m NodeManifest,
    package: &PackageName,
) -> Option<&'m placet_model::Version> {
    let mut chosen = manifest.packages.iter();
    let found = chosen.find(|chosen| chosen.name == *package);
    found.map(|chosen| &chosen.version)
}

/// The package that has what is needed: a library by its soname, as in `libz.so.1(ZLIB_1.2)`, or
/// the package by its own name, as in `base >=2`.
fn provider<'m>(manifest: &'m NodeManifest, needs: &str) -> Option<&'m PackageName> {
    let name = needs.split(['(', ' ', ',']).next().unwrap_or_default();
    let by_name = manifest.packages.iter().map(|chosen| &chosen.name);
    let by_soname = manifest.modules.iter().filter(|entry| {
        let elf = entry.module.elf.as_ref();
        let soname = elf.and_then(|elf| elf.soname.as_deref());
        soname == Some(name) || entry.module.path.as_str().rsplit('/').next() == Some(name)
    });
    let by_soname = by_soname.map(|entry| &entry.package);
    by_name
        .filter(|package| package.as_str() == name)
        .chain(by_soname)
        .next()
}

fn package_of_process<'m>(manifest: &'m NodeManifest, process: &str) -> Option<&'m PackageName> {
    let mut entries = manifest.modules.iter();
    let found = entries.find(|entry| {
        let own = entry.module.process.as_ref();
        own.is_some_and(|own| own.name.as_str() == process)
    });
    found.map(|entry| &entry.package)
}
