//! Repacked packages: the same package under a new version, with other files for some modules.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use placet_model::{Architecture, Module, ModulePath, UpdateTool};
use placet_package::Package;

use super::{Naming, Update, UpdateError, matching, name};
use crate::glob::Glob;
use crate::source::Source;
use crate::taint::Scanner;
use crate::{assemble, opens};

/// A file that takes the place of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The module.
    pub path: ModulePath,
    /// Its new content.
    pub file: PathBuf,
}

/// What `package` becomes with a new version, other content for some modules, and without those
/// that `removed` stands for.
///
/// What the author said of a module stays (mode, owner, process, dependencies that were declared);
/// what its bytes say is read again. `may_open` names simple processes that may open libraries at
/// run time though none are declared; those of `package` may as they did.
///
/// # Errors
///
/// A module that the package does not have, a file that cannot be one, a process that the build
/// would refuse, or a version that cannot be given.
pub fn repack(
    package: &Package,
    replacements: &[Replacement],
    removed: &[Glob],
    may_open: &BTreeSet<ModulePath>,
    naming: Naming<'_>,
) -> Result<Update, UpdateError> {
    let by = UpdateTool::Repack;
    let removed = matching(&package.config, removed)?;
    let version = naming.choose(&package.config.version, by)?;
    let mut update = Update::of(package, by, version);
    update.remove(&removed);
    let mut replaced = BTreeSet::new();
    for replacement in replacements {
        let path = &replacement.path;
        if removed.contains(path) {
            return Err(UpdateError::Twice(path.clone()));
        }
        let place = update.replace(package, replacement)?;
        if !replaced.insert(place) {
            return Err(UpdateError::Twice(path.clone()));
        }
    }
    if update.config.modules.is_empty() {
        return Err(UpdateError::Empty(name(&package.config)));
    }
    check_opens(&package.config.modules, &update.config.modules, may_open)?;
    let derived = update.derived();
    derived.removed = removed;
    derived.replaced = replaced.into_iter().map(|(path, _)| path).collect();
    derived
        .shaded
        .retain(|path| !derived.replaced.contains(path));
    Ok(update)
}

impl Update {
    fn remove(&mut self, paths: &BTreeSet<ModulePath>) {
        self.config
            .modules
            .retain(|module| !paths.contains(&module.path));
        self.derived().shaded.retain(|path| !paths.contains(path));
    }

    /// Puts a file in the place of a module; which one.
    fn replace(
        &mut self,
        package: &Package,
        replacement: &Replacement,
    ) -> Result<(ModulePath, Architecture), UpdateError> {
        let Replacement { path, file } = replacement;
        let refused = |fault| UpdateError::Module {
            path: path.clone(),
            fault: Box::new(fault),
        };
        let source = Source::file(Path::new(""), &file.to_string_lossy()).map_err(refused)?;
        let examined = source.examine().map_err(refused)?;
        let architecture = examined.elf.as_ref().map(|elf| elf.architecture.clone());
        let module = self.find(package, replacement, &architecture.unwrap_or_default())?;
        module.size = examined.fingerprint.size;
        module.digest = examined.fingerprint.digest;
        module.signature = examined.fingerprint.signature;
        if module.link.take().is_some() {
            module.mode = source.mode;
        }
        let place = (path.clone(), module.architecture.clone());
        let blob = (module.digest, examined.blob);
        let symbols = assemble::set_facts(module, examined.elf);
        self.blobs
            .extend([Some(blob), symbols].into_iter().flatten());
        let folder = file.canonicalize().ok();
        let folder = folder.as_deref().and_then(Path::parent);
        if let Some(folder) = folder {
            let warnings = Scanner::of_folder(folder).scan(path, file);
            let warnings = warnings.map_err(|error| refused(source.failed(error)))?;
            self.warnings.extend(warnings);
        }
        Ok(place)
    }

    /// The module whose place a file for `architecture` takes. A package that has the module for
    /// several needs to be told by the file which one is meant.
    fn find(
        &mut self,
        package: &Package,
        replacement: &Replacement,
        architecture: &Architecture,
    ) -> Result<&mut Module, UpdateError> {
        let Replacement { path, file } = replacement;
        let package = name(&package.config);
        let modules = &mut self.config.modules;
        let places: Vec<_> = (0..modules.len())
            .filter(|place| modules[*place].path == *path)
            .collect();
        let same = |place: &&usize| modules[**place].architecture == *architecture;
        match (places.iter().find(same), places.as_slice()) {
            (Some(place), _) => Ok(&mut modules[*place]),
            (None, []) => Err(UpdateError::NoMatch {
                package,
                pattern: path.to_string(),
            }),
            (None, places) => {
                let wanted = places
                    .iter()
                    .map(|place| modules[*place].architecture.to_string());
                Err(UpdateError::Architecture {
                    package,
                    file: file.clone(),
                    found: architecture.to_string(),
                    path: path.clone(),
                    wanted: wanted.collect::<Vec<_>>().join(" and "),
                })
            }
        }
    }
}

/// Refuses simple processes that have come to reach a library that opens others (B7).
fn check_opens(
    before: &[Module],
    after: &[Module],
    may_open: &BTreeSet<ModulePath>,
) -> Result<(), UpdateError> {
    let paths = |(process, opener): (&Module, &ModulePath)| (process.path.clone(), opener.clone());
    let known: BTreeSet<_> = opens::undeclared(before).map(paths).collect();
    let mut found = opens::undeclared(after).map(paths);
    let new = found.find(|(path, opener)| {
        !may_open.contains(path) && !known.contains(&(path.clone(), opener.clone()))
    });
    match new {
        Some((path, opener)) => Err(UpdateError::Opens { path, opener }),
        None => Ok(()),
    }
}
