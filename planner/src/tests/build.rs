//! Small packages and fleets to plan for.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use placet_model::{
    Api, Architecture, BootCommands, BootDeclaration, ClassDeclaration, Desired, Digest, ElfClass,
    ElfFacts, LocalRequirement, Mode, Module, ModuleType, NodeDeclaration, NodeFacts, NodeName,
    Owner, PackageConfig, PackageReference, PackageSetDeclaration, ProcessKind, ProcessSpec,
    Purpose, Quantifier, RemoteRequirement, Selector, Signature, SignatureKind, Supplemental,
    SymbolLists, SymbolVersion, Symbols, Upgrade,
};

use crate::{Catalog, CatalogEntry, Planner, Unresolved};

/// Reads a name, a path, a version: whatever the place wants.
pub(super) fn text<T: FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("`{text}` is not what belongs here"))
}

fn signature(content: &str) -> Signature {
    let digest = Digest::of(content.as_bytes()).hex();
    let bytes = u128::from_str_radix(&digest[..32], 16).unwrap();
    Signature::new(SignatureKind::Plain, bytes.to_be_bytes())
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split_whitespace().map(ToOwned::to_owned)
}

fn elf() -> ElfFacts {
    ElfFacts {
        class: ElfClass::Elf64,
        soname: None,
        needed: Vec::new(),
        versions_provided: BTreeSet::new(),
        versions_needed: BTreeSet::new(),
        interpreter: None,
        run_path: Vec::new(),
        inherited_run_path: false,
        ignores_default_folders: false,
        opens_libraries: false,
        symbols: None,
    }
}

/// A module and its dynamic symbols.
#[derive(Clone)]
pub(super) struct M(pub(super) Module, SymbolLists);

/// A data file; its content is its path.
pub(super) fn file(path: &str) -> M {
    let module = Module {
        path: text(path),
        mode: Mode::new(0o644).unwrap(),
        owner: Owner::default(),
        kind: ModuleType::Data,
        function: None,
        architecture: Architecture::default(),
        size: 1,
        digest: Digest::of(path.as_bytes()),
        signature: signature(path),
        build_id: None,
        link: None,
        elf: None,
        features: BTreeSet::new(),
        provides: BTreeSet::new(),
        uses: BTreeSet::new(),
        characteristics: BTreeMap::new(),
        supplemental: Vec::new(),
        optional: BTreeSet::new(),
        process: None,
    };
    M(module, SymbolLists::default())
}

/// `usr/bin/<name>`, run as process `<name>`.
pub(super) fn process(name: &str) -> M {
    let mut module = file(&format!("usr/bin/{name}"))
        .kind(ModuleType::Process)
        .on("x86_64");
    module.0.mode = Mode::new(0o755).unwrap();
    module.0.elf = Some(elf());
    module.0.process = Some(ProcessSpec {
        name: text(name),
        ..ProcessSpec::default()
    });
    module
}

/// `usr/lib/<soname>`.
pub(super) fn library(soname: &str) -> M {
    let mut module = file(&format!("usr/lib/{soname}"))
        .kind(ModuleType::Library)
        .on("x86_64");
    module.0.elf = Some(ElfFacts {
        soname: Some(soname.to_owned()),
        ..elf()
    });
    module
}

pub(super) fn link(path: &str, target: &str) -> M {
    let mut module = file(path).content(target);
    module.0.link = Some(text(target));
    module
}

impl M {
    fn kind(mut self, kind: ModuleType) -> Self {
        self.0.kind = kind;
        self
    }

    pub(super) fn on(mut self, architecture: &str) -> Self {
        self.0.architecture = Architecture(architecture.to_owned());
        self
    }

    pub(super) fn at(mut self, path: &str) -> Self {
        self.0.path = text(path);
        self
    }

    /// Another content: another digest and another signature.
    pub(super) fn content(mut self, content: &str) -> Self {
        self.0.signature = signature(content);
        self.rebuilt(content)
    }

    /// Other bytes of the same substance.
    pub(super) fn rebuilt(mut self, content: &str) -> Self {
        self.0.digest = Digest::of(content.as_bytes());
        self
    }

    pub(super) fn mode(mut self, mode: u32) -> Self {
        self.0.mode = Mode::new(mode).unwrap();
        self
    }

    fn elf(mut self, set: impl FnOnce(&mut ElfFacts)) -> Self {
        set(self.0.elf.as_mut().expect("an ELF module"));
        self
    }

    pub(super) fn needs(self, soname: &str) -> Self {
        self.elf(|elf| elf.needed.push(soname.to_owned()))
    }

    pub(super) fn needs_version(self, soname: &str, version: &str) -> Self {
        let needed = SymbolVersion {
            soname: soname.to_owned(),
            version: version.to_owned(),
        };
        self.elf(|elf| elf.versions_needed.extend([needed]))
    }

    pub(super) fn version(self, version: &str) -> Self {
        self.elf(|elf| elf.versions_provided.extend([version.to_owned()]))
    }

    /// Symbols, in words: `a b@V1 c@@V2`.
    pub(super) fn exports(mut self, symbols: &str) -> Self {
        self.1.exported.extend(words(symbols));
        self.listed()
    }

    /// As [`M::exports`].
    pub(super) fn imports(mut self, symbols: &str) -> Self {
        self.1.imported.extend(words(symbols));
        self.listed()
    }

    /// Other symbols, other bytes.
    fn listed(self) -> Self {
        let digest = placet_model::digest_of(&self.1);
        let content = format!("{} {}", self.0.digest, digest);
        self.elf(|elf| elf.symbols = Some(digest)).content(&content)
    }

    pub(super) fn interpreter(self, path: &str) -> Self {
        self.elf(|elf| elf.interpreter = Some(path.to_owned()))
    }

    pub(super) fn function(mut self, function: &str) -> Self {
        self.0.function = Some(function.to_owned());
        self
    }

    pub(super) fn feature(mut self, feature: &str) -> Self {
        self.0.features.insert(feature.to_owned());
        self
    }

    pub(super) fn provides(mut self, name: &str, version: &str) -> Self {
        self.0.provides.insert(Api {
            name: name.to_owned(),
            version: version.to_owned(),
        });
        self
    }

    pub(super) fn uses(mut self, name: &str, version: &str) -> Self {
        self.0.uses.insert(Api {
            name: name.to_owned(),
            version: version.to_owned(),
        });
        self
    }

    pub(super) fn opens_one_of(mut self, paths: &[&str]) -> Self {
        let one_of = paths.iter().map(|path| text(path)).collect();
        self.0.supplemental.push(Supplemental {
            one_of,
            declared_in: None,
        });
        self
    }

    pub(super) fn opens_if_present(mut self, path: &str) -> Self {
        self.0.optional.insert(text(path));
        self
    }

    pub(super) fn run(mut self, set: impl FnOnce(&mut ProcessSpec)) -> Self {
        set(self.0.process.as_mut().expect("a process"));
        self
    }

    pub(super) fn self_managing(self) -> Self {
        self.run(|spec| spec.kind = ProcessKind::SelfManaging)
    }
}

/// A boot image, at `boot/<name>`.
pub(super) fn image(name: &str) -> M {
    file(&format!("boot/{name}")).kind(ModuleType::BootImage)
}

/// A package of purpose boot.
pub(super) fn boot_package(name_and_version: &str, modules: impl IntoIterator<Item = M>) -> P {
    let mut package = package(name_and_version, modules);
    package.0.purpose = Purpose::Boot;
    package
}

/// Package `name version`.
pub(super) fn package(name_and_version: &str, modules: impl IntoIterator<Item = M>) -> P {
    let (name, version) = name_and_version.split_once(' ').unwrap();
    let modules: Vec<M> = modules.into_iter().collect();
    let symbols = modules.iter().filter_map(|M(module, lists)| {
        let digest = module.elf.as_ref()?.symbols?;
        Some((digest, Arc::new(Symbols::of_lists(lists))))
    });
    let symbols = symbols.collect();
    let config = PackageConfig {
        name: text(name),
        version: text(version),
        description: None,
        license: None,
        created: Timestamp::UNIX_EPOCH,
        purpose: Purpose::Feature,
        characteristics: BTreeMap::new(),
        features: BTreeSet::new(),
        node_types: BTreeSet::new(),
        source_revision: None,
        requires: Vec::new(),
        requires_remote: Vec::new(),
        upgrades: Vec::new(),
        derived: None,
        modules: modules.into_iter().map(|module| module.0).collect(),
    };
    P(config, symbols)
}

/// A package and the symbols of its modules, by digest.
#[derive(Clone)]
pub(super) struct P(pub(super) PackageConfig, BTreeMap<Digest, Arc<Symbols>>);

impl P {
    /// As a package of which nobody knows the symbols.
    pub(super) fn without_symbols(mut self) -> Self {
        self.1.clear();
        self
    }

    pub(super) fn requires(mut self, package: &str, version: &str) -> Self {
        let (package, version) = (text(package), text(version));
        self.0.requires.push(LocalRequirement {
            package,
            version,
            node_types: BTreeSet::new(),
        });
        self
    }

    pub(super) fn requires_on_others(
        mut self,
        package: &str,
        quantifier: Quantifier,
        class: &str,
    ) -> Self {
        let (package, version) = package.split_once(' ').unwrap();
        self.0.requires_remote.push(RemoteRequirement {
            package: text(package),
            version: text(version),
            class: Some(class.to_owned()),
            node_types: BTreeSet::new(),
            node_type: None,
            labels: BTreeMap::new(),
            quantifier,
        });
        self
    }

    pub(super) fn upgrades(mut self, package: &str, version: &str) -> Self {
        let (package, version) = (text(package), text(version));
        self.0.upgrades.push(Upgrade { package, version });
        self
    }

    /// Makes it a test suite.
    pub(super) fn suite(mut self) -> Self {
        self.0.purpose = Purpose::Test;
        self
    }

    pub(super) fn node_type(mut self, node_type: &str) -> Self {
        self.0.node_types.insert(node_type.to_owned());
        self
    }

    pub(super) fn feature(mut self, feature: &str) -> Self {
        self.0.features.insert(feature.to_owned());
        self
    }
}

/// Declarations, catalog and what nodes announce.
#[derive(Clone, Default)]
pub(super) struct F {
    pub(super) desired: Desired,
    pub(super) catalog: Catalog,
    pub(super) announced: BTreeMap<NodeName, NodeFacts>,
}

pub(super) fn fleet(packages: impl IntoIterator<Item = P>) -> F {
    let mut fleet = F::default();
    fleet.desired.revision = "main@sha1:1".to_owned();
    for P(config, symbols) in packages {
        let reference = format!("oci-layout:/packages:{}-{}", config.name, config.version);
        let digest = placet_model::digest_of(&config);
        fleet.catalog.entries.insert(
            reference,
            Ok(CatalogEntry {
                digest,
                config,
                symbols,
            }),
        );
    }
    fleet
}

fn reference(package: &str) -> PackageReference {
    let (name, version) = package.split_once(' ').unwrap();
    PackageReference {
        name: text(name),
        version: text(version),
        reference: format!("oci-layout:/packages:{name}-{version}"),
    }
}

impl F {
    /// A class with one package set of the same name, and an x86-64 node `<class>-1` of it.
    pub(super) fn class(mut self, class: &str, packages: &[&str]) -> Self {
        self = self.set(class, packages);
        let declaration = ClassDeclaration {
            package_sets: vec![class.to_owned()],
            ..ClassDeclaration::default()
        };
        self.desired.classes.insert(class.to_owned(), declaration);
        self.node(&format!("{class}-1"), |node| {
            node.class = Some(class.to_owned());
        })
    }

    pub(super) fn set(mut self, set: &str, packages: &[&str]) -> Self {
        let packages = packages.iter().map(|package| reference(package)).collect();
        let declaration = PackageSetDeclaration {
            packages,
            ..PackageSetDeclaration::default()
        };
        self.desired
            .package_sets
            .insert(set.to_owned(), declaration);
        self
    }

    /// An x86-64 node, or what `set` makes of it.
    pub(super) fn node(mut self, name: &str, set: impl FnOnce(&mut NodeDeclaration)) -> Self {
        let mut node = NodeDeclaration::default();
        node.facts.architecture = Some(Architecture("x86_64".to_owned()));
        set(&mut node);
        self.desired.nodes.insert(text(name), node);
        self
    }

    pub(super) fn with_class(
        mut self,
        class: &str,
        set: impl FnOnce(&mut ClassDeclaration),
    ) -> Self {
        set(self.desired.classes.get_mut(class).unwrap());
        self
    }

    pub(super) fn announces(mut self, node: &str, set: impl FnOnce(&mut NodeFacts)) -> Self {
        set(self.announced.entry(text(node)).or_default());
        self
    }

    /// Has nodes of the class, of this type if it is not empty, start from a package of purpose
    /// boot.
    pub(super) fn boots(self, class: &str, node_type: &str, package: &str) -> Self {
        let commands = BootCommands {
            install: vec!["/sbin/loader".to_owned(), "install".to_owned()],
            confirm: vec!["/sbin/loader".to_owned(), "confirm".to_owned()],
            restart: vec!["/sbin/reboot".to_owned()],
            command_seconds: 60,
            restart_seconds: 300,
        };
        let types = Some(node_type).filter(|it| !it.is_empty());
        self.with_class(class, |class| {
            class.boot_images.push(BootDeclaration {
                selector: Selector {
                    types: types.into_iter().map(str::to_owned).collect(),
                    ..Selector::default()
                },
                package: reference(package),
                commands,
            });
        })
    }

    /// Has a set say that one of its packages stands before another package.
    pub(super) fn before(mut self, set: &str, package: &str, other: &str) -> Self {
        let set = self.desired.package_sets.get_mut(set).unwrap();
        let others = set.before.entry(text(package)).or_default();
        others.insert(text(other));
        self
    }

    pub(super) fn inactive(mut self, set: &str, package: &str) -> Self {
        let set = self.desired.package_sets.get_mut(set).unwrap();
        set.inactive.insert(text(package));
        self
    }

    pub(super) fn unresolved(mut self, package: &str, why: &str) -> Self {
        let (name, version) = package.split_once(' ').unwrap();
        let reference = format!("oci-layout:/packages:{name}-{version}");
        self.catalog
            .entries
            .insert(reference, Err(Unresolved::Missing(why.to_owned())));
        self
    }

    /// Tells a planner all of it.
    pub(super) fn tell(&self, planner: &mut Planner) {
        for (node, facts) in &self.announced {
            planner.announce(node, facts);
        }
        planner.declare(self.desired.clone(), Arc::new(self.catalog.clone()));
    }

    pub(super) fn target(&self) -> crate::Target {
        crate::target(&self.desired, &self.catalog, &self.announced)
    }
}
