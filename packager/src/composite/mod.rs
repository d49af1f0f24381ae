//! Composite files: which packages and which declarations make one artifact.

mod error;
mod file;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use placet_crds::{FILE_MAX, NamedPackage, SourceFile, named_packages};
use placet_model::{ModulePath, PackageName, Version};
use placet_package::composite::{DECLARATIONS_MOST, Declaration};
use serde_yaml::Spanned;

pub use error::CompositeError;
pub use file::CompositeFile;

use crate::error::Place;
use crate::yaml;

/// A composite file that was read, with the declarations that it names.
#[derive(Debug)]
pub struct CompositePlan {
    /// Name of the composite.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The packages and boot images, by reference, and where in the file each stands.
    pub packages: Vec<(String, Place)>,
    /// The declarations, sorted by path; they were validated.
    pub declarations: Vec<Declaration>,
    named: Vec<NamedPackage>,
}

/// Reads the composite file at `path` and the declarations that it names.
///
/// # Errors
///
/// The file, or a declaration, is not what it should be: with file, line and field.
pub fn read_composite_file(path: &Path) -> Result<CompositePlan, CompositeError> {
    let file: CompositeFile = yaml::read_as(path)?;
    let at = |entry: &Spanned<String>| yaml::place(path, Some(entry.referenced));
    if file.packages.is_empty() {
        let place = yaml::place(path, None);
        return Err(CompositeError::NoPackages(place));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut declarations = BTreeMap::new();
    for entry in &file.declarations {
        for (path, text) in read_declarations(folder, &entry.value, &at(entry))? {
            declarations.insert(path, text);
        }
    }
    if declarations.len() > DECLARATIONS_MOST {
        return Err(CompositeError::TooMany(yaml::place(path, None)));
    }
    let declarations: Vec<_> = declarations
        .into_iter()
        .map(|(path, text)| Declaration { path, text })
        .collect();
    let named =
        named_packages(&source_files(&declarations)).map_err(CompositeError::Declarations)?;
    let packages = file.packages.iter();
    Ok(CompositePlan {
        name: file.name,
        version: file.version,
        packages: packages.map(|it| (it.value.clone(), at(it))).collect(),
        declarations,
        named,
    })
}

/// Declarations as they are validated.
pub fn source_files(declarations: &[Declaration]) -> Vec<SourceFile> {
    let files = declarations.iter().map(|declaration| SourceFile {
        name: declaration.path.to_string(),
        text: declaration.text.clone(),
    });
    files.collect()
}

impl CompositePlan {
    /// Checks that the composite carries every package that its declarations name on a disk, since
    /// nobody else has that disk. What they name in a registry may stay there; those are returned.
    ///
    /// # Errors
    ///
    /// A package is named twice, or one is missing: with file and line.
    pub fn check(
        &self,
        carried: &[(PackageName, String)],
    ) -> Result<Vec<&NamedPackage>, CompositeError> {
        for (index, package) in carried.iter().enumerate() {
            if carried[..index].contains(package) {
                let (_, place) = &self.packages[index];
                let (name, version) = package.clone();
                return Err(CompositeError::Twice {
                    place: place.clone(),
                    name,
                    version,
                });
            }
        }
        let is_carried = |named: &NamedPackage| {
            let mut all = carried.iter();
            all.any(|(name, version)| name.as_str() == named.name && *version == named.version)
        };
        let (elsewhere, missing): (Vec<_>, Vec<_>) = self
            .named
            .iter()
            .filter(|named| !is_carried(named))
            .partition(|named| !named.reference.starts_with("oci-layout:"));
        if missing.is_empty() {
            return Ok(elsewhere);
        }
        let faults = missing.into_iter().map(|named| {
            let (name, version) = (&named.name, &named.version);
            named.fault(format!(
                "the composite does not carry {name} {version}; add it to `packages`"
            ))
        });
        Err(CompositeError::Declarations(faults.collect()))
    }
}

/// The files of declarations that an entry names: itself, or those of a folder and its folders.
fn read_declarations(
    folder: &Path,
    entry: &str,
    place: &Place,
) -> Result<Vec<(ModulePath, String)>, CompositeError> {
    let refuse = |why: String| CompositeError::Entry {
        place: place.clone(),
        entry: entry.to_owned(),
        why,
    };
    let path: ModulePath = entry
        .trim_start_matches("./")
        .trim_end_matches('/')
        .parse()
        .map_err(|error| refuse(format!("{error}")))?;
    let mut paths = vec![path.clone()];
    if folder.join(path.as_str()).is_dir() {
        paths = files_below(folder, &path).map_err(|error| refuse(error.to_string()))?;
        if paths.is_empty() {
            return Err(refuse(
                "the folder holds no `.yaml` or `.yml` file".to_owned(),
            ));
        }
    }
    let mut read = Vec::new();
    for path in paths {
        let text = read_text(&folder.join(path.as_str()))
            .map_err(|error| refuse(format!("failed to read `{path}`: {error}")))?;
        read.push((path, text));
    }
    Ok(read)
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let size = fs::metadata(path)?.len();
    if size > FILE_MAX as u64 {
        let why = format!("it has {size} bytes, and at most {FILE_MAX} are read: split it");
        return Err(std::io::Error::other(why));
    }
    fs::read_to_string(path)
}

/// The YAML files below a folder; hidden ones, and links, are left out.
fn files_below(root: &Path, folder: &ModulePath) -> std::io::Result<Vec<ModulePath>> {
    let mut open = vec![PathBuf::from(folder.as_str())];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            let kind = entry.file_type()?;
            let is_yaml = path
                .extension()
                .is_some_and(|it| it == "yaml" || it == "yml");
            if is_hidden {
                continue;
            }
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() && is_yaml {
                let path = path.to_string_lossy().parse();
                found.push(path.map_err(std::io::Error::other)?);
            }
        }
    }
    Ok(found)
}
