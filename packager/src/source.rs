//! What a module is made of: a file, bytes, or a link, with mode and owner.

use std::fs::{self, File, FileType};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use placet_model::{Digest, LinkTarget, Mode, Owner};
use placet_package::{
    Blob, ElfFile, Fingerprint, ReadError, fingerprint, read_elf_file, signature,
};

use crate::error::ModuleFault;

/// What one module is made of, wherever it comes from.
#[derive(Debug)]
pub(crate) struct Source {
    /// How messages call it.
    pub(crate) name: String,
    pub(crate) content: Content,
    /// The mode that it is installed with unless the package file names one.
    pub(crate) mode: Mode,
    /// The owner of the installed file as far as the package file names none.
    pub(crate) owner: Owner,
    /// What it is for, unless the package file says it.
    pub(crate) function: Option<String>,
}

#[derive(Debug)]
pub(crate) enum Content {
    /// A regular file that stays where it is until the package is stored.
    File(PathBuf),
    /// A file of an archive, which nothing here has built.
    Imported(PathBuf),
    /// A symbolic link, which is delivered as one.
    Link(LinkTarget),
}

impl Source {
    /// The link that an entry of the package file asks for.
    pub(crate) fn link(target: &LinkTarget) -> Self {
        Self {
            name: target.to_string(),
            content: Content::Link(target.clone()),
            mode: mode(0o777),
            owner: Owner::default(),
            function: None,
        }
    }

    /// The file `name` in `folder`, or what it links to. Permissions come from the umask of whoever
    /// made it, so that only whether it may be executed counts.
    pub(crate) fn file(folder: &Path, name: &str) -> Result<Self, ModuleFault> {
        let path = folder.join(name);
        let metadata = fs::metadata(&path).map_err(|error| failed(name, error))?;
        if !metadata.is_file() {
            let what = describe(metadata.file_type());
            return Err(ModuleFault::NotAFile(name.to_owned(), what));
        }
        let bits = metadata.permissions().mode();
        if bits & 0o7000 != 0 {
            return Err(ModuleFault::SetId(name.to_owned(), bits & 0o7777));
        }
        Ok(Self {
            name: name.to_owned(),
            content: Content::File(path),
            mode: mode(if bits & 0o111 != 0 { 0o755 } else { 0o644 }),
            owner: Owner::default(),
            function: None,
        })
    }

    /// The file `name` in `folder`, or the link that it is.
    pub(crate) fn file_or_link(folder: &Path, name: &str) -> Result<Self, ModuleFault> {
        let path = folder.join(name);
        let metadata = fs::symlink_metadata(&path).map_err(|error| failed(name, error))?;
        if !metadata.is_symlink() {
            return Self::file(folder, name);
        }
        let target = fs::read_link(&path).map_err(|error| failed(name, error))?;
        let target = target.to_string_lossy().parse();
        let target = target.map_err(|error| ModuleFault::Link(name.to_owned(), error))?;
        Ok(Self {
            name: name.to_owned(),
            ..Self::link(&target)
        })
    }

    /// What its bytes say of it; those of a link are its target. A file is read in pieces, whatever
    /// its size.
    pub(crate) fn examine(&self) -> Result<Examined, ModuleFault> {
        let path = match &self.content {
            Content::File(path) | Content::Imported(path) => path,
            Content::Link(target) => return Ok(Examined::link(target)),
        };
        let file = File::open(path).map_err(|error| self.failed(error))?;
        let refused = |error| match error {
            ReadError::Elf(error) => ModuleFault::Elf(self.name.clone(), error),
            ReadError::Read(error) => self.failed(error),
            ReadError::Shrunk => ModuleFault::Shrunk(self.name.clone()),
        };
        Ok(Examined {
            fingerprint: fingerprint(&file).map_err(refused)?,
            elf: read_elf_file(&file).map_err(refused)?,
            blob: Blob::File(path.clone()),
        })
    }

    /// That it cannot be read.
    pub(crate) fn failed(&self, error: io::Error) -> ModuleFault {
        failed(&self.name, error)
    }
}

/// What the bytes of a module say of it.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) fingerprint: Fingerprint,
    /// What its headers say, if it is ELF.
    pub(crate) elf: Option<ElfFile>,
    /// Where the bytes are.
    pub(crate) blob: Blob,
}

impl Examined {
    fn link(target: &LinkTarget) -> Self {
        let bytes = target.as_str().as_bytes();
        let fingerprint = Fingerprint {
            signature: signature(bytes).expect("no target begins as an ELF file does"),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        };
        Self {
            fingerprint,
            elf: None,
            blob: Blob::Bytes(bytes.to_vec()),
        }
    }
}

fn mode(bits: u32) -> Mode {
    Mode::new(bits).expect("permission bits alone")
}

fn failed(name: &str, error: io::Error) -> ModuleFault {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            ModuleFault::Missing(name.to_owned())
        }
        _ => ModuleFault::Read(name.to_owned(), error),
    }
}

fn describe(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
