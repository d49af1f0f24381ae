//! Simple processes that can open libraries behind the linker's back (B7).

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Architecture, Module, ModulePath, ProcessKind};

/// The modules of a package by what the loader looks for.
type BySoname<'a> = BTreeMap<(&'a str, &'a Architecture), &'a Module>;

/// The first simple process, by position, that reaches dlopen with no declared dependency on its
/// way, and the module that imports it. `acknowledged` are the paths of those that may.
pub(crate) fn undeclared<'a>(
    modules: &'a [Module],
    acknowledged: &BTreeSet<ModulePath>,
) -> Option<(&'a Module, &'a ModulePath)> {
    let by_soname = by_soname(modules);
    modules
        .iter()
        .filter(|module| is_simple(module))
        .find_map(|process| {
            let excused = !process.supplemental.is_empty() || acknowledged.contains(&process.path);
            let opener = reached(process, &by_soname)
                .into_iter()
                .find(|module| opens(module) && module.supplemental.is_empty());
            opener
                .filter(|_| !excused)
                .map(|opener| (process, &opener.path))
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
