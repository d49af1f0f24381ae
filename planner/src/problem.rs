//! What stands in a target's way, and what is worth saying about it.

use std::collections::BTreeSet;
use std::fmt;

use placet_model::{ModulePath, NodeName, PackageName, ProcessName, Version, few, visible};

use crate::{MissingSymbols, Unmet};

/// Something that keeps the target from being reached (D3, D4, D7).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// A declaration names something that does not exist.
    UnknownReference {
        /// What names it (`NodeClass core`).
        from: String,
        /// What is named (`PackageSet base`).
        to: String,
    },
    /// A package could not be had.
    Package {
        /// Its reference.
        reference: String,
        /// Why.
        why: String,
    },
    /// A node belongs to no class, or to several.
    Class {
        /// The node.
        node: NodeName,
        /// The classes whose selectors match.
        candidates: Vec<String>,
    },
    /// A package was chosen for a node type that it does not apply to.
    NodeType {
        /// The nodes.
        nodes: BTreeSet<NodeName>,
        /// Their type; empty if unknown.
        node_type: String,
        /// The package.
        package: PackageName,
    },
    /// The declared order contradicts a dependency: `before` stands before `after` but must not.
    Order {
        /// The class or node that declares the order.
        declared_by: String,
        /// Stands first.
        before: PackageName,
        /// Needs to stand first.
        after: PackageName,
        /// Why it needs to.
        why: String,
    },
    /// Packages upgrade each other: each would have to stand before the next, and the last before the
    /// first.
    CircularUpgrades {
        /// The class or node that declares the packages.
        declared_by: String,
        /// Each upgrades the next, and the last the first.
        packages: Vec<PackageName>,
    },
    /// Two packages cannot be laid out in one tree: what is a file of the one is a directory of
    /// the other.
    Path {
        /// The class or node that declares the packages.
        declared_by: String,
        /// The file.
        path: ModulePath,
        /// Its package.
        package: PackageName,
        /// The path that runs through it.
        inside: ModulePath,
        /// That path's package.
        inside_package: PackageName,
    },
    /// Two modules run as processes of one name.
    SameProcess {
        /// The class or node that declares the packages.
        declared_by: String,
        /// The name.
        process: ProcessName,
        /// The modules, sorted.
        paths: Vec<ModulePath>,
    },
    /// A requirement does not hold on nodes.
    Requirement {
        /// The nodes.
        nodes: BTreeSet<NodeName>,
        /// The package that needs something.
        package: PackageName,
        /// The module that needs it, where one is concerned.
        module: Option<ModulePath>,
        /// What is needed (`libz.so.1`, `libc.so.6(GLIBC_2.38)`, `base >=2`).
        needs: String,
        /// What would satisfy it, as far as the catalog knows; empty if nothing does.
        candidates: Vec<String>,
    },
    /// Symbols that a module imports are defined by nothing that its processes would load.
    Symbols(Box<MissingSymbols>),
    /// A wanted feature is offered by no package of the nodes, and no single package can be
    /// chosen for it.
    Feature {
        /// The nodes.
        nodes: BTreeSet<NodeName>,
        /// The feature.
        feature: String,
        /// Packages in the catalog that offer it.
        candidates: Vec<String>,
    },
    /// What a node announces contradicts what is declared of it.
    Facts {
        /// The node.
        node: NodeName,
        /// Which fact.
        fact: String,
        /// What is declared.
        declared: String,
        /// What the node announces.
        announced: String,
    },
}

/// Something worth saying that nothing waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// Several packages contain the same path; the first in the list wins (D4).
    SamePath {
        /// The class or node that declares the list.
        declared_by: String,
        /// The path.
        path: ModulePath,
        /// The package whose module is used.
        winner: PackageName,
        /// The others.
        losers: Vec<PackageName>,
    },
    /// A package is listed with two versions; the first in the list is used.
    ListedTwice {
        /// The class or node that declares the list.
        declared_by: String,
        /// The package.
        package: PackageName,
        /// The version that is used.
        used: Version,
        /// The version that is not.
        ignored: Version,
    },
    /// An upgrade package left the list because it does not apply to its base any more (D5).
    UpgradeDropped {
        /// The class or node that declares the list.
        declared_by: String,
        /// The upgrade package.
        package: PackageName,
        /// Its base.
        base: PackageName,
        /// The version of the base; none if the base itself left the list for the same reason.
        version: Option<Version>,
    },
    /// A package was chosen for a feature that no listed package offers (D3).
    ChosenForFeature {
        /// The class or node that wants the feature.
        declared_by: String,
        /// The feature.
        feature: String,
        /// The package.
        package: PackageName,
        /// Its version.
        version: Version,
    },
    /// A requirement on other nodes does not hold as the fleet is now (C-A8).
    Unmet(Unmet),
    /// Sonames and interpreters that no package of the catalog provides: they are taken to belong
    /// to the base software of the nodes, and are not checked.
    BaseSoftware {
        /// The class or node that declares the packages.
        declared_by: String,
        /// The names.
        names: BTreeSet<String>,
    },
    /// Modules import symbols without a version that no described library defines, and libraries that
    /// nobody has described may define them, or whoever opens the module.
    SymbolsNotKnown {
        /// The class or node that declares the packages.
        declared_by: String,
        /// The modules.
        modules: BTreeSet<ModulePath>,
        /// The libraries, by name or path; none where it is only open who opens the modules.
        libraries: BTreeSet<String>,
    },
}

impl fmt::Display for Problem {
    #[expect(
        clippy::too_many_lines,
        reason = "a flat list of sentences, one for each problem"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownReference { from, to } => {
                write!(
                    f,
                    "{} names {}, which does not exist",
                    visible(from),
                    visible(to)
                )
            }
            Self::Package { reference, why } => {
                write!(f, "package {}: {}", visible(reference), visible(why))
            }
            Self::Class { node, candidates } if candidates.is_empty() => write!(
                f,
                "node {node} belongs to no class: name one in spec.class, or widen a class's selector"
            ),
            Self::Class { node, candidates } => write!(
                f,
                "node {node} belongs to several classes ({}): name one in spec.class",
                candidates.join(", ")
            ),
            Self::NodeType {
                nodes,
                node_type,
                package,
            } => {
                write!(f, "{}: package {package} does not apply to ", Names(nodes))?;
                if node_type.is_empty() {
                    f.write_str("nodes of unknown type")
                } else {
                    write!(f, "node type {}", visible(node_type))
                }
            }
            Self::Order {
                declared_by,
                before,
                after,
                why,
            } => write!(
                f,
                "{declared_by}: {before} stands before {after}, but {} must stand first: {}",
                after,
                visible(why)
            ),
            Self::CircularUpgrades {
                declared_by,
                packages,
            } => {
                write!(f, "{declared_by}: ")?;
                for (index, package) in packages.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    let next = &packages[(index + 1) % packages.len()];
                    write!(f, "{comma}{package} upgrades {next}")?;
                }
                write!(
                    f,
                    "; no order is right for that: list fewer of them, or build one anew without the upgrade"
                )
            }
            Self::Path {
                declared_by,
                path,
                package,
                inside,
                inside_package,
            } => write!(
                f,
                "{declared_by}: {path} is a file of {package} but a directory of {inside_package} ({inside})"
            ),
            Self::SameProcess {
                declared_by,
                process,
                paths,
            } => {
                let paths: Vec<_> = paths.iter().map(ModulePath::as_str).collect();
                write!(
                    f,
                    "{declared_by}: several modules run as process {process}: {}",
                    paths.join(", ")
                )
            }
            Self::Requirement {
                nodes,
                package,
                module,
                needs,
                candidates,
            } => {
                write!(f, "{}: ", Names(nodes))?;
                if let Some(module) = module {
                    write!(f, "{module} of ")?;
                }
                write!(
                    f,
                    "package {package} needs {}; {}",
                    visible(needs),
                    Candidates(candidates)
                )
            }
            Self::Symbols(missing) => missing.fmt(f),
            Self::Feature {
                nodes,
                feature,
                candidates,
            } if candidates.len() > 1 => write!(
                f,
                "{}: several packages offer feature {}: list one of {}, or say by `wants.characteristics` which is meant",
                Names(nodes),
                visible(feature),
                candidates.join(", ")
            ),
            Self::Feature {
                nodes,
                feature,
                candidates,
            } => write!(
                f,
                "{}: no package offers feature {}; {}",
                Names(nodes),
                visible(feature),
                Candidates(candidates)
            ),
            Self::Facts {
                node,
                fact,
                declared,
                announced,
            } => write!(
                f,
                "node {node} announces {fact} {}, but {} is declared",
                visible(announced),
                visible(declared)
            ),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SamePath {
                declared_by,
                path,
                winner,
                losers,
            } => {
                let losers: Vec<_> = losers.iter().map(PackageName::as_str).collect();
                write!(
                    f,
                    "{declared_by}: {path} is taken from {winner}, which stands before {}",
                    losers.join(", ")
                )
            }
            Self::ListedTwice {
                declared_by,
                package,
                used,
                ignored,
            } => write!(
                f,
                "{declared_by}: {package} {used} is used, {ignored} stands later in the list and is not"
            ),
            Self::UpgradeDropped {
                declared_by,
                package,
                base,
                version,
            } => {
                write!(f, "{declared_by}: {package} left the list")?;
                match version {
                    Some(version) => write!(f, ": it does not apply to {base} {version}"),
                    None => write!(f, " with {base}, which it upgrades"),
                }
            }
            Self::ChosenForFeature {
                declared_by,
                feature,
                package,
                version,
            } => write!(
                f,
                "{declared_by}: {package} {version} is chosen for feature {}",
                visible(feature)
            ),
            Self::Unmet(unmet) => write!(f, "as the fleet is now, {unmet}"),
            Self::BaseSoftware { declared_by, names } => {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                write!(
                    f,
                    "{declared_by}: taken to be part of the base software: {}",
                    visible(&names.join(", "))
                )
            }
            Self::SymbolsNotKnown {
                declared_by,
                modules,
                libraries,
            } => write_not_known(f, declared_by, modules, libraries),
        }
    }
}

fn write_not_known(
    f: &mut fmt::Formatter<'_>,
    declared_by: &str,
    modules: &BTreeSet<ModulePath>,
    libraries: &BTreeSet<String>,
) -> fmt::Result {
    let modules: Vec<_> = modules.iter().map(ModulePath::as_str).collect();
    let libraries: Vec<_> = libraries.iter().map(String::as_str).collect();
    let modules = modules.join(", ");
    write!(
        f,
        "{declared_by}: not known whether all symbols are there for {modules}: "
    )?;
    if libraries.is_empty() {
        f.write_str("no process is known to load it")
    } else {
        let libraries = libraries.join(", ");
        write!(f, "no package says what {} defines", visible(&libraries))
    }
}

/// `nodes a, b and 7 more`.
pub(crate) struct Names<'a>(pub(crate) &'a BTreeSet<NodeName>);

/// Enough to recognise a group of nodes by, few enough for a line.
const NAMES_SHOWN: usize = 5;

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.0.len() == 1 { "node" } else { "nodes" };
        write!(f, "{word} {}", few(self.0, NAMES_SHOWN))
    }
}

/// `it could come from a 1.0.0, b 2.0.0`.
pub(crate) struct Candidates<'a>(pub(crate) &'a [String]);

impl fmt::Display for Candidates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("nothing in the catalog provides it")
        } else {
            write!(f, "it could come from {}", self.0.join(", "))
        }
    }
}
