//! What a module imports and no library that it needs itself defines, worked out once for all nodes.

use std::collections::BTreeMap;

use placet_model::{Digest, Symbol};

use super::linked::Linked;

/// An import that no described library which the module needs defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Undefined {
    /// Its place among the imports of the module.
    pub(super) import: usize,
    /// The place among the needs of the module of the library whose version it has; `None` for one
    /// without a version, which may be anywhere.
    pub(super) library: Option<usize>,
}

/// Answers that were found before: they depend on nothing but the modules that are linked.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Memo {
    numbers: BTreeMap<Digest, u32>,
    known: BTreeMap<Box<[u32]>, Box<[Undefined]>>,
}

/// A fleet has some thousand; this keeps what is no longer asked for from growing without end.
const ANSWERS_MAX: usize = 1 << 16;

impl Memo {
    /// What the module `index` imports that is not defined in what comes with it. What is of a library
    /// that no package brings or describes is left out, and what is of a version that its library lacks
    /// as a whole.
    pub(super) fn undefined(&mut self, linked: &Linked<'_>, index: usize) -> Box<[Undefined]> {
        if linked.parts[index]
            .symbols
            .is_none_or(|symbols| symbols.imported().len() == 0)
        {
            return Box::default();
        }
        let among = linked.process(index, false).parts;
        let key = self.key(linked, &among);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let found = undefined(linked, index, &among);
        if self.known.len() >= ANSWERS_MAX {
            self.known.clear();
        }
        self.known.insert(key, found.clone());
        found
    }

    /// The contents of the modules, and which of them is found for what the first one needs.
    fn key(&mut self, linked: &Linked<'_>, among: &[usize]) -> Box<[u32]> {
        const END: u32 = u32::MAX;
        let mut key = Vec::with_capacity(among.len() * 3);
        for index in among {
            let part = &linked.parts[*index];
            key.push(self.number(part.entry.module.digest));
            let symbols = part.elf.symbols.filter(|_| part.symbols.is_some());
            key.push(symbols.map_or(END, |digest| self.number(digest)));
        }
        for (_, found) in &linked.parts[among[0]].needs {
            key.push(END);
            key.extend(found.iter().map(|index| {
                let place = among.iter().position(|other| other == index);
                place
                    .and_then(|place| u32::try_from(place).ok())
                    .unwrap_or(END)
            }));
        }
        key.into()
    }

    fn number(&mut self, digest: Digest) -> u32 {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX - 1);
        *self.numbers.entry(digest).or_insert(next)
    }
}

fn undefined(linked: &Linked<'_>, index: usize, among: &[usize]) -> Box<[Undefined]> {
    let imports = linked.parts[index].symbols.into_iter();
    let imports = imports.flat_map(|symbols| symbols.imported().enumerate());
    let undefined = imports.filter(|(_, import)| !is_defined(linked, index, import, among));
    let undefined = undefined.filter_map(|(place, import)| {
        let library = match import.version {
            Some(version) => Some(library_of(linked, index, version)?),
            None => None,
        };
        let import = place;
        Some(Undefined { import, library })
    });
    undefined.collect()
}

/// True if one of the modules `among` defines what the module `index` imports.
pub(super) fn is_defined(
    linked: &Linked<'_>,
    index: usize,
    import: &Symbol<'_>,
    among: &[usize],
) -> bool {
    among.iter().any(|other| {
        // Nobody makes a copy of their own copy.
        let may_serve = *other != index || !import.is_copied;
        let symbols = linked.parts[*other].symbols.filter(|_| may_serve);
        symbols.is_some_and(|symbols| symbols.defines(import))
    })
}

/// The library whose version it is, if there is one that is described and has it.
fn library_of(linked: &Linked<'_>, index: usize, version: &str) -> Option<usize> {
    let part = &linked.parts[index];
    let of_version = part
        .elf
        .versions_needed
        .iter()
        .filter(|it| it.version == version);
    let mut libraries = of_version.map(|wanted| {
        let mut needs = part.needs.iter();
        let need = needs.position(|(name, _)| *name == wanted.soname)?;
        let found = &part.needs[need].1;
        let has_it = |other: &usize| {
            let library = &linked.parts[*other];
            let versions = &library.elf.versions_provided;
            library.symbols.is_some() && (versions.is_empty() || versions.contains(version))
        };
        (!found.is_empty() && found.iter().all(has_it)).then_some(need)
    });
    // Where several libraries have versions of this name, it may be of any.
    let first = libraries.next()??;
    libraries.all(|library| library.is_some()).then_some(first)
}
