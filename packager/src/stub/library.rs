//! From a library to its stub.

use placet_package::{DynamicSymbol, Elf, SymbolKind, SymbolRole};

use super::{Place, Stub, StubError, Symbol, Target, Version};

impl Stub {
    /// The stub of a library, for its own processor or for `target`.
    ///
    /// # Errors
    ///
    /// The file is no shared library that can be linked against, or data have other sizes on the
    /// other processor.
    pub fn of_library(elf: &Elf<'_>, target: Option<&Target>) -> Result<Self, StubError> {
        let exported = elf.symbols().iter();
        let exported = exported.filter(|symbol| symbol.role == SymbolRole::Exported);
        let soname = elf.facts().soname.clone().ok_or(StubError::NoSoname)?;
        let own = own_target(elf);
        let target = match target {
            None => own?,
            // The library knows which of several calling conventions it has.
            Some(target) if *target.architecture() == elf.architecture() => own?,
            Some(target) => {
                check_sizes(elf, exported.clone(), target)?;
                target.clone()
            }
        };
        let versions: Vec<_> = elf.version_definitions().iter().collect();
        let place = |name: &str| versions.iter().position(|version| version.name == name);
        let symbols = exported.map(|symbol| symbol_of(symbol, symbol.version.and_then(place)));
        Self {
            target,
            soname,
            symbols: symbols.collect(),
            versions: versions
                .iter()
                .map(|version| Version {
                    name: version.name.to_owned(),
                    parents: version.parents.iter().map(|it| (*it).to_owned()).collect(),
                })
                .collect(),
        }
        .check()
    }
}

fn own_target(elf: &Elf<'_>) -> Result<Target, StubError> {
    let mut target = Target::named(&elf.architecture().0)?;
    target.flags = object::elf::FileFlags(elf.header_flags());
    Ok(target)
}

/// Refuses data that would have another size for a processor with another word size.
fn check_sizes<'a>(
    elf: &Elf<'_>,
    mut exported: impl Iterator<Item = &'a DynamicSymbol<'a>>,
    target: &Target,
) -> Result<(), StubError> {
    let is_64 = elf.facts().class == placet_model::ElfClass::Elf64;
    let data = exported.find(|symbol| is_data(symbol) && !symbol.is_absolute);
    match data.filter(|_| is_64 != target.is_64) {
        None => Ok(()),
        Some(symbol) => Err(StubError::WordSize {
            from: elf.architecture(),
            to: target.architecture().clone(),
            symbol: symbol.name.to_string(),
        }),
    }
}

fn is_data(symbol: &DynamicSymbol<'_>) -> bool {
    matches!(symbol.kind, SymbolKind::Object | SymbolKind::ThreadLocal)
}

fn symbol_of(symbol: &DynamicSymbol<'_>, version: Option<usize>) -> Symbol {
    // What an address is divisible by is what it may have to be, up to a cache line.
    let align = 1 << symbol.value.trailing_zeros().min(6);
    Symbol {
        name: symbol.name.to_string(),
        version,
        is_hidden: version.is_some() && !symbol.is_default,
        is_weak: symbol.is_weak,
        kind: symbol.kind,
        size: symbol.size,
        align: if is_data(symbol) { align } else { 16 },
        place: if symbol.is_absolute {
            Place::Absolute(symbol.value)
        } else {
            Place::With(symbol.value)
        },
    }
}
