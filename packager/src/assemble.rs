//! From an entry of a package file to a module with everything that its bytes say.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use placet_model::{
    Architecture, Digest, LinkTarget, Mode, Module, ModuleType, Owner, ProcessSpec, Supplemental,
    canonical_json,
};
use placet_package::{Blob, ElfFile, ElfKind, read_elf, signature};

use crate::error::ModuleFault;
use crate::file::{ModuleEntry, ProcessEntry};
use crate::taint::{self, Warning};

/// Modules are read into memory once.
const SIZE_MAX: u64 = 2 << 30;

/// Where modules come from, and what they have given so far.
#[derive(Debug)]
pub(crate) struct Assembly {
    /// The folder of the package file.
    pub(crate) folder: PathBuf,
    /// The package file's name, for dependencies to say where they were declared.
    pub(crate) declared_in: String,
    /// The bytes of modules and lists of symbols.
    pub(crate) blobs: BTreeMap<Digest, Blob>,
    pub(crate) warnings: Vec<Warning>,
}

/// A source that was read.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    bytes: Vec<u8>,
    executable: bool,
}

impl Assembly {
    /// The module that `entry` describes.
    pub(crate) fn module(&mut self, entry: &ModuleEntry) -> Result<Module, ModuleFault> {
        match (&entry.source, &entry.link) {
            (Some(source), None) => self.file(entry, &source.value),
            (None, Some(target)) => self.link(entry, target),
            _ => Err(ModuleFault::SourceOrLink),
        }
    }

    fn link(&mut self, entry: &ModuleEntry, target: &LinkTarget) -> Result<Module, ModuleFault> {
        if entry.process.is_some() {
            return Err(ModuleFault::LinkProcess);
        }
        let bytes = target.as_str().as_bytes();
        let name = || target.as_str().to_owned();
        let signature = signature(bytes).map_err(|error| ModuleFault::Elf(name(), error))?;
        let digest = Digest::of(bytes);
        self.blobs.insert(digest, Blob::Bytes(bytes.to_vec()));
        Ok(Module {
            path: entry.path.clone(),
            mode: Mode::new(0o777).expect("permission bits alone"),
            owner: owner(entry),
            kind: ModuleType::Data,
            function: entry.function.clone(),
            architecture: Architecture::default(),
            size: bytes.len() as u64,
            digest,
            signature,
            build_id: None,
            link: Some(target.clone()),
            elf: None,
            features: entry.features.clone(),
            provides: entry.provides.clone(),
            uses: entry.uses.clone(),
            supplemental: self.supplemental(entry),
            optional: entry.optional.clone(),
            process: None,
        })
    }

    fn file(&mut self, entry: &ModuleEntry, name: &str) -> Result<Module, ModuleFault> {
        let source = read(&self.folder, name)?;
        let damaged = |error| ModuleFault::Elf(name.to_owned(), error);
        let elf = read_elf(&source.bytes).map_err(damaged)?;
        let signature = signature(&source.bytes).map_err(damaged)?;
        let kind = kind(entry, elf.as_ref())?;
        let digest = Digest::of(&source.bytes);
        self.warnings
            .extend(taint::scan(&entry.path, &source.bytes, &self.folder));
        self.blobs.insert(digest, Blob::File(source.path));
        let mut module = Module {
            path: entry.path.clone(),
            mode: entry
                .mode
                .unwrap_or_else(|| default_mode(source.executable)),
            owner: owner(entry),
            kind,
            function: entry.function.clone(),
            architecture: Architecture::default(),
            size: source.bytes.len() as u64,
            digest,
            signature,
            build_id: None,
            link: None,
            elf: None,
            features: entry.features.clone(),
            provides: entry.provides.clone(),
            uses: entry.uses.clone(),
            supplemental: self.supplemental(entry),
            optional: entry.optional.clone(),
            process: entry
                .process
                .as_ref()
                .map(|process| spec(entry, process))
                .transpose()?,
        };
        if let Some(elf) = elf {
            self.add_facts(&mut module, elf);
        }
        Ok(module)
    }

    fn add_facts(&mut self, module: &mut Module, elf: ElfFile) {
        if let Some(digest) = elf.facts.symbols {
            let blob = Blob::Bytes(canonical_json(&elf.symbols));
            self.blobs.insert(digest, blob);
        }
        module.architecture = elf.architecture;
        module.build_id = elf.build_id;
        module.elf = Some(elf.facts);
    }

    fn supplemental(&self, entry: &ModuleEntry) -> Vec<Supplemental> {
        let entries = entry.supplemental.iter();
        entries
            .map(|supplemental| Supplemental {
                one_of: supplemental.one_of.clone(),
                declared_in: Some(self.declared_in.clone()),
            })
            .collect()
    }
}

fn owner(entry: &ModuleEntry) -> Owner {
    Owner {
        user: entry.owner.user.clone(),
        group: entry.owner.group.clone(),
    }
}

fn default_mode(executable: bool) -> Mode {
    let bits = if executable { 0o755 } else { 0o644 };
    Mode::new(bits).expect("permission bits alone")
}

/// What the author says that it is, or what its headers say.
fn kind(entry: &ModuleEntry, elf: Option<&ElfFile>) -> Result<ModuleType, ModuleFault> {
    match (entry.kind, &entry.process) {
        (Some(ModuleType::Process), None) => Err(ModuleFault::NoProcess),
        (Some(ModuleType::Process) | None, Some(_)) => Ok(ModuleType::Process),
        (Some(kind), Some(_)) => Err(ModuleFault::ProcessType(kind)),
        (Some(kind), None) => Ok(kind),
        (None, None) => Ok(match elf {
            Some(elf) if elf.facts.soname.is_some() => ModuleType::Library,
            Some(elf) if elf.kind == ElfKind::SharedObject => ModuleType::Plugin,
            _ => ModuleType::Data,
        }),
    }
}

fn spec(entry: &ModuleEntry, process: &ProcessEntry) -> Result<ProcessSpec, ModuleFault> {
    let default = ProcessSpec::default();
    let name = match &process.name {
        Some(name) => name.clone(),
        None => entry
            .path
            .file_name()
            .parse()
            .map_err(|_| ModuleFault::ProcessName)?,
    };
    Ok(ProcessSpec {
        name,
        kind: process.kind,
        arguments: process.arguments.clone(),
        environment: process.environment.clone(),
        start_order: process.start_order,
        notify: process.notify,
        ready_seconds: process.ready_seconds.unwrap_or(default.ready_seconds),
        stop_seconds: process.stop_seconds.unwrap_or(default.stop_seconds),
        vote_seconds: process.vote_seconds.unwrap_or(default.vote_seconds),
        silence: process.silence,
        user: process.user.clone(),
        group: process.group.clone(),
        working_directory: process.working_directory.clone(),
        limits: process.limits.clone(),
        sockets: process.sockets.clone(),
        stored_descriptors: process.stored_descriptors,
        watchdog_seconds: process.watchdog_seconds,
        stop_signal: process.stop_signal,
        reload_signal: process.reload_signal,
        health: process.health.clone(),
        state: process.state.clone(),
        follows: process.follows.clone(),
        rules: process.rules.clone(),
        vote_command: process.vote_command.clone(),
    })
}

/// Reads a source, once it is known to be a file that may be delivered.
fn read(folder: &Path, name: &str) -> Result<Source, ModuleFault> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            ModuleFault::Missing(name.to_owned())
        }
        _ => ModuleFault::Read(name.to_owned(), error),
    };
    let path = folder.join(name);
    let metadata = fs::metadata(&path).map_err(failed)?;
    if !metadata.is_file() {
        let what = describe(metadata.file_type());
        return Err(ModuleFault::NotAFile(name.to_owned(), what));
    }
    let mode = metadata.permissions().mode();
    if mode & 0o7000 != 0 {
        return Err(ModuleFault::SetId(name.to_owned(), mode & 0o7777));
    }
    let too_large = |size| ModuleFault::TooLarge(name.to_owned(), size, SIZE_MAX);
    if metadata.len() > SIZE_MAX {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    let file = File::open(&path).map_err(failed)?;
    file.take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(Source {
        path,
        bytes,
        executable: mode & 0o111 != 0,
    })
}

fn describe(kind: fs::FileType) -> &'static str {
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
