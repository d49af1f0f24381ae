//! A fleet of as many nodes as asked for: 12 classes, 100 packages of 20 modules, 300 processes a
//! node.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use placet_model::{
    Activation, ClassDeclaration, Desired, Digest, NodeDeclaration, NodeFacts, NodeManifest,
    NodeName, NodeState, PackageConfig, PackageReference, PackageSetDeclaration, RolloutPhase,
    Selector, SymbolLists, Symbols,
};
use placet_planner::{
    Catalog, CatalogEntry, Observed, ObservedNode, Planner, Presence, RolloutState, Running, Target,
};
use serde_json::{Value, json};

pub(crate) const CLASSES: usize = 12;
pub(crate) const PACKAGES: usize = 100;
pub(crate) const MODULES: usize = 20;
/// Packages that every class has; they stand last in the list.
const BASE: usize = 10;
/// Packages that a class chooses from the others.
const CHOSEN: usize = 20;
/// The first half of a package's modules are processes, the second half libraries.
const PROCESSES: usize = MODULES / 2;

/// A package that a few classes have.
pub(crate) const OF_SOME: usize = 20;
/// A package that every class has.
pub(crate) const OF_ALL: usize = 99;

/// Everything that is planned from.
pub(crate) struct Fleet {
    pub(crate) desired: Desired,
    pub(crate) catalog: Catalog,
    pub(crate) announced: BTreeMap<NodeName, NodeFacts>,
    pub(crate) observed: Observed,
    pristine: Running,
    commits: u64,
}

impl Fleet {
    /// Every node is connected, has said what it is, and runs nothing yet.
    pub(crate) fn new(nodes: usize) -> Self {
        let mut fleet = Self {
            desired: Desired {
                revision: "main@sha1:1".to_owned(),
                ..Desired::default()
            },
            catalog: Catalog::default(),
            announced: BTreeMap::new(),
            observed: Observed {
                now: Timestamp::UNIX_EPOCH,
                nodes: BTreeMap::new(),
                rollout: None,
            },
            pristine: NodeManifest::default().into(),
            commits: 0,
        };
        for package in 0..PACKAGES {
            fleet.put(package, 1);
        }
        let base = (PACKAGES - BASE..PACKAGES).map(|package| reference(package, 1));
        fleet.declare_set("base", base);
        for class in 0..CLASSES {
            fleet.declare_class(class);
        }
        for node in 0..nodes {
            fleet.declare_node(node);
        }
        fleet
    }

    fn put(&mut self, package: usize, version: u64) {
        let config = config(package, version);
        let digest = placet_model::digest_of(&config);
        let lists = (0..MODULES).map(|index| symbols(package, index));
        let symbols = lists.map(|lists| {
            let table = Arc::new(Symbols::of_lists(&lists));
            (placet_model::digest_of(&lists), table)
        });
        let entry = Ok(CatalogEntry {
            digest,
            config,
            symbols: symbols.collect(),
        });
        let reference = reference(package, version).reference;
        self.catalog.entries.insert(reference, entry);
    }

    fn declare_set(&mut self, name: &str, packages: impl Iterator<Item = PackageReference>) {
        let declaration = PackageSetDeclaration {
            packages: packages.collect(),
            ..PackageSetDeclaration::default()
        };
        let sets = &mut self.desired.package_sets;
        sets.insert(name.to_owned(), declaration);
    }

    fn declare_class(&mut self, class: usize) {
        let name = format!("class-{class}");
        let others = PACKAGES - BASE;
        // Neighbours share some of what they have.
        let chosen = (0..CHOSEN).map(|index| (class * others / CLASSES + index * 2) % others);
        self.declare_set(&name, chosen.map(|package| reference(package, 1)));
        let selector = Selector {
            types: [format!("type-{class}")].into(),
            ..Selector::default()
        };
        let declaration = ClassDeclaration {
            selector,
            package_sets: vec![name.clone(), "base".to_owned()],
            ..ClassDeclaration::default()
        };
        self.desired.classes.insert(name, declaration);
    }

    fn declare_node(&mut self, node: usize) {
        let name: NodeName = format!("node-{node:06}").parse().unwrap();
        let facts = NodeFacts {
            kind: Some(format!("type-{}", node % CLASSES)),
            ..NodeFacts::default()
        };
        let announced = NodeFacts {
            architecture: Some(placet_model::Architecture("x86_64".to_owned())),
            location: Some(format!("rack-{}", node / 40)),
            ..facts.clone()
        };
        let declaration = NodeDeclaration {
            facts,
            labels: [("site".to_owned(), format!("site-{}", node % 50))].into(),
            ..NodeDeclaration::default()
        };
        let seen = ObservedNode {
            presence: Presence::Connected,
            announced: announced.clone(),
            boot_id: format!("boot-{node}"),
            connected_since: Some(Timestamp::UNIX_EPOCH),
            running: Some(self.pristine.clone()),
            ..ObservedNode::default()
        };
        self.desired.nodes.insert(name.clone(), declaration);
        self.announced.insert(name.clone(), announced);
        self.observed.nodes.insert(name, seen);
    }

    /// Every node runs its target; those of the roll-out that brought it there have done so.
    pub(crate) fn settle(&mut self, target: &Target) {
        let mut known = BTreeMap::<Digest, Running>::new();
        let mut nodes = BTreeMap::new();
        for (name, node) in &target.nodes {
            let running = known.entry(node.manifest_digest);
            let running = running.or_insert_with(|| node.manifest.clone().into());
            let seen = self.observed.nodes.get_mut(name).unwrap();
            if seen.running.as_ref() == Some(running) {
                continue;
            }
            seen.running = Some(running.clone());
            nodes.insert(name.clone(), done(node.manifest_digest, self.observed.now));
        }
        self.observed.rollout = Some(RolloutState {
            name: format!("ro-{}", target.revision.len()),
            revision: target.revision.clone(),
            plan_digest: target.digest.unwrap(),
            phase: RolloutPhase::Done,
            holds: 0,
            hold: None,
            decisions: Vec::new(),
            paused: false,
            nodes,
        });
    }

    /// A commit that brings another version of one package.
    pub(crate) fn commit(&mut self, package: usize) {
        self.commits += 1;
        let version = self.commits + 1;
        self.desired.revision = format!("main@sha1:{version}");
        self.put(package, version);
        let next = reference(package, version);
        for set in self.desired.package_sets.values_mut() {
            let mut listed = set.packages.iter_mut();
            if let Some(listed) = listed.find(|it| it.name == next.name) {
                listed.clone_from(&next);
            }
        }
    }

    /// One node says that it stands somewhere else.
    pub(crate) fn move_node(&mut self, node: usize, location: &str) -> (NodeName, NodeFacts) {
        let name: NodeName = format!("node-{node:06}").parse().unwrap();
        let facts = self.announced.get_mut(&name).unwrap();
        facts.location = Some(location.to_owned());
        let seen = self.observed.nodes.get_mut(&name).unwrap();
        seen.announced.clone_from(facts);
        (name, facts.clone())
    }

    /// A planner that has been told everything.
    pub(crate) fn planner(&self) -> Planner {
        let mut planner = Planner::default();
        for (name, facts) in &self.announced {
            planner.announce(name, facts);
        }
        planner.declare(self.desired.clone(), Arc::new(self.catalog.clone()));
        planner
    }
}

fn done(manifest: Digest, now: Timestamp) -> NodeState {
    NodeState {
        activating: Some(now),
        activation: Some(Activation::Done(1)),
        ended: Some(now),
        ..NodeState::asked(manifest, now)
    }
}

fn reference(package: usize, version: u64) -> PackageReference {
    PackageReference {
        name: format!("package-{package:02}").parse().unwrap(),
        version: format!("{version}.0.0").parse().unwrap(),
        reference: format!("oci-layout:/packages:package-{package:02}-{version}"),
    }
}

fn config(package: usize, version: u64) -> PackageConfig {
    let modules: Vec<_> = (0..MODULES)
        .map(|index| module(package, index, version))
        .collect();
    let mut config = json!({
        "name": format!("package-{package:02}"),
        "version": format!("{version}.0.0"),
        "created": Timestamp::UNIX_EPOCH,
        "modules": modules,
    });
    if package < PACKAGES - BASE {
        let base = PACKAGES - BASE + package % BASE;
        config["requires"] = json!([{ "package": format!("package-{base}"), "version": ">=1" }]);
    }
    if package.is_multiple_of(30) {
        // Some node of another class has to run what everything speaks to.
        let class = format!("class-{}", package / 30);
        config["requiresRemote"] = json!([{
            "package": "package-90", "version": ">=1", "class": class, "quantifier": "any",
        }]);
    }
    serde_json::from_value(config).unwrap()
}

fn soname(package: usize, index: usize) -> String {
    format!("lib{package}-{index}.so.1")
}

/// A process needs two libraries of its package and two of a base package; a library one of those.
fn libraries(package: usize, index: usize) -> Vec<(usize, usize)> {
    let base = PACKAGES - BASE + (package + index) % BASE;
    let library = |offset: usize| PROCESSES + (index + offset) % (MODULES - PROCESSES);
    let mut libraries = Vec::new();
    if index < PROCESSES {
        libraries.extend([0, 3].map(|offset| (package, library(offset))));
    }
    if package < PACKAGES - BASE {
        libraries.extend([0, 5].map(|offset| (base, library(offset))));
    }
    libraries
}

/// A library defines 200 functions, of which each user takes 10; everybody takes 50 of the C library.
fn symbols(package: usize, index: usize) -> SymbolLists {
    let function = |package: usize, index: usize, number: usize| {
        format!("library_{package}_{index}_function_{number}")
    };
    let is_library = index >= PROCESSES;
    let own = (0..200).filter(|_| is_library);
    let taken = libraries(package, index)
        .into_iter()
        .flat_map(|(package, library)| {
            (0..10).map(move |number| function(package, library, (number * 7 + index) % 200))
        });
    let of_c = (0..50).map(|number| format!("standard_function_{number}@GLIBC_2.34"));
    SymbolLists {
        exported: own.map(|number| function(package, index, number)).collect(),
        imported: taken.chain(of_c).collect(),
    }
}

fn module(package: usize, index: usize, version: u64) -> Value {
    let is_process = index < PROCESSES;
    let libraries = libraries(package, index).into_iter();
    let libraries = libraries.map(|(package, index)| soname(package, index));
    let needed: Vec<_> = ["libc.so.6".to_owned()]
        .into_iter()
        .chain(libraries)
        .collect();
    let content = format!(
        "{package} {index} {}",
        if index == MODULES - 1 { version } else { 1 }
    );
    let digest = Digest::of(content.as_bytes());
    let path = if is_process {
        format!("usr/bin/process{package}-{index}")
    } else {
        format!("usr/lib/{}", soname(package, index))
    };
    let list = placet_model::digest_of(&symbols(package, index));
    let mut module = json!({
        "path": path,
        "mode": if is_process { "0755" } else { "0644" },
        "type": if is_process { "process" } else { "library" },
        "architecture": "x86_64",
        "size": 40_000 + index * 1_000,
        "digest": digest,
        "signature": format!("md5:{}", &digest.hex()[..32]),
        "elf": {
            "class": "elf64",
            "symbols": list,
            "needed": needed,
            "versionsNeeded": [{ "soname": "libc.so.6", "version": "GLIBC_2.34" }],
        },
    });
    if is_process {
        module["elf"]["interpreter"] = json!("/lib64/ld-linux-x86-64.so.2");
        module["process"] = json!({
            "name": format!("process{package}-{index}"),
            "kind": if index == 0 { "self-managing" } else { "simple" },
            "arguments": ["--config", format!("/etc/process{package}.conf")],
        });
    } else {
        module["elf"]["soname"] = json!(soname(package, index));
    }
    module
}
