//! Modules that remember where they were built.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use placet_model::{ModulePath, visible};
use placet_package::section_at;

use crate::commands::MAPPED_ROOT;

/// Something about a package that was built all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A module holds the path of the folder in which it was built.
    Tainted {
        /// The module.
        path: ModulePath,
        /// Where in its bytes, the first time.
        offset: u64,
        /// In which section of an ELF file.
        section: Option<String>,
        /// How often.
        count: usize,
        /// The path that it holds.
        root: PathBuf,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Tainted {
            path,
            offset,
            section,
            count,
            root,
        } = self;
        let root = root.to_string_lossy();
        write!(
            f,
            "`{path}` is tainted: it holds the path of its build folder `{}`",
            visible(&root)
        )?;
        write!(f, " {count} times, first at offset {offset:#x}")?;
        if let Some(section) = section {
            write!(f, " in section {}", visible(section))?;
        }
        write!(
            f,
            "; a build in another folder differs. Compile with $CFLAGS, $CXXFLAGS or $RUSTFLAGS"
        )
    }
}

/// Looks for the path of `folder` in `bytes`.
pub(crate) fn scan(path: &ModulePath, bytes: &[u8], folder: &Path) -> Option<Warning> {
    let root = folder.as_os_str().as_bytes();
    if root == b"/" || folder == Path::new(MAPPED_ROOT) {
        return None;
    }
    let mut found = occurrences(bytes, root);
    let first = found.next()? as u64;
    Some(Warning::Tainted {
        path: path.clone(),
        offset: first,
        section: section_at(bytes, first),
        count: 1 + found.count(),
        root: folder.to_owned(),
    })
}

/// Where `root` stands in `bytes` as a path of its own or as the beginning of a longer one.
fn occurrences<'a>(bytes: &'a [u8], root: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let continues = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.+".contains(byte);
    let slashes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(index, _)| index).filter(move |index| {
        let rest = bytes[*index..].strip_prefix(root);
        rest.is_some_and(|rest| !rest.first().is_some_and(continues))
    })
}
