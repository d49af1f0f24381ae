//! Reading files, folders and packages into objects.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use placet_package::{ElfHeaders, Package};

use super::error::Error;
use super::object::Object;

/// A file that may be an object, and where it would be installed.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Where it is read.
    pub(super) file: PathBuf,
    /// Its absolute path for processes.
    pub(super) path: String,
}

/// What is in a folder or package.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) files: Vec<Candidate>,
    /// Symbolic links: paths for processes, and targets.
    pub(super) links: Vec<(String, String)>,
}

impl Contents {
    /// Everything below `folder`, which processes see as their root, by name.
    pub(super) fn of_folder(folder: &Path) -> Result<Self, Error> {
        let mut contents = Self::default();
        contents.walk(folder, "")?;
        Ok(contents)
    }

    fn walk(&mut self, folder: &Path, path: &str) -> Result<(), Error> {
        let failed = |source| Error::Read {
            path: folder.to_owned(),
            source,
        };
        let entries = fs::read_dir(folder).map_err(failed)?;
        let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        entries.sort_unstable_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type().map_err(failed)?;
            let file = entry.path();
            let path = format!("{path}/{}", entry.file_name().to_string_lossy());
            if kind.is_dir() {
                self.walk(&file, &path)?;
            } else if kind.is_file() {
                self.files.push(Candidate { file, path });
            } else if kind.is_symlink() {
                let target = fs::read_link(&file).map_err(failed)?;
                self.links
                    .push((path, target.to_string_lossy().into_owned()));
            }
        }
        Ok(())
    }

    /// The modules of a package.
    pub(super) fn of_package(package: &Package) -> Self {
        let mut contents = Self::default();
        for module in &package.config.modules {
            let path = format!("/{}", module.path);
            if let Some(target) = &module.link {
                contents.links.push((path, target.as_str().to_owned()));
            } else {
                let file = package.layout.blob_path(&module.digest);
                contents.files.push(Candidate { file, path });
            }
        }
        contents
    }
}

/// The objects among `candidates`, in their order; `None` for files that are no ELF files.
pub(super) fn objects(candidates: &[Candidate]) -> Vec<Result<Option<Object>, Error>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut read = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(candidate) = candidates.get(index) else {
                return read;
            };
            read.push((index, object(&candidate.file)));
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let mut read: Vec<_> = thread::scope(|scope| {
        let others = threads.min(candidates.len().div_ceil(8)).saturating_sub(1);
        let others: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
        let mut read = work();
        for other in others {
            read.extend(other.join().expect("reading a file does not panic"));
        }
        read
    });
    read.sort_unstable_by_key(|(index, _)| *index);
    read.into_iter().map(|(_, object)| object).collect()
}

fn object(file: &Path) -> Result<Option<Object>, Error> {
    let failed = |source| Error::Elf {
        path: file.to_owned(),
        source,
    };
    let headers = ElfHeaders::open(file).map_err(failed)?;
    let Some(headers) = headers else {
        return Ok(None);
    };
    let elf = headers.parse().map_err(|error| failed(error.into()))?;
    Ok(Some(Object::of_elf(&elf)))
}
