//! Two packages, compared module by module (B13), and what going from one to the other would do to
//! the processes of both.

mod fields;
mod impact;
mod markdown;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{
    Architecture, Derived, Digest, Module, ModulePath, ModuleType, PackageConfig, PackageName,
    Signature, SymbolLists, Version,
};
use placet_planner::is_changed;
use serde::Serialize;

pub use fields::Difference;
pub use impact::Impact;
pub use markdown::markdown;
pub use text::{origin, text};

/// One of two packages.
#[derive(Debug, Clone, Copy)]
pub struct PackageSide<'a> {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its metadata.
    pub config: &'a PackageConfig,
    /// The dynamic symbols of its modules, by the digest of each list. What is missing is not
    /// compared; [`symbols_wanted`] says which lists matter.
    pub symbols: &'a BTreeMap<Digest, SymbolLists>,
}

/// What differs between two packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageDiff {
    /// The package compared with.
    pub from: PackageVersion,
    /// The package looked at.
    pub to: PackageVersion,
    /// True if something differs that a node or a plan could notice: anything but version, build
    /// date, source revision and bytes under an equal signature.
    pub changed: bool,
    /// How many modules there are of each status, whatever is listed.
    pub counts: BTreeMap<Status, usize>,
    /// The modules, sorted by path and architecture.
    pub modules: Vec<ModuleDiff>,
    /// What differs in the metadata of the package: requirements, features and the like.
    pub package: Vec<Difference>,
    /// What happens to processes where one package takes the other's place, for each
    /// architecture.
    pub impact: Vec<Impact>,
}

/// A package, and how it came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageVersion {
    /// Name.
    pub name: PackageName,
    /// Version.
    pub version: Version,
    /// Digest of its manifest.
    pub digest: Digest,
    /// The package that it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub derived: Option<Derived>,
}

/// What became of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The new package alone has it.
    Added,
    /// The old package alone has it.
    Removed,
    /// A node would treat it as changed.
    Changed,
    /// Its bytes differ, and its signature is equal: nothing restarts, and nothing travels.
    Rebuilt,
    /// What is said of it differs, and a node that runs it notices nothing.
    Described,
    /// Nothing differs.
    Unchanged,
}

/// One module of two packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleDiff {
    /// Where it is installed.
    pub path: ModulePath,
    /// Its architecture.
    pub architecture: Architecture,
    /// What it is, in the new package where it is in both.
    #[serde(rename = "type")]
    pub kind: ModuleType,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// What became of it.
    pub status: Status,
    /// For an added library: the removed one with the same soname, with which it is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<ModulePath>,
    /// Its content in the old package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Content>,
    /// Its content in the new package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Content>,
    /// What differs beside the content.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

/// The content of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// Size in bytes.
    pub size: u64,
    /// Digest of the bytes.
    pub digest: Digest,
    /// Signature.
    pub signature: Signature,
}

/// The lists of symbols that [`diff`] compares: those of modules where they differ.
pub fn symbols_wanted(from: &PackageConfig, to: &PackageConfig) -> BTreeSet<Digest> {
    let lists = |config: &PackageConfig| -> BTreeSet<Digest> {
        let facts = config.modules.iter().filter_map(|it| it.elf.as_ref());
        facts.filter_map(|facts| facts.symbols).collect()
    };
    &lists(from) ^ &lists(to)
}

/// What differs between two packages, and which processes that would touch.
///
/// # Guarantees
///
/// Whether a module is a changed one, and what happens to a process, is what the planner says of
/// nodes that have the one package or the other and nothing else.
pub fn diff(from: PackageSide<'_>, to: PackageSide<'_>) -> PackageDiff {
    let modules = modules(from, to);
    let mut counts = BTreeMap::new();
    for module in &modules {
        *counts.entry(module.status).or_default() += 1;
    }
    let package = fields::of_packages(from.config, to.config);
    let quiet = |status: &Status| matches!(status, Status::Rebuilt | Status::Unchanged);
    PackageDiff {
        from: PackageVersion::of(from),
        to: PackageVersion::of(to),
        changed: !package.is_empty() || !counts.keys().all(quiet),
        counts,
        modules,
        package,
        impact: impact::impact(from, to),
    }
}

impl PackageVersion {
    fn of(side: PackageSide<'_>) -> Self {
        Self {
            name: side.config.name.clone(),
            version: side.config.version.clone(),
            digest: side.digest,
            derived: side.config.derived.clone(),
        }
    }
}

type Modules<'a> = BTreeMap<(&'a ModulePath, &'a Architecture), &'a Module>;

fn modules(from: PackageSide<'_>, to: PackageSide<'_>) -> Vec<ModuleDiff> {
    let (old, new) = (by_place(from.config), by_place(to.config));
    let moved = moved(&old, &new);
    let places: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
    let modules = places.into_iter().filter_map(|place| {
        let (before, after) = (old.get(&place).copied(), new.get(&place).copied());
        let module = after.or(before)?;
        let replaced = moved.get(&place).copied().filter(|_| before.is_none());
        let compared = before.or(replaced).zip(after);
        let differences = compared.map_or_else(Vec::new, |(before, after)| {
            fields::of_modules((from, before), (to, after))
        });
        Some(ModuleDiff {
            path: module.path.clone(),
            architecture: module.architecture.clone(),
            kind: module.kind,
            function: module.function.clone(),
            status: status(before, after, differences.is_empty()),
            replaces: replaced.map(|it| it.path.clone()),
            from: before.or(replaced).map(Content::of),
            to: after.map(Content::of),
            differences,
        })
    });
    modules.collect()
}

fn by_place(config: &PackageConfig) -> Modules<'_> {
    let modules = config.modules.iter();
    modules
        .map(|module| ((&module.path, &module.architecture), module))
        .collect()
}

/// For each library that is new at its path, the one that had its soname and is gone.
fn moved<'a>(old: &Modules<'a>, new: &Modules<'a>) -> Modules<'a> {
    let by_soname = |own: &Modules<'a>, other: &Modules<'a>| -> BTreeMap<_, _> {
        let own = own.iter().filter(|(place, _)| !other.contains_key(*place));
        let named = own.filter_map(|(place, module)| {
            let soname = module.elf.as_ref()?.soname.as_ref()?;
            Some(((soname, place.1), *module))
        });
        named.collect()
    };
    let gone = by_soname(old, new);
    let come = by_soname(new, old).into_iter();
    come.filter_map(|(name, module)| {
        Some(((&module.path, &module.architecture), *gone.get(&name)?))
    })
    .collect()
}

fn status(before: Option<&Module>, after: Option<&Module>, is_described_alike: bool) -> Status {
    match (before, after) {
        (None, _) => Status::Added,
        (_, None) => Status::Removed,
        (Some(before), Some(after)) if is_changed(before, after) => Status::Changed,
        _ if !is_described_alike => Status::Described,
        (Some(before), Some(after)) if before.digest != after.digest => Status::Rebuilt,
        _ => Status::Unchanged,
    }
}

impl Content {
    fn of(module: &Module) -> Self {
        Self {
            size: module.size,
            digest: module.digest,
            signature: module.signature,
        }
    }
}

impl PackageDiff {
    /// Lists those modules alone that are `wanted`; counts stay as they are.
    pub fn retain(&mut self, wanted: impl FnMut(&ModuleDiff) -> bool) {
        self.modules.retain(wanted);
    }
}

impl Status {
    /// Every status, in the order in which they are counted.
    pub const ALL: [Self; 6] = [
        Self::Changed,
        Self::Added,
        Self::Removed,
        Self::Rebuilt,
        Self::Described,
        Self::Unchanged,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Rebuilt => "rebuilt",
            Self::Described => "described",
            Self::Unchanged => "unchanged",
        }
    }
}

#[cfg(test)]
mod tests;
