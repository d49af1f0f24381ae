//! A package made of a whole archive.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use placet_model::{Digest, LocalRequirement, PackageName, Version};
use serde_json::json;

use super::entry::{Imported, Imports, workspace};
use super::{About, Import, ImportOptions, ImportTolerance, open};
use crate::build::{BuildOptions, Built, Job};
use crate::error::Error;
use crate::watch::Watch;
use crate::yaml;

/// What of an archive becomes a package, and as what.
#[derive(Debug, Clone, Default)]
pub struct ImportChoice {
    /// How to read the archive.
    pub options: ImportOptions,
    /// Name of the package; the archive's where `None`.
    pub name: Option<PackageName>,
    /// Version of the package; the archive's where `None`.
    pub version: Option<Version>,
    /// Patterns for the files that are taken; all where empty.
    pub only: Vec<String>,
    /// Patterns for files that are left out.
    pub exclude: Vec<String>,
    /// Paths of the programs that nodes run, as simple processes.
    pub processes: Vec<String>,
    /// The processes open no libraries at run time that matter.
    pub acknowledge_opens: bool,
    /// What is delivered in another form rather than refused.
    pub tolerance: ImportTolerance,
    /// What the archive depends on is not required.
    pub no_requirements: bool,
}

/// An archive that became a package.
#[derive(Debug, Clone)]
pub struct ImportedPackage {
    /// The package.
    pub built: Built,
    /// What the archive says of itself.
    pub about: About,
    /// Files of the archive that are not in the package.
    pub left_out: Vec<String>,
    /// A package file that gives the same modules, to go on from.
    pub package_file: String,
}

/// Makes a package of what `archive` holds, and stores it in the layout `layout_dir`.
///
/// # Guarantees
///
/// As [`build`](crate::build). The same archive and choice give the same digest.
///
/// # Errors
///
/// What is wrong with the archive, what is missing, or which file cannot be delivered.
pub fn import(
    archive: &str,
    layout_dir: &Path,
    choice: &ImportChoice,
    watch: Watch<'_>,
) -> Result<ImportedPackage, Error> {
    let mut options = choice.options.clone();
    options.workspace = options.workspace.or_else(|| workspace(layout_dir));
    let import = open(archive, &options, watch).map_err(|error| {
        if error.is_cancelled() {
            return Error::Cancelled;
        }
        Error::Archive(error)
    })?;
    let package_file = package_file(archive, &import, choice)?;
    let place = Path::new(archive);
    let file = yaml::from_text(place, &package_file)?;
    let about = import.about.clone();
    let names: BTreeSet<String> = import.entries.keys().cloned().collect();
    let imported = Imported {
        import,
        tolerance: choice.tolerance,
    };
    let imports = Imports::single(IMPORT, imported);
    let job = Job {
        package_yaml: place,
        file,
        folder: PathBuf::new(),
        imports,
    };
    let built = job.run(layout_dir, &BuildOptions::default(), watch)?;
    let modules = built.config.modules.iter();
    let taken: BTreeSet<&str> = modules.map(|module| module.path.as_str()).collect();
    let left_out = names
        .into_iter()
        .filter(|name| !taken.contains(name.as_str()));
    Ok(ImportedPackage {
        left_out: left_out.collect(),
        built,
        about,
        package_file,
    })
}

/// How the package file calls the archive.
const IMPORT: &str = "archive";

/// JSON is YAML, so that every value is quoted as JSON has it.
fn package_file(archive: &str, import: &Import, choice: &ImportChoice) -> Result<String, Error> {
    let about = &import.about;
    let missing = |what| Error::Unnamed {
        archive: archive.to_owned(),
        what,
    };
    let name = choice.name.as_ref().or(about.name.as_ref());
    let name = name.ok_or_else(|| missing("name"))?;
    let version = choice.version.as_ref().or(about.version.as_ref());
    let version = version.ok_or_else(|| missing("version"))?;
    let mut lines = vec![
        format!("name: {}", json!(name)),
        format!("version: {}", json!(version)),
        format!("sourceRevision: {}", json!(revision(archive, about))),
    ];
    for (field, text) in [("description", &about.summary), ("license", &about.license)] {
        let line = text.as_deref().map(in_a_line);
        let line = line.filter(|line| !line.is_empty());
        lines.extend(line.map(|line| format!("{field}: {}", json!(line))));
    }
    lines.extend(import_lines(archive, about, choice));
    if !choice.no_requirements {
        lines.extend(requirement_lines(&about.requires));
    }
    lines.extend(module_lines(choice));
    Ok(lines.join("\n") + "\n")
}

/// Words of an archive as a package may have them: in a line, and not too long.
fn in_a_line(text: &str) -> String {
    let text = text.replace(|it: char| it.is_control(), " ");
    let words: Vec<_> = text.split_whitespace().collect();
    let mut line = words.join(" ");
    line.truncate(line.floor_char_boundary(LINE_MAX));
    line
}

/// Longer texts are refused in packages.
const LINE_MAX: usize = 512;

fn import_lines(archive: &str, about: &About, choice: &ImportChoice) -> Vec<String> {
    let tolerance = choice.tolerance;
    let mut lines = vec![
        "imports:".to_owned(),
        format!("  - name: {IMPORT}"),
        format!("    file: {}", json!(archive)),
    ];
    lines.extend(about.digest.map(|digest| format!("    digest: {digest}")));
    let platform = choice.options.platform.iter();
    lines.extend(platform.map(|platform| format!("    platform: {}", json!(platform))));
    if tolerance.drop_set_id {
        lines.push("    dropSetId: true".to_owned());
    }
    if tolerance.absolute_links {
        lines.push("    absoluteLinks: true".to_owned());
    }
    lines
}

fn requirement_lines(requires: &[LocalRequirement]) -> Vec<String> {
    let heading = (!requires.is_empty()).then(|| "requires:".to_owned());
    let entries = requires.iter().map(|it| {
        let (package, version) = (json!(it.package), json!(it.version));
        format!("  - {{package: {package}, version: {version}}}")
    });
    heading.into_iter().chain(entries).collect()
}

fn module_lines(choice: &ImportChoice) -> Vec<String> {
    let mut lines = vec!["modules:".to_owned()];
    for path in &choice.processes {
        lines.push(format!("  - import: {IMPORT}"));
        lines.push(format!("    path: {}", json!(path)));
        lines.push("    process: {kind: simple}".to_owned());
        if choice.acknowledge_opens {
            lines.push("    acknowledgeOpens: true".to_owned());
        }
    }
    let only = if choice.only.is_empty() {
        json!(["**"])
    } else {
        json!(choice.only)
    };
    lines.push(format!("  - import: {IMPORT}"));
    lines.push(format!("    sources: {only}"));
    if !choice.exclude.is_empty() {
        lines.push(format!("    exclude: {}", json!(choice.exclude)));
    }
    lines
}

/// Where the package comes from, for people: the file's name without its folder, and its digest.
fn revision(archive: &str, about: &About) -> String {
    let name = archive.rsplit('/').next().unwrap_or(archive);
    let digest = about.digest.as_ref().map(Digest::to_string);
    format!("{name} {}", digest.unwrap_or_default())
}
