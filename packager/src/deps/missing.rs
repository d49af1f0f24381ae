//! What a process would miss.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use placet_model::{Symbol, visible};
use serde::Serialize;

use super::load::{Loaded, Target};
use super::object::Object;

/// Something that the loader does not find.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Missing {
    /// The loader itself.
    Interpreter {
        /// The path that the program names.
        path: String,
    },
    /// A needed library: it is in none of the folders, or only for other processors.
    Library {
        /// The name under which it is needed.
        name: String,
    },
    /// A symbol version that a library which is there does not define.
    Version {
        /// The name under which the library is needed.
        library: String,
        /// The version.
        version: String,
    },
    /// A symbol that no object of the process exports, not even weakly.
    Symbol {
        /// Its name, with its version where it has one.
        symbol: String,
        /// The name under which the library is needed whose version it is, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        library: Option<String>,
    },
    /// Symbols that one of these libraries may define, all of which are missing.
    Libraries {
        /// The names under which they are needed.
        names: BTreeSet<String>,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interpreter { path } => write!(f, "interpreter {}", visible(path)),
            Self::Library { name } => write!(f, "library {}", visible(name)),
            Self::Version { library, version } => {
                write!(f, "version {} of {}", visible(version), visible(library))
            }
            Self::Symbol { symbol, .. } => write!(f, "symbol {}", visible(symbol)),
            Self::Libraries { names } => {
                let names: Vec<_> = names.iter().map(|name| visible(name).to_string()).collect();
                write!(f, "one of {}", names.join(", "))
            }
        }
    }
}

impl Loaded {
    /// What is missing in the process, by the place of the object that misses it.
    ///
    /// A library that is missing may have defined what is missing elsewhere; versions and symbols
    /// are only looked for in what is there. Weak ones are never missing.
    pub fn missing(&self) -> Vec<(usize, Missing)> {
        let mut missing = Vec::new();
        let first = &self.objects[0].object.facts;
        if let Some(path) = first
            .interpreter
            .clone()
            .filter(|_| self.interpreter.is_none())
        {
            missing.push((0, Missing::Interpreter { path }));
        }
        self.missing_libraries(&mut missing);
        self.missing_versions(&mut missing);
        self.missing_symbols(&mut missing);
        missing
    }

    fn missing_libraries(&self, missing: &mut Vec<(usize, Missing)>) {
        for (index, object) in self.objects.iter().enumerate() {
            let libraries = object.uses.iter().filter(|library| library.found.is_none());
            missing.extend(libraries.map(|library| {
                let name = library.name.clone();
                (index, Missing::Library { name })
            }));
        }
    }

    fn missing_versions(&self, missing: &mut Vec<(usize, Missing)>) {
        let mut targets: BTreeMap<&str, Target> = BTreeMap::new();
        for library in self.objects.iter().flat_map(|object| &object.uses) {
            if let Some(target) = library.found {
                targets.entry(&library.name).or_insert(target);
            }
        }
        for (index, object) in self.objects.iter().enumerate() {
            for wanted in &object.object.facts.versions_needed {
                let target = targets.get(wanted.soname.as_str());
                let library = target.and_then(|target| self.object_of(*target));
                if library.is_some_and(|library| lacks_version(library, &wanted.version)) {
                    let (library, version) = (wanted.soname.clone(), wanted.version.clone());
                    missing.push((index, Missing::Version { library, version }));
                }
            }
        }
    }

    fn missing_symbols(&self, missing: &mut Vec<(usize, Missing)>) {
        let open = self.open_imports();
        let scope = Scope::of(self, open.len());
        let open = open.into_iter();
        let nowhere = open.filter(|(index, import)| !scope.defines(*index, import));
        missing.extend(nowhere.map(|(index, import)| {
            let symbol = import.text.to_owned();
            let library = library_of(&self.objects[index].object, import.version);
            (index, Missing::Symbol { symbol, library })
        }));
    }

    /// What objects import and none of the libraries that they need themselves defines, by the place
    /// of the object.
    fn open_imports(&self) -> Vec<(usize, Symbol<'_>)> {
        let mut all = Vec::new();
        for (index, loaded) in self.objects.iter().enumerate() {
            let object = &loaded.object;
            let found = loaded.uses.iter().filter_map(|library| library.found);
            let libraries = found.filter_map(|target| self.object_of(target));
            let open = self.open.of(object, libraries);
            if !open.is_empty() {
                let imports: Vec<_> = object.symbols.imported().collect();
                all.extend(open.iter().map(|place| (index, imports[*place])));
            }
        }
        all
    }

    /// All that define symbols for others. The interpreter does where one of them needs it by name,
    /// as C libraries do.
    fn definers(&self) -> Vec<&Object> {
        let mut uses = self.objects.iter().flat_map(|object| &object.uses);
        let is_needed = uses.any(|library| library.found == Some(Target::Interpreter));
        let interpreter = self.interpreter.iter().filter(|_| is_needed);
        let objects = self.objects.iter().map(|loaded| &*loaded.object);
        objects
            .chain(interpreter.map(|found| &*found.object))
            .collect()
    }
}

/// What is defined in a process.
enum Scope<'a> {
    /// By object: for a few questions.
    Objects(Vec<&'a Object>),
    /// By name, with the place of the object: for many.
    Names(HashMap<&'a str, Vec<(usize, Symbol<'a>)>>),
}

impl<'a> Scope<'a> {
    /// A scope that is to be asked so often.
    fn of(loaded: &'a Loaded, questions: usize) -> Self {
        let definers = loaded.definers();
        let exports = definers.iter().map(|it| it.symbols.exported().len());
        if questions.saturating_mul(definers.len()) <= exports.sum() {
            return Self::Objects(definers);
        }
        let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
        for (index, object) in definers.into_iter().enumerate() {
            for symbol in object.symbols.exported() {
                let same = by_name.entry(symbol.name).or_default();
                same.push((index, symbol));
            }
        }
        Self::Names(by_name)
    }

    /// True if an object defines what the one with this place imports. Nobody makes a copy of their
    /// own copy.
    fn defines(&self, index: usize, import: &Symbol<'_>) -> bool {
        let is_other = |place: usize| !import.is_copied || place != index;
        match self {
            Self::Objects(objects) => {
                let mut objects = objects.iter().enumerate();
                objects.any(|(place, it)| is_other(place) && it.symbols.defines(import))
            }
            Self::Names(by_name) => {
                let mut named = by_name.get(import.name).into_iter().flatten();
                named.any(|(place, export)| is_other(*place) && export.serves(import))
            }
        }
    }
}

/// The one library of which `user` needs this version.
fn library_of(user: &Object, version: Option<&str>) -> Option<String> {
    let needed = user.facts.versions_needed.iter();
    let mut libraries = needed.filter(|needed| Some(needed.version.as_str()) == version);
    match (libraries.next(), libraries.next()) {
        (Some(only), None) => Some(only.soname.clone()),
        _ => None,
    }
}

/// A library without any versions serves whoever wants one; the loader only warns.
fn lacks_version(library: &Object, version: &str) -> bool {
    let provided = &library.facts.versions_provided;
    let is_own_name = library.facts.soname.as_deref() == Some(version);
    !provided.is_empty() && !provided.contains(version) && !is_own_name
}
