//! Stub libraries (B6): shared libraries without code, to link against.
//!
//! A stub has the soname, symbols, sizes and versions of a library, and nothing else. A linker
//! makes of it what it would make of the library, for any processor; at run time the loader takes
//! whichever library provides the API.
//!
//! **Invariant:** the same input gives the same bytes.

mod api;
mod layout;
mod library;
mod target;
mod write;

use placet_model::{Architecture, visible};
use placet_package::SymbolKind;

pub use target::Target;

/// What a stub consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stub {
    target: Target,
    soname: String,
    versions: Vec<Version>,
    symbols: Vec<Symbol>,
}

/// A symbol version that the library defines.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    name: String,
    parents: Vec<String>,
}

/// A symbol that the library exports.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Symbol {
    name: String,
    /// By its place among the versions.
    version: Option<usize>,
    /// True for a version that only programs get that were linked before.
    is_hidden: bool,
    is_weak: bool,
    kind: SymbolKind,
    size: u64,
    align: u64,
    place: Place,
}

/// Where a symbol stands in the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// At an address of its own.
    Own,
    /// At the same address as all others with this number: a second name for the same data is kept.
    With(u64),
    /// Nowhere: it is a number.
    Absolute(u64),
}

/// A stub that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StubError {
    /// There is nothing to link against.
    #[error("it exports no symbols, so that there is nothing to link against")]
    Empty,
    /// The library has no name by which programs look for it.
    #[error(
        "it has no soname, so that programs that are linked against its stub could not find it; give it one (ld -soname, or `soname` in an API file)"
    )]
    NoSoname,
    /// No stub can be made for this processor.
    #[error("no stub can be made for `{}`; known are {}", visible(.0), Target::names())]
    Architecture(String),
    /// The sizes of data are of another word size.
    #[error(
        "it is for {from}, where data have other sizes than for {to}, and it exports data (`{}`); make the stub from a library for {to}, or from an API file with the sizes there",
        visible(symbol)
    )]
    WordSize {
        /// The library's processor.
        from: Architecture,
        /// That of the stub.
        to: Architecture,
        /// One of the data.
        symbol: String,
    },
    /// There are more versions than version tables can tell apart.
    #[error(
        "it defines {0} symbol versions, or one that continues so many; a library has at most {VERSIONS_MAX}"
    )]
    Versions(usize),
    /// There are more symbols than any library has.
    #[error("it exports {0} symbols; a stub has at most {SYMBOLS_MAX}")]
    Symbols(usize),
    /// The symbols take more memory than there can be.
    #[error(
        "its symbols take up {size:#x} bytes, the last of them `{}`; no program could load it",
        visible(symbol)
    )]
    Size {
        /// Bytes of all symbols up to this one.
        size: u64,
        /// The symbol.
        symbol: String,
    },
}

/// Version indexes have 15 bits, and the first two mean something else.
const VERSIONS_MAX: usize = 0x7ffd;
/// The largest libraries export some hundred thousand.
const SYMBOLS_MAX: usize = 1 << 22;

impl Stub {
    /// The name by which programs look for the library at run time.
    pub fn soname(&self) -> &str {
        &self.soname
    }

    /// The processor.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How many symbols are of one of these kinds.
    pub fn count(&self, kinds: &[SymbolKind]) -> usize {
        let symbols = self.symbols.iter();
        symbols
            .filter(|symbol| kinds.contains(&symbol.kind))
            .count()
    }

    /// How many symbol versions it defines.
    pub fn version_count(&self) -> usize {
        self.versions.len()
    }

    /// The bytes of the shared library.
    ///
    /// # Errors
    ///
    /// Its symbols take up more memory than the processor can address.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StubError> {
        let layout = layout::Layout::of(self)?;
        Ok(write::write(self, &layout))
    }

    /// What holds for every stub.
    fn check(self) -> Result<Self, StubError> {
        if self.symbols.is_empty() {
            return Err(StubError::Empty);
        }
        let parents = self.versions.iter().map(|version| version.parents.len());
        let versions = parents.max().unwrap_or(0).max(self.versions.len());
        if versions > VERSIONS_MAX {
            return Err(StubError::Versions(versions));
        }
        if self.symbols.len() > SYMBOLS_MAX {
            return Err(StubError::Symbols(self.symbols.len()));
        }
        Ok(self)
    }
}
