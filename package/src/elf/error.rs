//! Why an ELF file is refused.

/// An ELF file that is truncated or whose headers make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Something that the headers announce is not in the file.
    #[error(
        "{what} at offset {offset:#x} needs {size:#x} bytes, but the file ends at {end:#x}; the file is truncated or damaged: copy or build it again"
    )]
    Truncated {
        /// What is announced.
        what: &'static str,
        /// Where it should begin.
        offset: u64,
        /// How long it should be.
        size: u64,
        /// Where the file ends.
        end: u64,
    },
    /// Something that the headers announce lies at an address that no segment loads from the file.
    #[error(
        "{what} at address {address:#x} needs {size:#x} bytes, but no loaded segment holds them; the file is damaged: copy or build it again"
    )]
    Unmapped {
        /// What is announced.
        what: &'static str,
        /// Its address.
        address: u64,
        /// How long it should be.
        size: u64,
    },
    /// A header value that no loader accepts, or that would cost more than any real file needs.
    #[error("{what} is {value:#x}: {why}; the file is damaged or made to harm: build it again")]
    Absurd {
        /// Which value.
        what: &'static str,
        /// The value.
        value: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A name that cannot be one.
    #[error("{what} at offset {offset:#x} cannot be read: {why}; build the file again")]
    Text {
        /// Which name.
        what: &'static str,
        /// Where it begins, in the file or in its string table.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}
