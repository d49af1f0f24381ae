//! Completeness by symbol of random fleets, beside an oracle that looks at every process by itself and
//! remembers nothing.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::build::{M, fleet, library, package, process};
use crate::{Note, Problem};

/// Libraries 0 to 3 are packages' own; the last one is of the base software.
const LIBRARIES: usize = 5;
const BASE: usize = LIBRARIES - 1;
const PROGRAMS: usize = 2;
/// What is imported with a version has the first one.
const VERSIONS: [&str; 2] = ["V", "W"];

/// One ELF file, in numbers of libraries and of functions.
#[derive(Debug, Clone)]
struct Spec {
    needs: BTreeSet<usize>,
    /// Functions, each with a version or none.
    exports: BTreeSet<(usize, Option<usize>)>,
    /// Functions, and the library of whose version they are.
    imports: BTreeSet<(usize, Option<usize>)>,
    versions: BTreeSet<usize>,
}

fn spec() -> impl Strategy<Value = Spec> {
    let set = |size| proptest::collection::btree_set(0..LIBRARIES, 0..size);
    let version = proptest::option::of(0..VERSIONS.len());
    let exports = proptest::collection::btree_set((0..4_usize, version), 0..6);
    let of = proptest::option::of(0..LIBRARIES);
    let imports = proptest::collection::btree_set((0..4_usize, of), 0..4);
    let spare = proptest::option::of(0..VERSIONS.len());
    (set(3), exports, imports, spare).prop_map(|(needs, exports, imports, spare)| {
        let named = imports.iter().filter_map(|(_, library)| *library);
        let versions = exports.iter().filter_map(|(_, version)| *version);
        Spec {
            needs: needs.into_iter().chain(named).collect(),
            versions: versions.chain(spare).collect(),
            exports,
            imports,
        }
    })
}

fn text(function: usize, version: Option<usize>) -> String {
    let version = version.map(|version| format!("@{}", VERSIONS[version]));
    format!("f{function}{}", version.unwrap_or_default())
}

fn soname(library: usize) -> String {
    format!("lib{library}.so")
}

impl Spec {
    fn module(&self, module: M) -> M {
        let mut module = module.content(&format!("{self:?}"));
        for library in &self.needs {
            module = module.needs(&soname(*library));
        }
        for (function, version) in &self.exports {
            module = module.exports(&text(*function, *version));
        }
        for (function, library) in &self.imports {
            module = module.imports(&text(*function, library.map(|_| 0)));
            if let Some(library) = library {
                module = module.needs_version(&soname(*library), VERSIONS[0]);
            }
        }
        for version in &self.versions {
            module = module.version(VERSIONS[*version]);
        }
        // Even one without any symbol has a list, which is empty.
        module.exports("").imports("")
    }

    /// The libraries of whose version something is imported.
    fn versions_of(&self) -> BTreeSet<usize> {
        self.imports
            .iter()
            .filter_map(|(_, library)| *library)
            .collect()
    }
}

/// Missing symbols and modules of which not all is known.
type Verdict = (BTreeSet<(String, String)>, BTreeSet<String>);

/// Every file, libraries first.
struct Oracle<'a>(&'a [Spec]);

impl Oracle<'_> {
    fn path(index: usize) -> String {
        if index < LIBRARIES {
            format!("usr/lib/{}", soname(index))
        } else {
            format!("usr/bin/p{index}")
        }
    }

    fn loaded(&self, from: usize, into: &mut BTreeSet<usize>) {
        if into.insert(from) && from != BASE {
            self.0[from]
                .needs
                .iter()
                .for_each(|next| self.loaded(*next, into));
        }
    }

    fn is_defined(
        &self,
        index: usize,
        (function, library): (usize, Option<usize>),
        process: &BTreeSet<usize>,
    ) -> bool {
        // What a file both exports and imports is its copy of what another one defines.
        let own = (function, library.map(|_| 0));
        let is_copied = self.0[index].exports.contains(&own);
        process.iter().any(|other| {
            let mut exports = self.0[*other].exports.iter();
            let may_serve = *other != BASE && !(is_copied && *other == index);
            may_serve
                && exports.any(|(exported, version)| {
                    let serves = library.is_none() || version.is_none_or(|version| version == 0);
                    *exported == function && serves
                })
        })
    }

    fn judge(&self) -> Verdict {
        let mut verdict = Verdict::default();
        let mut seen = BTreeSet::new();
        for program in LIBRARIES..self.0.len() {
            let mut process = BTreeSet::new();
            self.loaded(program, &mut process);
            for index in &process {
                self.look(*index, &process, true, &mut verdict);
            }
            seen.extend(process);
        }
        for alone in (0..BASE).filter(|index| !seen.contains(index)) {
            let mut process = BTreeSet::new();
            self.loaded(alone, &mut process);
            self.look(alone, &process, false, &mut verdict);
        }
        verdict
    }

    fn look(&self, index: usize, process: &BTreeSet<usize>, is_whole: bool, verdict: &mut Verdict) {
        if index == BASE {
            return;
        }
        let spec = &self.0[index];
        for (function, library) in &spec.imports {
            if self.is_defined(index, (*function, *library), process) {
                continue;
            }
            let versions = spec.versions_of();
            let is_missing = if library.is_some() {
                // A library that has versions and not this one is told of by itself.
                let has_it =
                    |versions: &BTreeSet<usize>| versions.is_empty() || versions.contains(&0);
                let mut libraries = versions.iter();
                libraries.all(|library| *library != BASE && has_it(&self.0[*library].versions))
            } else {
                let is_known = is_whole && (!process.contains(&BASE) || versions.contains(&BASE));
                if !is_known {
                    verdict.1.insert(Self::path(index));
                }
                is_known
            };
            if is_missing {
                let symbol = text(*function, library.map(|_| 0));
                verdict.0.insert((Self::path(index), symbol));
            }
        }
    }
}

fn by_the_planner(specs: &[Spec]) -> Verdict {
    let modules = specs.iter().enumerate().filter(|(index, _)| *index != BASE);
    let modules = modules.map(|(index, spec)| {
        let module = if index < LIBRARIES {
            library(&soname(index))
        } else {
            process(&format!("p{index}"))
        };
        spec.module(module)
    });
    let fleet = fleet([package("all 1.0.0", modules)]).class("core", &["all 1.0.0"]);
    let target = fleet.target();
    let mut verdict = Verdict::default();
    for problem in &target.problems {
        if let Problem::Symbols(missing) = problem {
            let symbols = missing.symbols.iter().cloned();
            verdict
                .0
                .extend(symbols.map(|symbol| (missing.module.to_string(), symbol)));
        }
    }
    for note in &target.notes {
        if let Note::SymbolsNotKnown { modules, .. } = note {
            verdict.1.extend(modules.iter().map(ToString::to_string));
        }
    }
    verdict
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn d7_symbols_of_a_random_fleet_are_judged_as_an_oracle_judges_them(
        specs in proptest::collection::vec(spec(), LIBRARIES + PROGRAMS),
    ) {
        prop_assert_eq!(by_the_planner(&specs), Oracle(&specs).judge());
    }
}
