//! Nodes that have some packages, whole, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{
    Architecture, Boot, BootCommands, ChosenPackage, Digest, ManifestEntry, Module, ModulePath,
    ModuleType, NodeManifest, PackageConfig, PackageName, Purpose,
};

/// A package with the digest of its manifest.
pub(crate) type Package<'a> = (Digest, &'a PackageConfig);

/// Those that some module is for.
pub(crate) fn architectures<'a>(
    configs: impl IntoIterator<Item = &'a PackageConfig>,
) -> BTreeSet<Architecture> {
    let modules = configs.into_iter().flat_map(|config| &config.modules);
    let mut architectures: BTreeSet<_> = modules.map(|it| it.architecture.clone()).collect();
    if architectures.len() > 1 {
        architectures.remove(&Architecture::default());
    }
    architectures
}

/// A node of this architecture that has the packages, in this order, and starts from the boot images
/// of the first that has some.
pub(crate) fn node(packages: &[Package<'_>], architecture: &Architecture) -> NodeManifest {
    let mut chosen = BTreeMap::<&ModulePath, (&PackageName, &Module)>::new();
    let mut boot = None;
    for (_, config) in packages {
        let modules = modules(config, architecture);
        if modules.values().any(|it| it.kind == ModuleType::BootImage) {
            boot = boot.or_else(|| Some(self::boot(config)));
        }
        for (path, module) in modules {
            // Of several packages with the same path the first wins (D4).
            chosen.entry(path).or_insert((&config.name, module));
        }
    }
    let modules = chosen.into_values().map(|(package, module)| ManifestEntry {
        package: package.clone(),
        module: module.clone(),
    });
    NodeManifest {
        modules: modules.collect(),
        packages: packages.iter().copied().map(chosen_package).collect(),
        boot,
        inactive: Vec::new(),
    }
}

/// What a node of this architecture receives of a package.
fn modules<'a>(
    config: &'a PackageConfig,
    architecture: &Architecture,
) -> BTreeMap<&'a ModulePath, &'a Module> {
    let mut modules = BTreeMap::<&ModulePath, &Module>::new();
    // What is built for the architecture is preferred to what runs anywhere, as on real nodes.
    let fits = config.modules.iter();
    for module in fits.filter(|module| module.architecture.runs_on(architecture)) {
        let best = modules.entry(&module.path).or_insert(module);
        if best.architecture == Architecture::default() {
            *best = module;
        }
    }
    modules
}

fn chosen_package((digest, config): Package<'_>) -> ChosenPackage {
    ChosenPackage {
        name: config.name.clone(),
        version: config.version.clone(),
        digest,
        test: config.purpose == Purpose::Test,
        requires: config.requires.clone(),
        requires_remote: config.requires_remote.clone(),
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
