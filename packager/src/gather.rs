//! Which modules the entries of a package file stand for, and what each is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use placet_model::ModulePath;
use serde_yaml::Spanned;

use crate::error::{Error, ModuleFault};
use crate::file::{ModuleEntry, PackageFile};
use crate::glob::{Glob, Globs};
use crate::import::{Imported, Imports};
use crate::source::Source;
use crate::yaml;

/// More files than any package has; it bounds the walk through a folder.
const FILES_MAX: usize = 100_000;

/// A module to be.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// What the package file says of it.
    pub(crate) entry: &'a Spanned<ModuleEntry>,
    /// Where it is installed.
    pub(crate) path: ModulePath,
    /// What it is made of.
    pub(crate) source: Source,
}

impl Found<'_> {
    /// That this module cannot be delivered.
    pub(crate) fn refused(&self, package_yaml: &Path, fault: ModuleFault) -> Error {
        refused(package_yaml, self.entry, self.path.to_string(), fault)
    }
}

/// That what `entry` stands for cannot be delivered. What is wrong with a source stands where the
/// source is named; the rest, where the module is.
pub(crate) fn refused(
    package_yaml: &Path,
    entry: &Spanned<ModuleEntry>,
    module: String,
    fault: ModuleFault,
) -> Error {
    let source = entry.value.source.as_ref().map(|it| it.referenced);
    let sources = entry.value.sources.as_ref().map(|it| it.referenced);
    let named = source.or(sources).filter(|_| fault.concerns_source());
    Error::Module {
        place: yaml::place(package_yaml, Some(named.unwrap_or(entry.referenced))),
        module,
        fault: Box::new(fault),
    }
}

/// The modules that `file` describes, with sources in `folder`. A path with an entry of its own is
/// left to that entry by patterns.
pub(crate) fn gather<'a>(
    package_yaml: &Path,
    folder: &Path,
    file: &'a PackageFile,
    imports: &Imports,
) -> Result<Vec<Found<'a>>, Error> {
    let single = file.modules.iter().filter(|it| it.value.sources.is_none());
    let own: BTreeSet<_> = single.filter_map(|it| it.value.path.as_ref()).collect();
    let mut modules = Vec::new();
    for entry in &file.modules {
        let found = of_entry(folder, &entry.value, imports).map_err(|(module, fault)| {
            let fault = with_commands(fault, &file.build);
            refused(package_yaml, entry, module, fault)
        })?;
        let free = found
            .into_iter()
            .filter(|(path, _)| entry.value.sources.is_none() || !own.contains(path));
        modules.extend(free.map(|(path, source)| Found {
            entry,
            path,
            source,
        }));
    }
    Ok(modules)
}

/// Says of what is missing which commands should have made it.
fn with_commands(fault: ModuleFault, commands: &[Spanned<String>]) -> ModuleFault {
    match fault {
        ModuleFault::Missing(name) if !commands.is_empty() => {
            let lines = commands.iter().map(|it| it.referenced.line().to_string());
            let lines: Vec<_> = lines.collect();
            let word = if lines.len() == 1 { "line" } else { "lines" };
            ModuleFault::NotMade(name, format!("{word} {}", lines.join(", ")))
        }
        fault => fault,
    }
}

type Refused = (String, ModuleFault);

/// Paths and sources of one entry.
fn of_entry(
    folder: &Path,
    entry: &ModuleEntry,
    imports: &Imports,
) -> Result<Vec<(ModulePath, Source)>, Refused> {
    let at_entry = |fault| (entry.to_string(), fault);
    if let Some(import) = &entry.import {
        let import = imports.get(&import.value).map_err(at_entry)?;
        return imported(import, entry);
    }
    let source = match (&entry.source, &entry.sources, &entry.link) {
        (Some(source), None, None) => Source::file(folder, &source.value).map_err(at_entry)?,
        (None, None, Some(target)) => Source::link(target),
        (None, Some(globs), None) => return matching(folder, entry, &globs.value),
        _ => return Err(at_entry(ModuleFault::OneSource)),
    };
    let path = entry.path.clone();
    let path = path.ok_or_else(|| at_entry(ModuleFault::NoPath))?;
    Ok(vec![(path, source)])
}

/// Paths and sources of an entry that takes files of an archive, which keep their paths where the
/// entry names none.
fn imported(import: &Imported, entry: &ModuleEntry) -> Result<Vec<(ModulePath, Source)>, Refused> {
    let at_entry = |fault| (entry.to_string(), fault);
    if entry.link.is_some() || (entry.source.is_some() && entry.sources.is_some()) {
        return Err(at_entry(ModuleFault::ImportedLink));
    }
    if let Some(globs) = &entry.sources {
        return imported_matching(import, entry, &globs.value);
    }
    let path = entry.path.clone();
    let path = path.ok_or_else(|| at_entry(ModuleFault::NoPath))?;
    let name = entry.source.as_ref().map_or(path.as_str(), |it| &it.value);
    let source = import.source(name, &path).map_err(at_entry)?;
    Ok(vec![(path, source)])
}

fn imported_matching(
    import: &Imported,
    entry: &ModuleEntry,
    globs: &Globs,
) -> Result<Vec<(ModulePath, Source)>, Refused> {
    let mut found = BTreeMap::new();
    for glob in &globs.0 {
        let covered = |name: &&String| glob.covers(name, false);
        let mut names = import.names().filter(covered).peekable();
        if names.peek().is_none() {
            let fault = ModuleFault::NoneImported(glob.as_str().to_owned());
            return Err((entry.to_string(), fault));
        }
        let excluded = |name: &&String| entry.exclude.0.iter().any(|it| it.covers(name, true));
        for name in names.filter(|name| !excluded(name)) {
            let at_file = |fault| (name.clone(), fault);
            let path = match &entry.path {
                Some(folder) => below(Some(folder), glob, name),
                None => name
                    .parse()
                    .map_err(|error| ModuleFault::Path(name.clone(), error)),
            };
            let path = path.map_err(at_file)?;
            let source = import.source(name, &path).map_err(at_file)?;
            found.insert(path, source);
        }
    }
    Ok(found.into_iter().collect())
}

fn matching(
    folder: &Path,
    entry: &ModuleEntry,
    globs: &Globs,
) -> Result<Vec<(ModulePath, Source)>, Refused> {
    let at_entry = |fault| (entry.to_string(), fault);
    let mut found = Vec::new();
    for glob in &globs.0 {
        let names = names(folder, glob).map_err(at_entry)?;
        let excluded = |name: &String| entry.exclude.0.iter().any(|it| it.covers(name, true));
        let before = found.len();
        for name in names.into_iter().filter(|name| !excluded(name)) {
            let at_file = |fault| (name.clone(), fault);
            let path = below(entry.path.as_ref(), glob, &name).map_err(at_file)?;
            found.push((path, Source::file_or_link(folder, &name).map_err(at_file)?));
        }
        if found.len() == before {
            return Err(at_entry(ModuleFault::NoMatch(glob.as_str().to_owned())));
        }
    }
    Ok(found)
}

/// Where the file `name` is installed: as far below `folder` as it lies below the glob's base.
fn below(folder: Option<&ModulePath>, glob: &Glob, name: &str) -> Result<ModulePath, ModuleFault> {
    let rest = name.strip_prefix(glob.base()).unwrap_or(name);
    let rest = rest.trim_start_matches('/');
    let path = folder.map_or_else(|| rest.to_owned(), |folder| format!("{folder}/{rest}"));
    path.parse()
        .map_err(|error| ModuleFault::Path(name.to_owned(), error))
}

/// The names of the files and links that `glob` stands for, in order; folders themselves never.
fn names(folder: &Path, glob: &Glob) -> Result<Vec<String>, ModuleFault> {
    let failed = |name: &str, error| ModuleFault::Read(name.to_owned(), error);
    let mut names = BTreeSet::new();
    let mut folders = vec![glob.base().to_owned()];
    let mut seen = 0;
    while let Some(parent) = folders.pop() {
        let entries = match fs::read_dir(folder.join(&parent)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|error| failed(&parent, error))?,
        };
        for entry in entries {
            let entry = entry.map_err(|error| failed(&parent, error))?;
            let own = entry.file_name();
            let name = joined(&parent, &own.to_string_lossy());
            seen += 1;
            if seen > FILES_MAX {
                return Err(ModuleFault::TooManyFiles(FILES_MAX));
            }
            if entry
                .file_type()
                .map_err(|error| failed(&name, error))?
                .is_dir()
            {
                folders.push(name);
            } else if glob.covers(&name, false) {
                own.to_str()
                    .ok_or_else(|| ModuleFault::NotText(name.clone()))?;
                names.insert(name);
            }
        }
    }
    Ok(names.into_iter().collect())
}

fn joined(parent: &str, name: &str) -> String {
    match parent {
        "" => name.to_owned(),
        "/" => format!("/{name}"),
        parent => format!("{parent}/{name}"),
    }
}
