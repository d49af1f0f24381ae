//! Why a change touches one process on one node: the chain from the process to the line in git.

use std::collections::BTreeMap;

use placet_model::{
    Because, Change, ChangeSet, ManifestEntry, ModulePath, NodeManifest, NodeName, PackageName,
    ProcessAction, ProcessChange, ProcessName, visible,
};
use placet_planner::change;
use serde::Serialize;

use crate::compare::{Side, Unknowable, require_packages};
use crate::facts::known;
use crate::place::{Place, Places, version};

/// Why a change touches a process, or that it does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The revision compared with.
    pub from: String,
    /// The revision looked at.
    pub to: String,
    /// The node.
    pub node: NodeName,
    /// The process.
    pub process: ProcessName,
    /// What happens to it; none if the change does not touch it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<ProcessAction>,
    /// A chain for every reason.
    pub chains: Vec<Chain>,
}

/// One reason: each link is there for the one after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Chain {
    /// The reason, in the words of the change set.
    pub because: Because,
    /// From the process to what is declared.
    pub links: Vec<Link>,
}

/// One link of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// What it is.
    pub kind: LinkKind,
    /// Its name: a path, an API or symbol version, a package, a field of a resource.
    pub name: String,
    /// What is to be said of it; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Where it is declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// What a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// The module that the process runs.
    Process,
    /// A library, plug-in or file.
    Module,
    /// An API or symbol version by which the link before uses the one after.
    Api,
    /// A package.
    Package,
    /// A boot image for which the whole node is started anew.
    BootImage,
    /// A field of a declaration.
    Declaration,
}

/// Why nothing can be explained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// Packages could not be had.
    #[error("nothing can be said: packages could not be had")]
    Packages(Unknowable),
    /// There is no such node.
    #[error("no node `{0}` is declared, or too little is declared of it")]
    Node(NodeName),
    /// There is no such process.
    #[error("node `{node}` has no process `{process}`, before or after; it has {}", known.join(", "))]
    Process {
        /// The node.
        node: NodeName,
        /// What was asked for.
        process: ProcessName,
        /// The processes that there are.
        known: Vec<String>,
    },
}

/// Why going from one revision to the other touches a process.
///
/// # Errors
///
/// There is no such node or process, or a package of either revision could not be had.
pub fn explain(
    from: &Side,
    to: &Side,
    node: &NodeName,
    process: &ProcessName,
) -> Result<Explanation, ExplainError> {
    let (old, new) = (known(from), known(to));
    let sides = [(from, &old, false), (to, &new, true)];
    require_packages(&sides, &BTreeMap::new()).map_err(ExplainError::Packages)?;
    let after = new.target.nodes.get(node);
    let after = after.ok_or_else(|| ExplainError::Node(node.clone()))?;
    let nothing = NodeManifest::default();
    let before = old.target.nodes.get(node).map(|it| &*it.manifest);
    let before = before.unwrap_or(&nothing);
    require_process(node, process, [before, &after.manifest])?;
    let change_set = change(before, &after.manifest).change_set;
    let touched = change_set.processes.iter().find(|it| it.name == *process);
    let tracing = Tracing {
        node,
        before,
        after: &after.manifest,
        change_set: &change_set,
        places: Places {
            from,
            to,
            old: &old,
            new: &new,
        },
    };
    Ok(Explanation {
        from: from.revision.clone(),
        to: to.revision.clone(),
        node: node.clone(),
        process: process.clone(),
        action: touched.map(|it| it.action),
        chains: touched.map_or_else(Vec::new, |it| tracing.chains(it)),
    })
}

fn require_process(
    node: &NodeName,
    process: &ProcessName,
    manifests: [&NodeManifest; 2],
) -> Result<(), ExplainError> {
    let all = manifests.into_iter().flat_map(NodeManifest::services);
    let mut known: Vec<_> = all.map(|(_, it)| it.name.to_string()).collect();
    known.sort();
    known.dedup();
    if known.iter().any(|it| it == process.as_str()) {
        return Ok(());
    }
    Err(ExplainError::Process {
        node: node.clone(),
        process: process.clone(),
        known,
    })
}

/// What chains are made from.
struct Tracing<'a> {
    node: &'a NodeName,
    before: &'a NodeManifest,
    after: &'a NodeManifest,
    change_set: &'a ChangeSet,
    places: Places<'a>,
}

impl Tracing<'_> {
    fn chains(&self, process: &ProcessChange) -> Vec<Chain> {
        let chains = process.because.iter().map(|because| Chain {
            because: because.clone(),
            links: self.links(process, because),
        });
        chains.collect()
    }

    fn links(&self, process: &ProcessChange, because: &Because) -> Vec<Link> {
        let own = link(
            LinkKind::Process,
            process.path.as_str(),
            self.origin(&process.path),
        );
        let mut links = vec![own];
        let modules: Vec<&ModulePath> = match because {
            Because::New | Because::Gone | Because::OwnModule | Because::Definition => {
                links[0].note = format!("{}, {}", self.what(&process.path), links[0].note);
                links.extend(self.declared(&process.path));
                return links;
            }
            Because::NodeRestart(restart) => {
                let name = format!("{} {}", restart.package, restart.version);
                links.push(link(
                    LinkKind::BootImage,
                    &name,
                    "the node starts from it".to_owned(),
                ));
                links.extend(self.package(&restart.package));
                return links;
            }
            Because::Library { library, via, .. } => via.iter().chain([library]).collect(),
            Because::Follows { module, .. } | Because::Opened { module, .. } => vec![module],
        };
        let mut user = &process.path;
        for module in modules {
            links.extend(self.used(user, module));
            let note = match self.change_of(module) {
                Some(change) => format!("{change}, {}", self.origin(module)),
                None => self.origin(module),
            };
            links.push(link(LinkKind::Module, module.as_str(), note));
            user = module;
        }
        links.extend(self.declared(user));
        links
    }

    /// The APIs and symbol versions by which one module uses another.
    fn used(&self, user: &ModulePath, library: &ModulePath) -> Option<Link> {
        let user = &self.entry(user)?.module;
        let library = &self.entry(library)?.module;
        let elf = user.elf.as_ref();
        let soname = library.elf.as_ref().and_then(|elf| elf.soname.as_ref());
        let versions = elf.into_iter().flat_map(|elf| &elf.versions_needed);
        let versions = versions.filter(|needed| Some(&needed.soname) == soname);
        let apis = user.uses.iter().filter(|api| {
            let mut provided = library.provides.iter();
            provided.any(|it| it.name == api.name)
        });
        let names = apis.map(|api| format!("{} {}", visible(&api.name), visible(&api.version)));
        let mut names: Vec<_> = names.chain(versions.map(ToString::to_string)).collect();
        if names.is_empty() {
            names.extend(soname.map(|it| visible(it).to_string()));
        }
        let name = names.join(", ");
        (!name.is_empty()).then(|| link(LinkKind::Api, &name, String::new()))
    }

    /// As the newer revision has it, or the older one where it is gone.
    fn entry(&self, path: &ModulePath) -> Option<&ManifestEntry> {
        self.after.get(path).or_else(|| self.before.get(path))
    }

    /// `of greet 1.0.0`.
    fn origin(&self, path: &ModulePath) -> String {
        let manifest = [self.after, self.before].into_iter();
        let mut found = manifest.filter_map(|manifest| {
            let package = &manifest.get(path)?.package;
            Some((package, version(manifest, package)?))
        });
        let found = found.next();
        found.map_or_else(String::new, |(package, version)| {
            format!("of {package} {version}")
        })
    }

    fn change_of(&self, path: &ModulePath) -> Option<Change> {
        let mut changes = self.change_set.modules.iter();
        changes.find(|it| it.path == *path).map(|it| it.change)
    }

    fn what(&self, path: &ModulePath) -> String {
        let change = self.change_of(path);
        change.map_or_else(|| "run in another way".to_owned(), |it| it.to_string())
    }

    /// The package that a module comes from, and where that is declared.
    fn declared(&self, path: &ModulePath) -> Vec<Link> {
        let package = self.entry(path).map(|entry| entry.package.clone());
        package.map_or_else(Vec::new, |package| self.package(&package))
    }

    fn package(&self, package: &PackageName) -> Vec<Link> {
        let before = version(self.before, package);
        let after = version(self.after, package);
        let note = match (before, after) {
            (Some(before), Some(after)) if before == after => before.to_string(),
            (Some(before), Some(after)) => format!("{before} -> {after}"),
            (None, Some(after)) => format!("{after}, new"),
            (Some(before), None) => format!("{before}, gone"),
            (None, None) => String::new(),
        };
        let mut places = if after.is_some() {
            self.places.of_package(Some(self.node), package)
        } else {
            self.places.of_removed(self.node, package)
        };
        places.truncate(1);
        let declared = places.into_iter().map(|place| Link {
            kind: LinkKind::Declaration,
            name: format!("{} {}", place.resource, place.field),
            note: String::new(),
            place: Some(place),
        });
        let package = link(LinkKind::Package, package.as_str(), note);
        [package].into_iter().chain(declared).collect()
    }
}

fn link(kind: LinkKind, name: &str, note: String) -> Link {
    Link {
        kind,
        name: name.to_owned(),
        note,
        place: None,
    }
}

impl Explanation {
    /// That of revisions that declare the same.
    pub fn none(from: &str, to: &str, node: NodeName, process: ProcessName) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            node,
            process,
            action: None,
            chains: Vec::new(),
        }
    }

    /// The places of all links, to be looked up in the files of the newer revision.
    pub fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        let links = self.chains.iter_mut().flat_map(|chain| &mut chain.links);
        links.filter_map(|link| link.place.as_mut())
    }
}
