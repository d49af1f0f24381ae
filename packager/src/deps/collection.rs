//! What was asked about: files, folders and packages, and how their objects use each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use placet_package::ElfKind;

use super::error::Error;
use super::graph::Graph;
use super::load::{Loaded, Loader, Target, Use};
use super::machine::Machine;
use super::missing::Missing;
use super::object::Object;
use super::search::SearchOrder;
use super::sources::Gathered;
use super::tree::{Files, Found, Tree};
use super::unresolved::{Unresolved, grouped};

/// Objects that were asked about, in the tree in which they are looked at.
#[derive(Debug)]
pub struct Collection {
    entries: Vec<Entry>,
    tree: Ground,
    order: SearchOrder,
    /// Files that claim to be ELF files and make no sense.
    pub damaged: Vec<Error>,
}

/// An object that was asked about.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its absolute path for processes.
    pub path: String,
    /// The object.
    pub object: Arc<Object>,
    /// What it needs: the name, and the path of what the loader finds.
    pub uses: Vec<(String, Option<String>)>,
}

/// Where libraries are looked for.
#[derive(Debug)]
enum Ground {
    /// Only among what was asked about.
    Alone(Files),
    /// On a machine too.
    Machine(Machine),
}

impl Ground {
    /// What was asked about, where it comes to stand.
    fn laid(&self) -> &Files {
        match self {
            Self::Alone(files) => files,
            Self::Machine(machine) => machine.files(),
        }
    }
}

impl Tree for Ground {
    fn find(&self, path: &str) -> Option<Found> {
        match self {
            Self::Alone(files) => files.find(path),
            Self::Machine(machine) => machine.find(path),
        }
    }
}

impl Collection {
    /// Reads what `sources` name: files, folders, and packages (`oci-layout:DIR:TAG`). Folders and
    /// packages hold paths as they are installed. Libraries are looked for among them and, with
    /// `root`, in the tree of the machine below it. What stands first at a path counts.
    ///
    /// # Errors
    ///
    /// What cannot be read. Damaged ELF files in folders and packages are collected in `damaged`.
    pub fn read(sources: &[String], root: Option<&Path>) -> Result<Self, Error> {
        let mut gathered = Gathered::default();
        for source in sources {
            gathered.add(source, root)?;
        }
        let mut files = Files::default();
        let damaged = gathered.read_into(&mut files)?;
        let order = SearchOrder {
            library_path: gathered.library_path.into_iter().collect(),
            ..root.map(SearchOrder::of_root).unwrap_or_default()
        };
        let tree = match root {
            Some(root) => Ground::Machine(Machine::new(root).with(&files)),
            None => Ground::Alone(files),
        };
        let entries = tree.laid().objects().map(|(path, object)| Entry {
            path: path.to_owned(),
            object: Arc::clone(object),
            uses: Vec::new(),
        });
        let mut collection = Self {
            entries: entries.collect(),
            tree,
            order,
            damaged,
        };
        collection.find_uses();
        Ok(collection)
    }

    /// Finds what each object needs, as if it were loaded alone.
    fn find_uses(&mut self) {
        let loader = Loader::new(&self.tree, &self.order);
        let uses: Vec<_> = self
            .entries
            .iter()
            .map(|entry| direct(&loader.load(&entry.found())))
            .collect();
        for (entry, uses) in self.entries.iter_mut().zip(uses) {
            entry.uses = uses;
        }
    }

    /// The objects that were asked about, by path.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Everything that the loader would not find: in programs, and in libraries that no program
    /// among those asked about loads.
    pub fn unresolved(&self) -> Vec<Unresolved> {
        let loader = Loader::new(&self.tree, &self.order);
        let (programs, others): (Vec<_>, Vec<_>) = self
            .entries
            .iter()
            .filter(|entry| entry.object.kind != ElfKind::Other)
            .partition(|entry| entry.object.kind == ElfKind::Executable);
        let mut missing = BTreeMap::new();
        let mut in_programs = BTreeSet::new();
        for program in programs {
            let process = loader.load(&program.found());
            note(&process, &mut missing);
            in_programs.extend(process.objects.into_iter().map(|object| object.path));
        }
        for library in others {
            if !in_programs.contains(&library.path) {
                note(&loader.load(&library.found()), &mut missing);
            }
        }
        let missing = missing.into_iter();
        let missing = missing.map(|((path, missing), loaded_by)| Unresolved {
            exported_by: self.exporters(&missing),
            path,
            missing,
            symbols: BTreeSet::new(),
            loaded_by,
        });
        grouped(missing.collect())
    }

    fn exporters(&self, missing: &Missing) -> BTreeSet<String> {
        let Missing::Symbol { symbol, .. } = missing else {
            return BTreeSet::new();
        };
        let name = symbol.split('@').next().unwrap_or_default();
        let exporters = self
            .entries
            .iter()
            .filter(|entry| entry.object.symbols.exports(name));
        exporters.map(|entry| entry.path.clone()).collect()
    }

    /// The entries that the paths and sonames in `name` mean.
    pub fn named(&self, name: &str) -> BTreeSet<String> {
        let is_it = |entry: &&Entry| {
            entry.object.facts.soname.as_deref() == Some(name)
                || entry.path == name
                || entry.path.strip_prefix('/') == Some(name)
        };
        let entries = self.entries.iter().filter(is_it).map(|entry| &entry.path);
        // A library of the machine, or one that is missing, is known by the name that others use.
        let libraries = self.entries.iter().flat_map(|entry| &entry.uses);
        let libraries = libraries
            .filter(|(needed, path)| needed == name || path.as_deref() == Some(name))
            .map(|(needed, path)| path.as_ref().unwrap_or(needed));
        entries.chain(libraries).cloned().collect()
    }

    /// For each object, by path or, where it is missing, by name: which others it comes to through
    /// those that it uses itself.
    pub fn graph(&self) -> Graph {
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let loader = Loader::new(&self.tree, &self.order);
        for entry in &self.entries {
            let process = loader.load(&entry.found());
            for object in &process.objects {
                let targets = object.uses.iter().map(|library| target(&process, library));
                let targets: BTreeSet<_> =
                    targets.map(|(name, path)| path.unwrap_or(name)).collect();
                uses.entry(object.path.clone()).or_default().extend(targets);
            }
        }
        Graph::new(uses)
    }
}

impl Entry {
    fn found(&self) -> Found {
        Found {
            path: self.path.clone(),
            object: Arc::clone(&self.object),
        }
    }
}

/// What the first object of a process needs, and the paths of what is found.
fn direct(loaded: &Loaded) -> Vec<(String, Option<String>)> {
    let uses = loaded.objects[0].uses.iter();
    uses.map(|library| target(loaded, library)).collect()
}

fn target(loaded: &Loaded, library: &Use) -> (String, Option<String>) {
    let path = match library.found {
        Some(Target::Object(index)) => Some(loaded.objects[index].path.clone()),
        Some(Target::Interpreter) => loaded.interpreter.as_ref().map(|it| it.path.clone()),
        None => None,
    };
    (library.name.clone(), path)
}

/// Notes what is missing in a process, by the object that misses it.
fn note(loaded: &Loaded, missing: &mut BTreeMap<(String, Missing), BTreeSet<String>>) {
    for (index, what) in loaded.missing() {
        let path = loaded.objects[index].path.clone();
        let processes = missing.entry((path, what)).or_default();
        processes.insert(loaded.objects[0].path.clone());
    }
}
