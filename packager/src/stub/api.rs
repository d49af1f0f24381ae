//! From an API file to a stub of the libraries that provide the API.

use placet_package::SymbolKind;

use super::{Place, Stub, StubError, Symbol, Target, Version};
use crate::api_file::{ApiFile, ApiSymbol, ApiSymbolKind};

impl Stub {
    /// The stub of an API, for the processor `target`.
    ///
    /// # Errors
    ///
    /// The API has no soname, or there is too much of it.
    pub fn of_api(api: &ApiFile, target: &Target) -> Result<Self, StubError> {
        let versions = api.versions.iter();
        let place = |name: &String| api.versions.iter().position(|it| it.name == *name);
        let symbols = api.symbols.iter();
        Self {
            target: target.clone(),
            soname: api.soname.clone().ok_or(StubError::NoSoname)?,
            versions: versions
                .map(|version| Version {
                    name: version.name.clone(),
                    parents: version.parents.clone(),
                })
                .collect(),
            symbols: symbols
                .map(|symbol| symbol_of(symbol, symbol.version.as_ref().and_then(place)))
                .collect(),
        }
        .check()
    }
}

fn symbol_of(symbol: &ApiSymbol, version: Option<usize>) -> Symbol {
    let (kind, align) = match symbol.kind {
        ApiSymbolKind::Function => (SymbolKind::Function, 16),
        ApiSymbolKind::Object => (SymbolKind::Object, symbol.alignment()),
        ApiSymbolKind::ThreadLocal => (SymbolKind::ThreadLocal, symbol.alignment()),
    };
    Symbol {
        name: symbol.name.clone(),
        version,
        is_hidden: symbol.hidden,
        is_weak: symbol.weak,
        kind,
        size: symbol.size.unwrap_or(0),
        align,
        place: Place::Own,
    }
}
