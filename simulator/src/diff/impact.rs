//! What happens to processes on nodes that have one package or the other, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{
    Architecture, Boot, BootCommands, ChosenPackage, ManifestEntry, Module, ModulePath, ModuleType,
    NodeManifest, NodeRestart, PackageConfig, ProcessChange, Purpose,
};
use placet_planner::change;
use serde::Serialize;

use super::PackageSide;

/// What happens to the processes of nodes of one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Impact {
    /// The architecture of the nodes; `neutral` where no module is for a particular one.
    pub architecture: Architecture,
    /// Present if the nodes restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<NodeRestart>,
    /// The processes that are touched, in the order in which they are handled.
    pub processes: Vec<ProcessChange>,
}

pub(super) fn impact(from: PackageSide<'_>, to: PackageSide<'_>) -> Vec<Impact> {
    let impacts = architectures([from.config, to.config]).into_iter();
    let impacts = impacts.map(|architecture| {
        let change = change(&node(from, &architecture), &node(to, &architecture)).change_set;
        Impact {
            architecture,
            restart: change.restart,
            processes: change.processes,
        }
    });
    impacts.collect()
}

/// Those that some module is for.
fn architectures(configs: [&PackageConfig; 2]) -> BTreeSet<Architecture> {
    let modules = configs.into_iter().flat_map(|config| &config.modules);
    let mut architectures: BTreeSet<_> = modules.map(|it| it.architecture.clone()).collect();
    if architectures.len() > 1 {
        architectures.remove(&Architecture::default());
    }
    architectures
}

/// A node of this architecture that has the whole package, and starts from its boot images.
fn node(side: PackageSide<'_>, architecture: &Architecture) -> NodeManifest {
    let config = side.config;
    let mut modules = BTreeMap::<&ModulePath, &Module>::new();
    // What is built for the architecture is preferred to what runs anywhere, as on real nodes.
    let fits = config.modules.iter();
    for module in fits.filter(|module| module.architecture.runs_on(architecture)) {
        let best = modules.entry(&module.path).or_insert(module);
        if best.architecture == Architecture::default() {
            *best = module;
        }
    }
    let is_boot = modules.values().any(|it| it.kind == ModuleType::BootImage);
    NodeManifest {
        packages: vec![ChosenPackage {
            name: config.name.clone(),
            version: config.version.clone(),
            digest: side.digest,
            test: config.purpose == Purpose::Test,
            requires: config.requires.clone(),
            requires_remote: config.requires_remote.clone(),
        }],
        modules: modules
            .into_values()
            .map(|module| ManifestEntry {
                package: config.name.clone(),
                module: module.clone(),
            })
            .collect(),
        boot: is_boot.then(|| boot(config)),
        inactive: Vec::new(),
    }
}

/// How the node gets to start from an image is the affair of its class.
fn boot(config: &PackageConfig) -> Boot {
    Boot {
        package: config.name.clone(),
        transient: false,
        commands: BootCommands {
            install: Vec::new(),
            confirm: Vec::new(),
            restart: Vec::new(),
            command_seconds: 0,
            restart_seconds: 0,
        },
    }
}
