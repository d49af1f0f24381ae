//! The processors for which stubs are made.

use object::Endianness;
use object::elf::{self, FileFlags, Machine};
use placet_model::Architecture;

use super::StubError;

/// A processor as ELF headers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(super) architecture: Architecture,
    pub(super) machine: Machine,
    pub(super) is_64: bool,
    pub(super) endian: Endianness,
    /// What linkers compare: the calling convention.
    pub(super) flags: FileFlags,
}

/// Name, machine, word size, byte order, and the flags of what is linked for it today: processors
/// with one calling convention have none.
type Row = (&'static str, Machine, bool, Endianness, u32);

const TARGETS: [Row; 18] = {
    use Endianness::{Big, Little};
    [
        ("aarch64", elf::EM_AARCH64, true, Little, 0),
        ("aarch64_be", elf::EM_AARCH64, true, Big, 0),
        // EABI 5 with floating point in registers.
        ("arm", elf::EM_ARM, false, Little, 0x0500_0400),
        ("i686", elf::EM_386, false, Little, 0),
        // Object ABI 1, double precision.
        ("loongarch64", elf::EM_LOONGARCH, true, Little, 0x43),
        // The second release of the instruction set, position-independent code.
        ("mips", elf::EM_MIPS, false, Big, 0x7000_1007),
        ("mips64", elf::EM_MIPS, true, Big, 0x8000_0007),
        ("mips64el", elf::EM_MIPS, true, Little, 0x8000_0007),
        ("mipsel", elf::EM_MIPS, false, Little, 0x7000_1007),
        ("ppc", elf::EM_PPC, false, Big, 0),
        // The first ABI has descriptors of functions, the second has none.
        ("ppc64", elf::EM_PPC64, true, Big, 1),
        ("ppc64le", elf::EM_PPC64, true, Little, 2),
        // Compressed instructions, double precision.
        ("riscv32", elf::EM_RISCV, false, Little, 5),
        ("riscv64", elf::EM_RISCV, true, Little, 5),
        ("s390", elf::EM_S390, false, Big, 0),
        ("s390x", elf::EM_S390, true, Big, 0),
        ("x32", elf::EM_X86_64, false, Little, 0),
        ("x86_64", elf::EM_X86_64, true, Little, 0),
    ]
};

impl Target {
    /// The processor with this Linux name (`uname -m`).
    ///
    /// # Errors
    ///
    /// No stub can be made for it; the message names those for which it can.
    pub fn named(name: &str) -> Result<Self, StubError> {
        let row = TARGETS.iter().find(|row| row.0 == name);
        let (_, machine, is_64, endian, flags) =
            *row.ok_or_else(|| StubError::Architecture(name.to_owned()))?;
        Ok(Self {
            architecture: Architecture(name.to_owned()),
            machine,
            is_64,
            endian,
            flags: FileFlags(flags),
        })
    }

    /// The processor of this machine.
    ///
    /// # Errors
    ///
    /// As [`Target::named`].
    pub fn host() -> Result<Self, StubError> {
        let name = match std::env::consts::ARCH {
            "x86" => "i686",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            name => name,
        };
        Self::named(name)
    }

    /// Its Linux name.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// All names, for people.
    pub(super) fn names() -> String {
        TARGETS.map(|row| row.0).join(", ")
    }

    /// The most that a file may take up in memory.
    pub(super) fn memory_max(&self) -> u64 {
        if self.is_64 { 1 << 40 } else { 1 << 30 }
    }

    /// True where the loader has no use for the hash table that all others prefer.
    pub(super) fn has_old_hash(&self) -> bool {
        self.machine == elf::EM_MIPS
    }

    /// True where the name of a function stands for data that describe it.
    pub(super) fn has_descriptors(&self) -> bool {
        self.machine == elf::EM_PPC64 && self.flags.0 & 3 == 1
    }
}
