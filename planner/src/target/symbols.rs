//! Are the symbols there that the modules of a node import? (D7, B3)
//!
//! Every module is looked at with the libraries that it needs itself, which come with it into every
//! process. Only for what these leave undefined the processes are looked at that load the module: the
//! program, or another of its libraries, may define it.
//!
//! **Invariant:** what is not known is never missing. A symbol with a version is of the library that it
//! was linked with; one without may be of any library that no package describes, but for those that
//! the module would name a version of.

mod linked;
mod undefined;

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Digest, NodeManifest, Symbol};

use self::linked::{Linked, Part, Process};
pub(super) use self::undefined::Memo;
use self::undefined::{Undefined, is_defined};
use super::{Findings, Scope};
use crate::libraries::Libraries;
use crate::{CatalogEntry, MissingSymbols, Note, Problem};

/// What is missing in whatever processes, and what is not known.
#[derive(Default)]
struct Found<'a> {
    /// By module and library.
    missing: BTreeMap<(usize, Option<&'a str>), Missing<'a>>,
    /// Modules that import what may be defined where nobody has described it.
    unknown: BTreeSet<usize>,
    /// The libraries that may define it.
    undescribed: BTreeSet<&'a str>,
}

/// Symbols that one module misses, and the modules with which it is loaded where it does.
#[derive(Default)]
struct Missing<'a> {
    symbols: BTreeSet<&'a str>,
    programs: BTreeSet<usize>,
}

/// The lists of symbols that are known of packages.
pub(super) fn lists<'a>(packages: &[&'a CatalogEntry]) -> impl Iterator<Item = &'a Digest> {
    packages.iter().flat_map(|entry| entry.symbols.keys())
}

pub(super) fn check(
    scope: &Scope,
    packages: &[&CatalogEntry],
    manifest: &NodeManifest,
    libraries: &Libraries<'_>,
    findings: &mut Findings,
) {
    if packages.iter().all(|entry| entry.symbols.is_empty()) {
        return;
    }
    let linked = Linked::new(manifest, libraries, packages);
    let mut memo = scope.memo.borrow_mut();
    let open: BTreeMap<_, _> = (0..linked.parts.len())
        .map(|index| (index, memo.undefined(&linked, index)))
        .filter(|(_, undefined)| !undefined.is_empty())
        .collect();
    if !open.is_empty() {
        let found = look_at_processes(&linked, &open);
        report(scope, &linked, &found, findings);
    }
}

fn look_at_processes<'a>(
    linked: &Linked<'a>,
    open: &BTreeMap<usize, Box<[Undefined]>>,
) -> Found<'a> {
    let mut found = Found::default();
    let mut loaded = BTreeSet::new();
    for program in linked.programs() {
        let process = linked.process(program, true);
        for index in &process.parts {
            if let Some(undefined) = open.get(index) {
                loaded.insert(*index);
                found.look(linked, (*index, undefined), &process, true);
            }
        }
    }
    for (index, undefined) in open {
        if !loaded.contains(index) {
            found.look(
                linked,
                (*index, undefined),
                &linked.process(*index, true),
                false,
            );
        }
    }
    found
}

impl<'a> Found<'a> {
    /// Looks for what a module of `process` leaves undefined. Whoever opens a module that no program is
    /// known to load may define what it wants.
    fn look(
        &mut self,
        linked: &Linked<'a>,
        (index, undefined): (usize, &[Undefined]),
        process: &Process<'a>,
        is_whole: bool,
    ) {
        let part = &linked.parts[index];
        let Some(symbols) = part.symbols else {
            return;
        };
        let imports: Vec<_> = symbols.imported().collect();
        let undescribed = undescribed(linked, part, process);
        let is_known = is_whole && undescribed.is_empty();
        for Undefined { import, library } in undefined {
            let import: &Symbol<'a> = &imports[*import];
            if is_defined(linked, index, import, &process.parts) {
                continue;
            }
            if library.is_none() && !is_known {
                self.unknown.insert(index);
                self.undescribed.extend(&undescribed);
                continue;
            }
            let library = library.map(|need| part.needs[need].0);
            let missing = self.missing.entry((index, library)).or_default();
            missing.symbols.insert(import.text);
            missing.programs.insert(process.parts[0]);
        }
    }
}

/// Libraries of a process that may define what `part` imports without a version.
fn undescribed<'a>(
    linked: &Linked<'a>,
    part: &Part<'a>,
    process: &Process<'a>,
) -> BTreeSet<&'a str> {
    let base = process.base.iter().copied();
    let base = base.filter(|library| !part.names_versions_of(library));
    let own = process.parts.iter().map(|index| &linked.parts[*index]);
    let own = own.filter(|part| part.symbols.is_none());
    base.chain(own.map(|part| part.entry.module.path.as_str()))
        .collect()
}

fn report(scope: &Scope, linked: &Linked<'_>, found: &Found<'_>, findings: &mut Findings) {
    for ((index, library), missing) in &found.missing {
        let part = &linked.parts[*index];
        let (library, candidates) = candidates(scope, linked, part, (*library, missing));
        let programs = missing.programs.iter();
        let programs = programs.map(|index| &linked.parts[*index].entry.module);
        let processes = programs
            .clone()
            .filter_map(|module| module.process.as_ref());
        let missing = MissingSymbols {
            nodes: scope.nodes.clone(),
            package: part.entry.package.clone(),
            module: part.entry.module.path.clone(),
            symbols: missing.symbols.iter().map(|it| (*it).to_owned()).collect(),
            library,
            loaded_by: programs.map(|module| module.path.clone()).collect(),
            processes: processes.map(|process| process.name.clone()).collect(),
            candidates,
            now: None,
        };
        let problem = Problem::Symbols(Box::new(missing));
        findings.problems.insert(problem);
    }
    if !found.unknown.is_empty() {
        let modules = found.unknown.iter();
        findings.notes.insert(Note::SymbolsNotKnown {
            declared_by: scope.declared_by(),
            modules: modules
                .map(|index| linked.parts[*index].entry.module.path.clone())
                .collect(),
            libraries: found
                .undescribed
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
        });
    }
}

/// The library that should define the symbols, and packages whose library of that name does. Symbols
/// without a version are of a library that the module needs: of one of which some package defines
/// them; or, as a program is linked with all that it uses, of the only one that is described.
fn candidates(
    scope: &Scope,
    linked: &Linked<'_>,
    part: &Part<'_>,
    (library, missing): (Option<&str>, &Missing<'_>),
) -> (Option<String>, Vec<String>) {
    let with = |library: &str| {
        let architecture = &scope.configuration.architecture;
        scope
            .shelf
            .with_symbols(library, &missing.symbols, architecture)
    };
    if let Some(library) = library {
        return (Some(library.to_owned()), with(library));
    }
    let needs = part.needs.iter().map(|(name, _)| *name);
    let mut found = needs.map(|name| (name, with(name)));
    if let Some((name, candidates)) = found.find(|(_, candidates)| !candidates.is_empty()) {
        return (Some(name.to_owned()), candidates);
    }
    let is_described = |index: &usize| linked.parts[*index].symbols.is_some();
    let described = part
        .needs
        .iter()
        .filter(|(_, found)| found.iter().any(is_described));
    let mut described = described
        .map(|(name, _)| *name)
        .filter(|_| part.is_program());
    let only = described.next().filter(|_| described.next().is_none());
    (only.map(ToOwned::to_owned), Vec::new())
}
