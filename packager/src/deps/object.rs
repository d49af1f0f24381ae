//! What the loader sees of an ELF file.

use placet_model::{Architecture, ElfFacts, Module, SymbolLists};
use placet_package::{Elf, ElfKind};

use super::symbols::Symbols;

/// An ELF file as the loader sees it.
#[derive(Debug, Clone)]
pub struct Object {
    /// The processor.
    pub architecture: Architecture,
    /// What kind of object it is.
    pub kind: ElfKind,
    /// What its headers say.
    pub facts: ElfFacts,
    /// GNU build id in lower-case hexadecimal.
    pub build_id: Option<String>,
    /// Its dynamic symbols.
    pub symbols: Symbols,
}

impl Object {
    /// What an ELF file says of itself.
    pub fn of_elf(elf: &Elf<'_>) -> Self {
        Self {
            architecture: elf.architecture(),
            kind: elf.kind(),
            facts: elf.facts().clone(),
            build_id: elf.build_id(),
            symbols: Symbols::of_elf(elf),
        }
    }

    /// What a package says of an ELF file in it; `None` of modules that are none. Without lists of
    /// symbols there are none to miss, and all that others import from it is missing.
    pub fn of_module(module: &Module, symbols: Option<&SymbolLists>) -> Option<Self> {
        let facts = module.elf.clone()?;
        let is_program = facts.interpreter.is_some() && facts.soname.is_none();
        Some(Self {
            architecture: module.architecture.clone(),
            kind: if is_program {
                ElfKind::Executable
            } else {
                ElfKind::SharedObject
            },
            facts,
            build_id: module.build_id.clone(),
            symbols: symbols.map(Symbols::of_lists).unwrap_or_default(),
        })
    }

    /// True if the loader takes both into one process.
    pub fn fits(&self, other: &Self) -> bool {
        self.architecture == other.architecture && self.facts.class == other.facts.class
    }
}
