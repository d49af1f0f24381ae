//! What the loader sees of an ELF file.

use placet_model::{Architecture, ElfFacts, FileSymbol, Module, SymbolLists, SymbolRole, Symbols};
use placet_package::{Elf, ElfKind};

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
            symbols: symbols(elf),
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

fn symbols(elf: &Elf<'_>) -> Symbols {
    let symbols = elf.symbols().iter();
    let bound = symbols.filter(|symbol| symbol.is_exported() || symbol.is_missed());
    Symbols::new(bound.map(|symbol| FileSymbol {
        name: &symbol.name,
        version: symbol.version,
        is_default: symbol.is_default,
        serves_any: symbol.serves_any(),
        role: if symbol.is_missed() {
            symbol.role
        } else {
            SymbolRole::Exported
        },
    }))
}
