//! Which objects the loader brings into one process, and in what order.
//!
//! Source: the GNU C library, `elf/dl-load.c` (`_dl_map_object`) and `elf/dl-deps.c`.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::object::Object;
use super::open::OpenImports;
use super::search::{SearchOrder, expand};
use super::tree::{Found, Tree};

/// Puts together what would be in processes of one tree.
pub struct Loader<'a> {
    tree: &'a dyn Tree,
    order: &'a SearchOrder,
    /// What was found, by who needs it (its path) and under which name, where nothing else matters.
    known: RefCell<HashMap<(String, String), Option<Found>>>,
    open: Rc<OpenImports>,
}

impl std::fmt::Debug for Loader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("order", self.order)
            .finish_non_exhaustive()
    }
}

/// What is in a process that begins with one object, or would come with a library alone.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// In the order in which the loader looks for symbols; the first is what it begins with.
    pub objects: Vec<LoadedObject>,
    /// The interpreter, which is in the process too; for a program that names one.
    pub interpreter: Option<Found>,
    /// What is known of its objects from other processes.
    pub(super) open: Rc<OpenImports>,
}

/// An object in a process.
#[derive(Debug, Clone)]
pub struct LoadedObject {
    /// Its absolute path, free of links.
    pub path: String,
    /// The object.
    pub object: Arc<Object>,
    /// What it needs, in its order.
    pub uses: Vec<Use>,
    /// Who brought it in first.
    loaded_by: Option<usize>,
}

/// A library that an object needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The name under which it is needed.
    pub name: String,
    /// Its place among the objects of the process; `None` if the loader finds none.
    pub found: Option<Target>,
}

/// What a needed name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The object with this place.
    Object(usize),
    /// The interpreter, which is there anyway.
    Interpreter,
}

impl<'a> Loader<'a> {
    /// A loader that looks into `tree` in the order `order`.
    pub fn new(tree: &'a dyn Tree, order: &'a SearchOrder) -> Self {
        Self {
            tree,
            order,
            known: RefCell::default(),
            open: Rc::default(),
        }
    }

    /// What comes with `first`, breadth first.
    pub fn load(&self, first: &Found) -> Loaded {
        let interpreter = first.object.facts.interpreter.as_deref();
        let mut process = Process {
            loader: self,
            loaded: Loaded {
                objects: Vec::new(),
                interpreter: interpreter.and_then(|path| self.tree.find(path)),
                open: Rc::clone(&self.open),
            },
            by_name: BTreeMap::new(),
            by_path: BTreeMap::new(),
        };
        process.add(first.clone(), None);
        let mut next = 0;
        while next < process.loaded.objects.len() {
            process.load_needs_of(next);
            next += 1;
        }
        process.loaded
    }
}

/// A process that is being put together.
struct Process<'l> {
    loader: &'l Loader<'l>,
    loaded: Loaded,
    /// Objects by sonames, and names under which they were found.
    by_name: BTreeMap<String, usize>,
    by_path: BTreeMap<String, usize>,
}

impl Process<'_> {
    fn add(&mut self, found: Found, loaded_by: Option<usize>) -> usize {
        let index = self.loaded.objects.len();
        if let Some(soname) = &found.object.facts.soname {
            self.by_name.entry(soname.clone()).or_insert(index);
        }
        self.by_path.insert(found.path.clone(), index);
        self.loaded.objects.push(LoadedObject {
            path: found.path,
            object: found.object,
            uses: Vec::new(),
            loaded_by,
        });
        index
    }

    fn load_needs_of(&mut self, user: usize) {
        let needed = self.loaded.objects[user].object.facts.needed.clone();
        for name in needed {
            let found = self.need(&name, user);
            self.loaded.objects[user].uses.push(Use { name, found });
        }
    }

    fn need(&mut self, name: &str, user: usize) -> Option<Target> {
        if let Some(index) = self.by_name.get(name) {
            return Some(Target::Object(*index));
        }
        if self.is_interpreter(name) {
            return Some(Target::Interpreter);
        }
        let found = self.search(name, user)?;
        let known = self.by_path.get(&found.path).copied();
        let index = known.unwrap_or_else(|| self.add(found, Some(user)));
        self.by_name.entry(name.to_owned()).or_insert(index);
        Some(Target::Object(index))
    }

    fn is_interpreter(&self, name: &str) -> bool {
        let interpreter = self.loaded.interpreter.as_ref();
        interpreter.is_some_and(|it| it.object.facts.soname.as_deref() == Some(name))
    }

    fn search(&self, name: &str, user: usize) -> Option<Found> {
        let inherited = self.inherited(user);
        if !inherited.is_empty() {
            return self.look(name, user, &inherited);
        }
        let key = (self.loaded.objects[user].path.clone(), name.to_owned());
        if let Some(found) = self.loader.known.borrow().get(&key) {
            return found.clone();
        }
        let found = self.look(name, user, &inherited);
        self.loader.known.borrow_mut().insert(key, found.clone());
        found
    }

    fn look(&self, name: &str, user: usize, inherited: &[String]) -> Option<Found> {
        let first = &self.loaded.objects[0].object;
        let user = &self.loaded.objects[user];
        let at = |path: &str| {
            let found = path.starts_with('/').then(|| self.loader.tree.find(path));
            found.flatten().filter(|found| found.object.fits(first))
        };
        if name.contains('/') {
            let paths = expand(name, folder_of(&user.path), &user.object);
            return paths.iter().find_map(|path| at(path));
        }
        let facts = &user.object.facts;
        let own = if facts.inherited_run_path {
            Vec::new()
        } else {
            run_path(user)
        };
        let order = self.loader.order;
        let system = order.system(&user.object.architecture, facts.class);
        let system = (!facts.ignores_default_folders).then_some(system);
        let system = system.unwrap_or_default();
        let folders = inherited.iter().chain(&order.library_path);
        let mut folders = folders.chain(&own).chain(&system);
        folders.find_map(|folder| at(&format!("{folder}/{name}")))
    }

    /// The folders of `DT_RPATH` of whoever needs a library, of who brought that in, and so on.
    /// Whoever has `DT_RUNPATH` has no use for them.
    fn inherited(&self, user: usize) -> Vec<String> {
        let objects = &self.loaded.objects;
        let own = &objects[user].object.facts;
        if !own.run_path.is_empty() && !own.inherited_run_path {
            return Vec::new();
        }
        let chain = std::iter::successors(Some(user), |index| objects[*index].loaded_by);
        let chain = chain.map(|index| &objects[index]);
        let chain = chain.filter(|object| object.object.facts.inherited_run_path);
        chain.flat_map(run_path).collect()
    }
}

/// The folders that an object names, as paths.
fn run_path(object: &LoadedObject) -> Vec<String> {
    let origin = folder_of(&object.path);
    let folders = object.object.facts.run_path.iter();
    folders
        .flat_map(|folder| expand(folder, origin, &object.object))
        .collect()
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Loaded {
    pub(super) fn object_of(&self, target: Target) -> Option<&Arc<Object>> {
        match target {
            Target::Object(index) => Some(&self.objects[index].object),
            Target::Interpreter => self.interpreter.as_ref().map(|found| &found.object),
        }
    }
}
