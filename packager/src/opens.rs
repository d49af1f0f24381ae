//! Simple processes that can open libraries behind the linker's back (B7).

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Architecture, Module, ModulePath, ProcessKind};

/// The modules of a package by what the loader looks for.
type BySoname<'a> = BTreeMap<(&'a str, &'a Architecture), &'a Module>;

/// The simple processes, by position, that reach dlopen with no declared dependency on their way,
/// each with every module that imports it.
pub(crate) fn undeclared(modules: &[Module]) -> impl Iterator<Item = (&Module, &ModulePath)> {
    let by_soname = by_soname(modules);
    let processes = modules
        .iter()
        .filter(|module| is_simple(module) && module.supplemental.is_empty());
    processes.flat_map(move |process| {
        let reached = reached(process, &by_soname).into_iter();
        let openers = reached.filter(|module| opens(module) && module.supplemental.is_empty());
        openers.map(move |opener| (process, &opener.path))
    })
}

fn is_simple(module: &Module) -> bool {
    let process = module.process.as_ref();
    process.is_some_and(|process| process.kind == ProcessKind::Simple)
}

fn opens(module: &Module) -> bool {
    module.elf.as_ref().is_some_and(|elf| elf.opens_libraries)
}

fn by_soname(modules: &[Module]) -> BySoname<'_> {
    let libraries = modules.iter().filter_map(|module| {
        let elf = module.elf.as_ref()?;
        let name = elf.soname.as_deref().unwrap_or(module.path.file_name());
        Some(((name, &module.architecture), module))
    });
    libraries.collect()
}

/// `process` and every library of the package that it uses, directly or through others.
fn reached<'a>(process: &'a Module, by_soname: &BySoname<'a>) -> Vec<&'a Module> {
    let mut reached = vec![process];
    let mut seen = BTreeSet::from([&process.path]);
    let mut next = 0;
    while let Some(module) = reached.get(next).copied() {
        next += 1;
        let needed = module.elf.iter().flat_map(|elf| &elf.needed);
        for soname in needed {
            let library = by_soname.get(&(soname.as_str(), &process.architecture));
            if let Some(library) = library.filter(|library| seen.insert(&library.path)) {
                reached.push(library);
            }
        }
    }
    reached
}
