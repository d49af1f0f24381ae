//! What the ELF headers of a file say, read the way the loader reads them.
//!
//! The way in is the program headers and `PT_DYNAMIC`; every address is looked up in the `PT_LOAD`
//! segments. Section headers are hints: they name bytes for people and tell what the signature may
//! leave out, and no fact depends on them. Every count and offset of the file is checked against
//! the bytes that are there before it is used.

mod architecture;
mod count;
mod dynamic;
mod error;
mod headers;
mod image;
mod lookup;
mod notes;
mod relocations;
mod sparse;
mod symbols;
mod versions;

use std::fs::File;

use object::elf;
use placet_model::{Architecture, ElfClass, ElfFacts, SymbolLists, digest_of};

pub use error::ElfError;
pub(crate) use headers::{Headers, Section, Segment, need};
pub(crate) use image::Image;
pub(crate) use lookup::symbol_in;
pub(crate) use notes::{build_id_descriptor, ignored_descriptors};
pub use placet_model::SymbolRole;
pub use sparse::{ElfHeaders, read_elf_file};
pub use symbols::{DynamicSymbol, SymbolKind};
pub use versions::VersionDefinition;

use crate::source::{FileSource, Source};
use dynamic::Dynamic;
use symbols::Symbols;
use versions::Versions;

/// What a module's ELF headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElfFile {
    /// The facts that stand in the package config.
    pub facts: ElfFacts,
    /// The processor, by its Linux name.
    pub architecture: Architecture,
    /// GNU build id in lower-case hexadecimal.
    pub build_id: Option<String>,
    /// The dynamic symbols; their digest is in the facts.
    pub symbols: SymbolLists,
    /// What kind of object it is.
    pub kind: ElfKind,
}

/// What kind of object an ELF file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElfKind {
    /// It can be executed.
    Executable,
    /// It can be loaded into a process.
    SharedObject,
    /// Neither: an object for the linker, a kernel module, a core dump.
    Other,
}

/// Reads the ELF headers of `bytes`; `None` if it is no ELF file.
///
/// # Errors
///
/// The file is truncated, or a header value makes no sense. A loader would refuse it, or do
/// something that nobody can foresee.
pub fn read_elf(bytes: &[u8]) -> Result<Option<ElfFile>, ElfError> {
    Ok(Elf::parse(bytes)?.map(Elf::file))
}

/// An ELF file whose headers, tables and names have been checked.
#[derive(Debug)]
pub struct Elf<'data> {
    image: Image<'data>,
    dynamic: Dynamic<'data>,
    versions: Versions<'data>,
    symbols: Symbols<'data>,
    facts: ElfFacts,
}

impl<'data> Elf<'data> {
    /// Reads the ELF headers of `bytes`; `None` if it is no ELF file.
    ///
    /// # Errors
    ///
    /// As [`read_elf`].
    pub fn parse(bytes: &'data [u8]) -> Result<Option<Self>, ElfError> {
        Image::parse(bytes)?.map(Self::of_image).transpose()
    }

    fn of_image(image: Image<'data>) -> Result<Self, ElfError> {
        let dynamic = Dynamic::read(&image)?;
        let versions = versions::read(&image, &dynamic)?;
        let symbols = symbols::read(&image, &dynamic, &versions)?;
        let class = if image.is_64 {
            ElfClass::Elf64
        } else {
            ElfClass::Elf32
        };
        let provided = versions.definitions.iter();
        let facts = ElfFacts {
            class,
            soname: dynamic.soname()?,
            needed: dynamic.needed()?,
            versions_provided: provided.map(|it| it.name.to_owned()).collect(),
            versions_needed: versions.needed.clone(),
            interpreter: interpreter(&image)?,
            run_path: dynamic.run_path()?,
            inherited_run_path: dynamic.inherits_run_path(),
            ignores_default_folders: dynamic.ignores_default_folders(),
            opens_libraries: symbols.opens_libraries,
            symbols: None,
        };
        Ok(Self {
            image,
            dynamic,
            versions,
            symbols,
            facts,
        })
    }

    /// All that stands in a package about the file.
    fn file(self) -> ElfFile {
        let symbols = self.symbols.lists();
        let has_symbols = !(symbols.exported.is_empty() && symbols.imported.is_empty());
        ElfFile {
            architecture: self.architecture(),
            build_id: self.build_id(),
            kind: self.kind(),
            facts: ElfFacts {
                symbols: has_symbols.then(|| digest_of(&symbols)),
                ..self.facts
            },
            symbols,
        }
    }

    /// The facts, without the digest of the list of symbols.
    pub fn facts(&self) -> &ElfFacts {
        &self.facts
    }

    /// The dynamic symbols in the order of the file.
    pub fn symbols(&self) -> &[DynamicSymbol<'data>] {
        &self.symbols.all
    }

    /// The names of the dynamic symbols, as they stand in a package.
    pub fn symbol_lists(&self) -> SymbolLists {
        self.symbols.lists()
    }

    /// The symbol versions that the file defines, in the order of the file.
    pub fn version_definitions(&self) -> &[VersionDefinition<'data>] {
        &self.versions.definitions
    }

    /// True if what is loaded at `address` can be executed.
    pub fn is_code(&self, address: u64) -> bool {
        let mut loads = self.image.loads();
        loads.any(|segment| {
            let into = address.checked_sub(segment.address);
            segment.flags & elf::PF_X.0 != 0 && into.is_some_and(|it| it < segment.memory_size)
        })
    }

    /// The processor, by its Linux name.
    pub fn architecture(&self) -> Architecture {
        architecture::name(&self.image)
    }

    /// The flags of the ELF header: the processor's own, as its calling convention.
    pub fn header_flags(&self) -> u32 {
        self.image.flags
    }

    /// GNU build id in lower-case hexadecimal.
    pub fn build_id(&self) -> Option<String> {
        // The notes lie in the file: that was checked with the headers.
        notes::build_id(&self.image, &self.image.bytes)
            .ok()
            .flatten()
    }

    /// What kind of object it is.
    pub fn kind(&self) -> ElfKind {
        kind(&self.image, &self.dynamic)
    }
}

/// Where in an ELF file a byte stands, in names that people can look for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ElfPlace {
    /// The section that holds it.
    pub section: Option<String>,
    /// The function or object that holds it, where a symbol names it.
    pub symbol: Option<String>,
}

/// Where the byte at `offset` of `file` stands; nowhere if that is no ELF file, or a damaged one.
pub fn place_in_file(file: &File, offset: u64) -> ElfPlace {
    let source = FileSource::new(file).ok();
    source.map_or_else(ElfPlace::default, |source| place_in(&source, offset))
}

/// The name of the section that holds the byte at `offset` of an ELF file, where there is one.
pub fn section_at(bytes: &[u8], offset: u64) -> Option<String> {
    place_in(&bytes, offset).section
}

fn place_in<S: Source>(source: &S, offset: u64) -> ElfPlace {
    let Ok(Some(headers)) = Headers::read(source) else {
        return ElfPlace::default();
    };
    let mut sections = headers.sections.iter();
    let section = sections.find(|section| section.range.contains(&offset));
    let section = section.map(|section| String::from_utf8_lossy(headers.name(section)));
    let symbol = symbol_in(&headers, source, offset).ok().flatten();
    ElfPlace {
        section: section.map(|name| placet_model::visible(&name).to_string()),
        symbol: symbol.map(|name| placet_model::visible(&name).to_string()),
    }
}

fn kind(image: &Image<'_>, dynamic: &Dynamic<'_>) -> ElfKind {
    match image.object_type {
        elf::ET_EXEC => ElfKind::Executable,
        elf::ET_DYN if dynamic.soname.is_some() => ElfKind::SharedObject,
        elf::ET_DYN if dynamic.is_pie || image.only(elf::PT_INTERP).is_some() => {
            ElfKind::Executable
        }
        elf::ET_DYN => ElfKind::SharedObject,
        _ => ElfKind::Other,
    }
}

fn interpreter(image: &Image<'_>) -> Result<Option<String>, ElfError> {
    let Some(segment) = image.only(elf::PT_INTERP) else {
        return Ok(None);
    };
    let offset = segment.file.start;
    let bytes = image.file(&segment.file);
    let path = text(bytes, offset, "the interpreter (PT_INTERP)")?;
    Ok(Some(path.to_owned()))
}

/// Longest name or path that is taken from a file; the kernel's limit of a path.
const TEXT_MAX: usize = 4_096;

/// The text at the start of `bytes`, up to its NUL.
fn text<'data>(
    bytes: &'data [u8],
    offset: u64,
    what: &'static str,
) -> Result<&'data str, ElfError> {
    let refuse = |why| ElfError::Text { what, offset, why };
    let bounded = &bytes[..bytes.len().min(TEXT_MAX)];
    let length = bounded
        .iter()
        .position(|byte| *byte == 0)
        .ok_or_else(|| refuse("it does not end within 4096 bytes or its table"))?;
    let text =
        std::str::from_utf8(&bounded[..length]).map_err(|_| refuse("it is not valid UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(refuse("it contains a control character"));
    }
    Ok(text)
}
