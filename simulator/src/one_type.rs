//! A fleet of one node, made of packages alone (M2).

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{
    Architecture, ClassDeclaration, Desired, ModulePath, NodeDeclaration, NodeFacts, NodeName,
    PackageReference, PackageSetDeclaration, Selector, digest_of, visible,
};
use placet_planner::{Catalog, CatalogEntry};

use crate::compare::Side;
use crate::facts::architectures;

/// The class, the package set and, where its type cannot be a name, the node.
const NAME: &str = "node";

/// A package by the reference that people named it by.
#[derive(Debug, Clone)]
pub struct NamedPackage {
    /// The reference.
    pub reference: String,
    /// What is known of it.
    pub entry: CatalogEntry,
}

/// A change of one node of a type, to be tried.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The type.
    pub node_type: String,
    /// The processor; where nobody says it, the one that all packages are for.
    pub architecture: Option<Architecture>,
    /// The packages that run, in order (D4).
    pub from: Vec<NamedPackage>,
    /// The packages that are to run, in order.
    pub to: Vec<NamedPackage>,
    /// Modules that are left out of these.
    pub without: Vec<ModulePath>,
}

/// A trial that leaves something open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// A module is to be left out that is not there.
    #[error("no package has a module `{0}`")]
    Module(ModulePath),
    /// Nobody says what the processor is.
    #[error("the packages are for {}, and nobody says which of them the node has", words(.0))]
    Architecture(BTreeSet<Architecture>),
}

fn words(architectures: &BTreeSet<Architecture>) -> String {
    let names: Vec<_> = architectures
        .iter()
        .map(|it| visible(&it.0).to_string())
        .collect();
    names.join(" and ")
}

/// Both sides of a trial.
///
/// # Errors
///
/// See [`TrialError`].
pub fn one_type(trial: &Trial) -> Result<(Side, Side), TrialError> {
    let Trial { from, to, .. } = trial;
    let architecture = architecture(trial)?;
    let left = leave_out(to, &trial.without)?;
    // All that is known may be what something that is needed could come from.
    let known: Vec<_> = from.iter().chain(to).chain(&left).cloned().collect();
    let side = |packages| Side {
        catalog: catalog(&known),
        ..side(&trial.node_type, architecture.clone(), packages)
    };
    Ok((side(from), side(&left)))
}

/// The processor of the node; none if any will do.
fn architecture(trial: &Trial) -> Result<Option<Architecture>, TrialError> {
    if trial.architecture.is_some() {
        return Ok(trial.architecture.clone());
    }
    let packages = trial.from.iter().chain(&trial.to);
    let modules = packages.flat_map(|package| &package.entry.config.modules);
    let mut architectures = architectures(modules);
    match architectures.len() {
        0 | 1 => Ok(architectures.pop_first()),
        _ => Err(TrialError::Architecture(architectures)),
    }
}

fn side(node_type: &str, architecture: Option<Architecture>, packages: &[NamedPackage]) -> Side {
    let facts = NodeFacts {
        kind: Some(node_type.to_owned()),
        architecture,
        ..NodeFacts::default()
    };
    let class = ClassDeclaration {
        selector: Selector {
            types: [node_type.to_owned()].into(),
            ..Selector::default()
        },
        package_sets: vec![NAME.to_owned()],
        ..ClassDeclaration::default()
    };
    let reference = |package: &NamedPackage| PackageReference {
        name: package.entry.config.name.clone(),
        version: package.entry.config.version.clone(),
        reference: key(package),
    };
    let set = PackageSetDeclaration {
        packages: packages.iter().map(reference).collect(),
        ..PackageSetDeclaration::default()
    };
    let node: NodeName = node_type
        .parse()
        .unwrap_or_else(|_| NAME.parse().expect("a valid name"));
    let node_declaration = NodeDeclaration {
        facts,
        ..NodeDeclaration::default()
    };
    let revision = revision(packages);
    Side {
        desired: Desired {
            revision: revision.clone(),
            classes: BTreeMap::from([(node_type.to_owned(), class)]),
            package_sets: BTreeMap::from([(NAME.to_owned(), set)]),
            nodes: BTreeMap::from([(node, node_declaration)]),
        },
        revision,
        ..Side::default()
    }
}

/// `chat 1.0.0, greet 1.1.0`.
fn revision(packages: &[NamedPackage]) -> String {
    let name = |it: &NamedPackage| format!("{} {}", it.entry.config.name, it.entry.config.version);
    let names: Vec<_> = packages.iter().map(name).collect();
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.join(", ")
}

fn catalog(packages: &[NamedPackage]) -> Catalog {
    let entries = packages.iter().map(|it| (key(it), Ok(it.entry.clone())));
    Catalog {
        entries: entries.collect(),
    }
}

/// What tells packages apart, also those of the same reference.
fn key(package: &NamedPackage) -> String {
    format!("{} {}", package.reference, package.entry.digest)
}

/// The packages without some modules; one that lacks any is another package than it was.
fn leave_out(
    packages: &[NamedPackage],
    paths: &[ModulePath],
) -> Result<Vec<NamedPackage>, TrialError> {
    let modules = || packages.iter().flat_map(|it| &it.entry.config.modules);
    let is_there = |path: &&ModulePath| modules().any(|module| module.path == **path);
    if let Some(unknown) = paths.iter().find(|path| !is_there(path)) {
        return Err(TrialError::Module(unknown.clone()));
    }
    let mut packages = packages.to_vec();
    for CatalogEntry { config, digest, .. } in packages.iter_mut().map(|it| &mut it.entry) {
        let modules = &mut config.modules;
        let before = modules.len();
        modules.retain(|module| !paths.contains(&module.path));
        if modules.len() < before {
            *digest = digest_of(config);
        }
    }
    Ok(packages)
}
