//! The module: one file that is delivered (B2), and what its ELF headers say (B3).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::serde_as_text;
use crate::{Digest, LinkTarget, ModulePath, ProcessSpec, Signature, visible};

/// One file of a package: the unit of change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Module {
    /// Where it is installed, relative to the root of the generation.
    pub path: ModulePath,
    /// Permission bits.
    pub mode: Mode,
    /// User and group that own the installed file.
    #[serde(default)]
    pub owner: Owner,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ModuleType,
    /// What it is for, in the author's words (`routing`, `geo-data`); nodes may choose by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Free characteristics; a node that wants another value of one does not receive the module.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub characteristics: BTreeMap<String, String>,
    /// Processor architecture, read from the ELF header; `neutral` otherwise.
    #[serde(default)]
    pub architecture: Architecture,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the exact bytes (of a symbolic link: of its target text).
    pub digest: Digest,
    /// MD5 over the substantive content; change is decided by it alone.
    pub signature: Signature,
    /// GNU build id in hexadecimal, where the file has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// Set for a symbolic link: where it points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkTarget>,
    /// Facts read from the ELF headers, for ELF files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elf: Option<ElfFacts>,
    /// Features that this module serves; empty means every node that has the package gets it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub features: BTreeSet<String>,
    /// Named interfaces that it provides.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub provides: BTreeSet<Api>,
    /// Named interfaces that it uses.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub uses: BTreeSet<Api>,
    /// Dependencies that the linker cannot see (B5).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supplemental: Vec<Supplemental>,
    /// Modules used only when present: absence never blocks, change affects (B5).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub optional: BTreeSet<ModulePath>,
    /// Set when this module is started and supervised as a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessSpec>,
}

/// What a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ModuleType {
    /// An executable that runs as a process.
    Process,
    /// A shared library.
    Library,
    /// A shared object that is opened at run time.
    Plugin,
    /// A file that a process parses (grammar, command tree).
    ParserFile,
    /// Any other file, symbolic links included.
    Data,
    /// Base software of a node.
    BootImage,
}

impl fmt::Display for ModuleType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Process => "process",
            Self::Library => "library",
            Self::Plugin => "plugin",
            Self::ParserFile => "parser-file",
            Self::Data => "data",
            Self::BootImage => "boot-image",
        })
    }
}

/// A processor architecture by its Linux name (`x86_64`, `aarch64`), or `neutral`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Architecture(pub String);

impl Architecture {
    /// Runs, or can be read, anywhere.
    pub const NEUTRAL: &'static str = "neutral";

    /// True if software of this architecture can be used on a node of architecture `node`.
    pub fn runs_on(&self, node: &Self) -> bool {
        self.0 == Self::NEUTRAL || self == node
    }
}

impl Default for Architecture {
    fn default() -> Self {
        Self(Self::NEUTRAL.to_owned())
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        visible(&self.0).fmt(f)
    }
}

/// Permission bits of a module, written as four octal digits in quotes (`"0755"`).
///
/// Only the nine permission bits: set-user-id, set-group-id and sticky bits are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mode(u16);

impl Mode {
    /// The mode with these bits, or `None` if bits other than the nine permission bits are set.
    pub fn new(bits: u32) -> Option<Self> {
        (bits & !0o777 == 0)
            .then(|| u16::try_from(bits).map(Self).ok())
            .flatten()
    }

    /// The permission bits.
    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }

    /// True if anybody may execute it.
    pub fn is_executable(self) -> bool {
        self.0 & 0o111 != 0
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// A text that is not a mode that a module may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a mode that a module may have; expected four octal digits from \"0000\" to \"0777\" (set-id and sticky bits are refused)"
)]
pub struct ModeError(String);

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        (text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| u32::from_str_radix(text, 8).ok())
            .flatten()
            .and_then(Self::new)
            .ok_or_else(|| ModeError(visible(text).to_string()))
    }
}

serde_as_text!(Mode);

/// User and group of an installed file, by name; the default is whoever runs the node daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// User name; or a number, where the node has no such name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Group name; or a number, where the node has no such name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// A named, versioned interface that modules provide and use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Api {
    /// Its name.
    pub name: String,
    /// Its version; a user needs exactly this text.
    pub version: String,
}

/// A dependency that the linker cannot see: a library opened at run time, a plug-in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Supplemental {
    /// Any one of these modules satisfies it; the change of any that is present affects the user.
    pub one_of: BTreeSet<ModulePath>,
    /// Where the dependency was declared, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared_in: Option<String>,
}

/// ELF word size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ElfClass {
    /// ELFCLASS32.
    Elf32,
    /// ELFCLASS64.
    Elf64,
}

/// A symbol version of a library (`libc.so.6`, `GLIBC_2.34`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SymbolVersion {
    /// The soname that has to provide it.
    pub soname: String,
    /// The version's name.
    pub version: String,
}

impl fmt::Display for SymbolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", visible(&self.soname), visible(&self.version))
    }
}

/// What the ELF headers of a module say (B3), found the way the loader finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ElfFacts {
    /// Word size.
    pub class: ElfClass,
    /// `DT_SONAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soname: Option<String>,
    /// `DT_NEEDED`, in the order of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needed: Vec<String>,
    /// Symbol versions that this file defines.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub versions_provided: BTreeSet<String>,
    /// Symbol versions that this file needs of others; weak ones are left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub versions_needed: BTreeSet<SymbolVersion>,
    /// `PT_INTERP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// `DT_RUNPATH`, or `DT_RPATH` where there is none; split at `:`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run_path: Vec<String>,
    /// True if the run path is `DT_RPATH`: the libraries that this file needs inherit it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inherited_run_path: bool,
    /// True if the loader does not look into its default folders for this file's libraries
    /// (`DF_1_NODEFLIB`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignores_default_folders: bool,
    /// True if it imports dlopen or dlmopen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opens_libraries: bool,
    /// Digest of the canonical JSON of its [`SymbolLists`], which is a blob of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbols: Option<Digest>,
}

/// The dynamic symbols of a module; a blob beside the package config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymbolLists {
    /// Defined and visible to others; where versioned, `name@@version` if it is the one that a link
    /// without version gets, and `name@version` if not.
    pub exported: BTreeSet<String>,
    /// Undefined, not weak; `name@version` where versioned.
    pub imported: BTreeSet<String>,
}
