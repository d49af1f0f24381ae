//! What is named on a command line: files, folders and packages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use placet_package::{Reference, open_package};

use super::error::Error;
use super::read::{self, Candidate, Contents};
use super::tree::Files;

/// What is read before it is known how the objects use each other.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) contents: Contents,
    pub(super) library_path: BTreeSet<String>,
    /// Files that have to be ELF files, since they were named one by one.
    pub(super) named: BTreeSet<PathBuf>,
}

impl Gathered {
    pub(super) fn add(&mut self, source: &str, root: Option<&Path>) -> Result<(), Error> {
        if source.starts_with("oci-layout:") || source.starts_with("oci:") {
            return self.add_package(source);
        }
        let path = PathBuf::from(source);
        let metadata = std::fs::metadata(&path).map_err(|error| Error::Read {
            path: path.clone(),
            source: error,
        })?;
        if metadata.is_dir() {
            self.append(Contents::of_folder(&path)?);
        } else {
            self.named.insert(path.clone());
            let installed = installed(&path, root)?;
            let file = Candidate {
                file: path,
                path: installed,
            };
            self.contents.files.push(file);
        }
        Ok(())
    }

    /// Puts what has been gathered into `files`; the damaged ELF files among it.
    pub(super) fn read_into(&self, files: &mut Files) -> Result<Vec<Error>, Error> {
        let mut damaged = Vec::new();
        let candidates = &self.contents.files;
        for (candidate, object) in candidates.iter().zip(read::objects(candidates)) {
            let is_named = self.named.contains(&candidate.file);
            match object {
                Ok(Some(object)) => files.add(&candidate.path, Arc::new(object)),
                Ok(None) if is_named => {
                    let path = candidate.file.clone();
                    return Err(Error::NotElf { path });
                }
                Ok(None) => {}
                Err(error) if is_named => return Err(error),
                Err(error) => damaged.push(error),
            }
        }
        for (path, target) in &self.contents.links {
            files.add_link(path, target);
        }
        Ok(damaged)
    }

    fn add_package(&mut self, source: &str) -> Result<(), Error> {
        let reference: Reference = source.parse()?;
        let package = open_package(&reference, Path::new("."))?;
        let libraries = package.config.modules.iter().filter(|module| {
            let elf = module.elf.as_ref();
            elf.is_some_and(|elf| elf.soname.is_some())
        });
        let folders = libraries.map(|module| format!("/{}", module.path.parent()));
        // Nodes tell processes where the libraries of packages are.
        self.library_path.extend(folders);
        self.append(Contents::of_package(&package));
        Ok(())
    }

    fn append(&mut self, contents: Contents) {
        self.contents.files.extend(contents.files);
        self.contents.links.extend(contents.links);
    }
}

/// Where a single file stands for processes: below `root` if it is there, else where it is.
fn installed(file: &Path, root: Option<&Path>) -> Result<String, Error> {
    let real = |path: &Path| {
        std::fs::canonicalize(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })
    };
    let file = real(file)?;
    let below = match root {
        Some(root) => file.strip_prefix(real(root)?).ok().map(Path::to_owned),
        None => None,
    };
    let path = below.unwrap_or(file);
    let path = path.to_string_lossy();
    Ok(format!("/{}", path.trim_start_matches('/')))
}
