//! What the ELF headers of a file say, read the way the loader reads them.
//!
//! The way in is the program headers and `PT_DYNAMIC`; every address is looked up in the `PT_LOAD`
//! segments. Section headers are hints: they name bytes for people and tell what the signature may
//! leave out, and no fact depends on them. Every count and offset of the file is checked against
//! the bytes that are there before it is used.

mod architecture;
mod dynamic;
mod error;
mod image;
mod notes;
mod symbols;
mod versions;

use object::elf;
use placet_model::{Architecture, ElfClass, ElfFacts, SymbolLists, digest_of};

pub use error::ElfError;
pub(crate) use image::{Image, Section, Segment};
pub(crate) use notes::ignored_descriptors;

use dynamic::Dynamic;

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
    let Some(image) = Image::parse(bytes)? else {
        return Ok(None);
    };
    let dynamic = Dynamic::read(&image)?;
    let versions = versions::read(&image, &dynamic)?;
    let symbols = symbols::read(&image, &dynamic, &versions)?;
    let has_symbols = !(symbols.lists.exported.is_empty() && symbols.lists.imported.is_empty());
    Ok(Some(ElfFile {
        facts: ElfFacts {
            class: if image.is_64 {
                ElfClass::Elf64
            } else {
                ElfClass::Elf32
            },
            soname: dynamic.soname()?,
            needed: dynamic.needed()?,
            versions_provided: versions.provided,
            versions_needed: versions.needed,
            interpreter: interpreter(&image)?,
            run_path: dynamic.run_path()?,
            opens_libraries: symbols.opens_libraries,
            symbols: has_symbols.then(|| digest_of(&symbols.lists)),
        },
        architecture: architecture::name(&image),
        build_id: notes::build_id(&image),
        symbols: symbols.lists,
        kind: kind(&image, &dynamic),
    }))
}

/// The name of the section that holds the byte at `offset` of an ELF file, where there is one.
pub fn section_at(bytes: &[u8], offset: u64) -> Option<String> {
    let image = Image::parse(bytes).ok()??;
    let section = image
        .sections
        .iter()
        .find(|section| section.range.contains(&offset))?;
    Some(placet_model::visible(&String::from_utf8_lossy(section.name)).to_string())
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
    text(bytes, offset, "the interpreter (PT_INTERP)").map(Some)
}

/// Longest name or path that is taken from a file; the kernel's limit of a path.
const TEXT_MAX: usize = 4_096;

/// The text at the start of `bytes`, up to its NUL.
pub(crate) fn text(bytes: &[u8], offset: u64, what: &'static str) -> Result<String, ElfError> {
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
    Ok(text.to_owned())
}
