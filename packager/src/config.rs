//! From a package file to the metadata that a package carries.

use jiff::Timestamp;
use placet_model::{LocalRequirement, Module, PackageConfig, RemoteRequirement, Upgrade};
use serde_yaml::Spanned;

use crate::file::{LocalRequirementEntry, PackageFile, RemoteRequirementEntry, UpgradeEntry};

/// What `file` says of the package, with its modules.
pub(crate) fn config(
    file: &PackageFile,
    created: Timestamp,
    modules: Vec<Module>,
) -> PackageConfig {
    PackageConfig {
        name: file.name.clone(),
        version: file.version.clone(),
        description: file.description.clone(),
        license: file.license.clone(),
        created,
        purpose: file.purpose,
        characteristics: file.characteristics.clone(),
        features: file.features.clone(),
        node_types: file.node_types.clone(),
        source_revision: file.source_revision.clone(),
        requires: file.requires.iter().map(local).collect(),
        requires_remote: file.requires_remote.iter().map(remote).collect(),
        upgrades: file.upgrades.iter().map(upgrade).collect(),
        derived: None,
        modules,
    }
}

fn local(entry: &Spanned<LocalRequirementEntry>) -> LocalRequirement {
    let entry = &entry.value;
    LocalRequirement {
        package: entry.package.clone(),
        version: entry.version.clone(),
        node_types: entry.node_types.clone(),
    }
}

fn remote(entry: &Spanned<RemoteRequirementEntry>) -> RemoteRequirement {
    let entry = &entry.value;
    RemoteRequirement {
        package: entry.package.clone(),
        version: entry.version.clone(),
        node_types: entry.node_types.clone(),
        class: entry.class.clone(),
        node_type: entry.node_type.clone(),
        labels: entry.labels.clone(),
        quantifier: entry.quantifier,
    }
}

fn upgrade(entry: &Spanned<UpgradeEntry>) -> Upgrade {
    let entry = &entry.value;
    Upgrade {
        package: entry.package.clone(),
        version: entry.version.clone(),
    }
}
