//! What a package file says against itself, found before anything is run.

use std::collections::BTreeSet;
use std::path::Path;

use placet_model::{PackageName, ProcessKind, Quantifier, VersionRequirement};
use semver::{BuildMetadata, Comparator, Prerelease, Version, VersionReq};
use serde_yaml::Location;

use crate::error::{Error, FileFault, ModuleFault};
use crate::file::{ModuleEntry, PackageFile, SupplementalEntry};
use crate::gather::refused;
use crate::yaml;

/// Refuses what cannot be meant as it is written.
pub(crate) fn check(package_yaml: &Path, file: &PackageFile) -> Result<(), Error> {
    let refuse = |(location, fault)| Error::Contradiction {
        place: yaml::place(package_yaml, Some(location)),
        fault,
    };
    check_itself(file).map_err(refuse)?;
    check_versions(file).map_err(refuse)?;
    check_types(file).map_err(refuse)?;
    for entry in &file.modules {
        check_module(file, &entry.value)
            .map_err(|fault| refused(package_yaml, entry, entry.value.to_string(), fault))?;
    }
    Ok(())
}

type Refused = (Location, Box<FileFault>);

fn check_itself(file: &PackageFile) -> Result<(), Refused> {
    let mut requires = file.requires.iter();
    if let Some(entry) = requires.find(|it| it.value.package == file.name) {
        return Err((entry.referenced, Box::new(FileFault::RequiresItself)));
    }
    let mut upgrades = file.upgrades.iter();
    match upgrades.find(|it| it.value.package == file.name) {
        Some(entry) => Err((entry.referenced, Box::new(FileFault::UpgradesItself))),
        None => Ok(()),
    }
}

/// What is needed of one package on one node.
struct Needed<'a> {
    package: &'a PackageName,
    version: &'a VersionRequirement,
    /// All where empty.
    node_types: BTreeSet<&'a str>,
    location: Location,
}

impl Needed<'_> {
    fn meets(&self, other: &Self) -> bool {
        let apart = !self.node_types.is_empty()
            && !other.node_types.is_empty()
            && self.node_types.is_disjoint(&other.node_types);
        self.package == other.package && !apart
    }
}

/// A requirement, and an upgrade too, needs its package in its range: some version has to be in all.
fn check_versions(file: &PackageFile) -> Result<(), Refused> {
    let requires = file.requires.iter().map(|entry| Needed {
        package: &entry.value.package,
        version: &entry.value.version,
        node_types: entry.value.node_types.iter().map(String::as_str).collect(),
        location: entry.referenced,
    });
    let upgrades = file.upgrades.iter().map(|entry| Needed {
        package: &entry.value.package,
        version: &entry.value.version,
        node_types: BTreeSet::new(),
        location: entry.referenced,
    });
    let needed: Vec<_> = requires.chain(upgrades).collect();
    for (index, second) in needed.iter().enumerate() {
        let mut before = needed[..index].iter();
        let against = |first: &&Needed<'_>| {
            first.meets(second) && !can_both_be(first.version, second.version)
        };
        if let Some(first) = before.find(against) {
            let fault = FileFault::NoVersion {
                package: second.package.clone(),
                first: first.version.clone(),
                line: first.location.line(),
                second: second.version.clone(),
            };
            return Err((second.location, Box::new(fault)));
        }
    }
    Ok(())
}

/// False if no version is in both ranges. Of versions of other systems that is not looked into.
fn can_both_be(first: &VersionRequirement, second: &VersionRequirement) -> bool {
    match (first, second) {
        (VersionRequirement::Semantic(first), VersionRequirement::Semantic(second)) => {
            meet(first, second)
        }
        (first, second) => first.scheme() == second.scheme(),
    }
}

/// True if some version is in both ranges. A range is an intersection of intervals, so that one that
/// is not empty contains where one of them begins.
fn meet(first: &VersionReq, second: &VersionReq) -> bool {
    let all = || first.comparators.iter().chain(&second.comparators);
    let mut candidates = all().flat_map(beginnings).chain([Version::new(0, 0, 0)]);
    all().next().is_none() || candidates.any(|it| first.matches(&it) && second.matches(&it))
}

/// The version that a comparator names, and those right behind all that it leaves open.
fn beginnings(comparator: &Comparator) -> [Version; 4] {
    let (major, minor) = (comparator.major, comparator.minor.unwrap_or(0));
    let patch = comparator.patch.unwrap_or(0);
    let named = Version {
        major,
        minor,
        patch,
        pre: comparator.pre.clone(),
        build: BuildMetadata::EMPTY,
    };
    let released = Version {
        pre: Prerelease::EMPTY,
        patch: patch.saturating_add(u64::from(comparator.pre.is_empty())),
        ..named.clone()
    };
    [
        named,
        released,
        Version::new(major, minor.saturating_add(1), 0),
        Version::new(major.saturating_add(1), 0, 0),
    ]
}

fn check_types(file: &PackageFile) -> Result<(), Refused> {
    let local = file
        .requires
        .iter()
        .map(|it| (it.referenced, &it.value.node_types));
    let remote = file.requires_remote.iter();
    let remote = remote.map(|it| (it.referenced, &it.value.node_types));
    for (location, node_types) in local.chain(remote) {
        let mut others = node_types.difference(&file.node_types);
        if let Some(other) = others.next().filter(|_| !file.node_types.is_empty()) {
            return Err((location, Box::new(FileFault::OtherType(other.clone()))));
        }
    }
    let mut remote = file.requires_remote.iter();
    match remote.find(|it| it.value.quantifier == Quantifier::AtLeast(0)) {
        Some(entry) => Err((entry.referenced, Box::new(FileFault::NobodyNeeded))),
        None => Ok(()),
    }
}

fn check_module(file: &PackageFile, entry: &ModuleEntry) -> Result<(), ModuleFault> {
    if let Some(unknown) = entry.features.difference(&file.features).next() {
        let known: Vec<_> = file.features.iter().map(String::as_str).collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        return Err(ModuleFault::UnknownFeature(unknown.clone(), known));
    }
    check_dependencies(entry)?;
    match meaningless(entry) {
        Some((field, where_)) => Err(ModuleFault::Meaningless(field, where_)),
        None => Ok(()),
    }
}

fn check_dependencies(entry: &ModuleEntry) -> Result<(), ModuleFault> {
    let own = entry.path.as_ref().filter(|_| entry.sources.is_none());
    let is_own = |paths: &BTreeSet<_>| own.is_some_and(|own| paths.contains(own));
    if is_own(&entry.optional) {
        return Err(ModuleFault::NeedsItself("optional"));
    }
    for SupplementalEntry { one_of } in &entry.supplemental {
        if one_of.is_empty() {
            return Err(ModuleFault::NoChoice);
        }
        if is_own(one_of) {
            return Err(ModuleFault::NeedsItself("supplemental"));
        }
        let only = one_of.first().filter(|_| one_of.len() == 1);
        if let Some(path) = only.filter(|path| entry.optional.contains(*path)) {
            return Err(ModuleFault::NeededAndOptional(path.clone()));
        }
    }
    Ok(())
}

/// The first field that says nothing of a module like this one, and why.
fn meaningless(entry: &ModuleEntry) -> Option<(&'static str, &'static str)> {
    let process = entry.process.as_ref();
    let link = "of a symbolic link";
    let fields = [
        (
            "exclude",
            "without `sources`",
            !entry.exclude.0.is_empty() && entry.sources.is_none(),
        ),
        ("mode", link, entry.mode.is_some() && entry.link.is_some()),
        ("type", link, entry.kind.is_some() && entry.link.is_some()),
        (
            "process.name",
            "with `sources`, whose processes have the names of their files",
            process.is_some_and(|it| it.name.is_some()) && entry.sources.is_some(),
        ),
        (
            "acknowledgeOpens",
            "unless the module is a simple process",
            entry.acknowledge_opens && process.is_none_or(|it| it.kind != ProcessKind::Simple),
        ),
    ];
    let found = fields.into_iter().find(|(.., is_set)| *is_set);
    found.map(|(field, why, _)| (field, why))
}

#[cfg(test)]
mod tests {
    use super::can_both_be;

    #[test]
    fn ranges_meet_where_a_version_is_in_both() {
        let both = |first: &str, second: &str| {
            let (first, second) = (first.parse().unwrap(), second.parse().unwrap());
            assert_eq!(can_both_be(&first, &second), can_both_be(&second, &first));
            can_both_be(&first, &second)
        };
        for (first, second, expected) in [
            ("*", "*", true),
            ("*", "<1", true),
            (">=2", "<1", false),
            (">=1", "<2", true),
            (">1", "<2", false),
            (">1", "<=2", true),
            (">1.2", "<1.3", false),
            (">1.2.3", "<1.2.5", true),
            (">1.2.3", "<=1.2.3", false),
            ("^1.2", "~1.4.1", true),
            ("^1.2", "^2", false),
            ("=1.0.0", ">=1, <3", true),
            ("<0.5", "<0.1", true),
            (">=1.0.0-rc.1", "<1.0.0-rc.3", true),
            ("=1.0.0-rc.1", "<1.0.0", false),
            ("^1", "deb:>= 1", false),
            ("deb:>= 2", "deb:<< 1", true),
        ] {
            assert_eq!(both(first, second), expected, "{first} and {second}");
        }
    }
}
