//! Processor architectures by the names that Linux gives them.

use object::Endianness;
use object::elf::{self, Machine};
use placet_model::Architecture;

use super::Image;

/// What `uname -m` says on a machine for which `image` is made; `em-N` for a processor that has no
/// name here.
pub(super) fn name(image: &Image<'_>) -> Architecture {
    let little = image.endian == Endianness::Little;
    let name = match (image.machine, image.is_64, little) {
        (elf::EM_X86_64, true, _) => "x86_64",
        (elf::EM_X86_64, false, _) => "x32",
        (elf::EM_386, ..) => "i686",
        (elf::EM_AARCH64, _, true) => "aarch64",
        (elf::EM_AARCH64, _, false) => "aarch64_be",
        (elf::EM_ARM, _, true) => "arm",
        (elf::EM_ARM, _, false) => "armeb",
        (elf::EM_RISCV, true, _) => "riscv64",
        (elf::EM_RISCV, false, _) => "riscv32",
        (elf::EM_PPC64, _, true) => "ppc64le",
        (elf::EM_PPC64, _, false) => "ppc64",
        (elf::EM_PPC, ..) => "ppc",
        (elf::EM_S390, true, _) => "s390x",
        (elf::EM_S390, false, _) => "s390",
        (elf::EM_MIPS, true, true) => "mips64el",
        (elf::EM_MIPS, true, false) => "mips64",
        (elf::EM_MIPS, false, true) => "mipsel",
        (elf::EM_MIPS, false, false) => "mips",
        (elf::EM_LOONGARCH, true, _) => "loongarch64",
        (elf::EM_LOONGARCH, false, _) => "loongarch32",
        (elf::EM_SPARCV9, ..) => "sparc64",
        (elf::EM_SPARC | elf::EM_SPARC32PLUS, ..) => "sparc",
        (elf::EM_68K, ..) => "m68k",
        (elf::EM_PARISC, ..) => "parisc",
        (elf::EM_IA_64, ..) => "ia64",
        (Machine(number), ..) => return Architecture(format!("em-{number}")),
    };
    Architecture(name.to_owned())
}
