//! How a package was made: SLSA provenance, as an in-toto statement.
//!
//! It holds no time, no host and no path of the machine: two builds of the same inputs say the same.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use placet_model::{Derived, Digest, Hasher, Module, PackageConfig};
use placet_package::trust::Statement;
use serde_json::{Value, json};

use crate::error::Error;
use crate::file::PackageFile;
use crate::import::{About, Imports};

/// Media type of provenance.
pub const PROVENANCE_TYPE: &str = "application/vnd.in-toto+json";
/// What the statement says.
pub const PROVENANCE_PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// How packages are built from package files.
const BUILD_TYPE: &str = "https://placet.dev/build/package-file/v1";
/// How packages are made from other packages.
const UPDATE_TYPE: &str = "https://placet.dev/build/update/v1";
/// The builder where nobody names another: whoever ran the command, wherever.
const BUILDER: &str = "https://placet.dev/build/unattested";

/// Who says that a package was built, and in which run of theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Builder {
    /// The identity of the build platform, a URI.
    pub id: Option<String>,
    /// The run, as the platform names it.
    pub invocation: Option<String>,
}

/// What a package is made from.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// Name and digest of the package file.
    package_file: (String, Option<Digest>),
    /// Digest of the files that build commands start from; none where there are no commands.
    sources: Option<Digest>,
    commands: Vec<String>,
    environment: Value,
    revision: Option<String>,
}

/// Files of which the digest of a folder is taken; a folder with more is no source.
const FILES_MOST: usize = 200_000;

impl Inputs {
    /// Looks at what is there before anything is built.
    pub(crate) fn read(
        package_yaml: &Path,
        file: &PackageFile,
        folder: &Path,
        layout: &Path,
    ) -> Result<Self, Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Read { path, source }
        };
        // Of an import, it is the archive.
        let package_file = file_digest(package_yaml).ok();
        let name = package_yaml.file_name().unwrap_or_default();
        let sources = match file.build.as_slice() {
            [] => None,
            _ => Some(folder_digest(folder, layout).map_err(failed(folder))?),
        };
        let commands = file.build.iter().map(|command| command.value.clone());
        Ok(Self {
            package_file: (name.to_string_lossy().into_owned(), package_file),
            sources,
            commands: commands.collect(),
            environment: environment(file),
            revision: file.source_revision.clone(),
        })
    }

    /// The statement that the package with this digest was made from these inputs.
    pub(crate) fn statement(
        &self,
        package: &Digest,
        config: &PackageConfig,
        imports: &Imports,
        builder: &Builder,
    ) -> Statement {
        let definition = json!({
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "packageFile": self.package_file.0,
                "package": config.name,
                "version": config.version.to_string(),
                "commands": self.commands,
                "environment": self.environment,
            },
            "internalParameters": {"sourceDateEpoch": config.created.as_second()},
            "resolvedDependencies": self.resolved(config, imports),
        });
        statement(package, &definition, builder)
    }

    fn resolved(&self, config: &PackageConfig, imports: &Imports) -> Vec<Value> {
        let (name, digest) = &self.package_file;
        let file = digest.map(|digest| json!({"name": name, "digest": {"sha256": digest.hex()}}));
        let mut all: Vec<Value> = file.into_iter().collect();
        if let Some(revision) = self.revision.as_deref().filter(|it| is_commit(it)) {
            all.push(json!({"name": "source revision", "digest": {"gitCommit": revision}}));
        }
        all.extend(imports.about().map(|(name, about)| imported(name, about)));
        match &self.sources {
            Some(sources) => {
                all.push(json!({"name": "source folder", "digest": {"dirHash": sources.hex()}}));
            }
            // With nothing to run, what is delivered is what was there.
            None => all.extend(config.modules.iter().map(resolved_module)),
        }
        all
    }
}

/// An archive of another format, and what of it was not run.
fn imported(name: &str, about: &About) -> Value {
    let own = about.name_or(name);
    let mut annotations = json!({"import": name, "format": about.format});
    if let Some(version) = &about.version {
        annotations["version"] = version.to_string().into();
    }
    if !about.scripts.is_empty() {
        annotations["scriptsNotRun"] = json!(about.scripts);
    }
    let mut resource = json!({"name": own, "annotations": annotations});
    if let Some(purl) = &about.purl {
        resource["uri"] = purl.as_str().into();
    }
    if let Some(digest) = &about.digest {
        resource["digest"] = json!({"sha256": digest.hex()});
    }
    resource
}

/// The statement that the package with this digest was made from another one, as `derived` says.
pub(crate) fn of_update(
    package: &Digest,
    config: &PackageConfig,
    derived: &Derived,
    builder: &Builder,
) -> Statement {
    let origin = json!({
        "name": format!("{} {}", config.name, derived.version),
        "digest": {"sha256": derived.digest.hex()},
    });
    let is_new = |module: &&Module| derived.replaced.contains(&module.path);
    let new = config.modules.iter().filter(is_new).map(resolved_module);
    let definition = json!({
        "buildType": UPDATE_TYPE,
        "externalParameters": {
            "operation": derived.by,
            "package": config.name,
            "version": config.version.to_string(),
            "shaded": derived.shaded,
            "replaced": derived.replaced,
            "removed": derived.removed,
        },
        "resolvedDependencies": std::iter::once(origin).chain(new).collect::<Vec<_>>(),
    });
    statement(package, &definition, builder)
}

fn statement(package: &Digest, definition: &Value, builder: &Builder) -> Statement {
    let mut metadata = json!({});
    if let Some(invocation) = &builder.invocation {
        metadata["invocationId"] = invocation.as_str().into();
    }
    let predicate = json!({
        "buildDefinition": definition,
        "runDetails": {
            "builder": {
                "id": builder.id.as_deref().unwrap_or(BUILDER),
                "version": {"placet": env!("CARGO_PKG_VERSION")},
            },
            "metadata": metadata,
        },
    });
    Statement::new(package, PROVENANCE_PREDICATE, predicate)
}

fn resolved_module(module: &Module) -> Value {
    json!({"name": module.path, "digest": {"sha256": module.digest.hex()}})
}

/// The variables that the package file sets, and the names of those that it lets pass.
fn environment(file: &PackageFile) -> Value {
    let set = file.build_environment.iter();
    let set: BTreeMap<String, &String> =
        set.map(|(name, value)| (name.to_string(), value)).collect();
    let passed = file.pass_environment.iter();
    let passed: Vec<String> = passed.map(ToString::to_string).collect();
    json!({"set": set, "passed": passed})
}

fn is_commit(revision: &str) -> bool {
    matches!(revision.len(), 40 | 64) && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The digest of a folder's files as Go takes it of modules (`dirhash`, `h1`): that of the sorted lines
/// of digest and name. In a git working tree the files count that git knows; elsewhere all.
fn folder_digest(folder: &Path, layout: &Path) -> io::Result<Digest> {
    let layout = fs::canonicalize(layout).ok();
    let mut names = match known_to_git(folder) {
        Some(names) => names,
        None => all_files(folder, layout.as_deref())?,
    };
    names.sort_unstable();
    names.dedup();
    let mut sums = Hasher::default();
    for name in names {
        let path = folder.join(&name);
        // A file that git knows may be gone, and a link leads to what is listed by itself.
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            continue;
        }
        let digest = file_digest(&path)?;
        sums.update(format!("{}  {}\n", digest.hex(), name.to_string_lossy()).as_bytes());
    }
    Ok(sums.finish())
}

fn known_to_git(folder: &Path) -> Option<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let listed = output.ok().filter(|output| output.status.success())?.stdout;
    let names = listed
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let names: Vec<_> = names.map(|name| PathBuf::from(os(name))).collect();
    (!names.is_empty()).then_some(names)
}

fn os(bytes: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

fn all_files(folder: &Path, layout: Option<&Path>) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inner) = open.pop() {
        for entry in fs::read_dir(folder.join(&inner))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let name = inner.join(entry.file_name());
            let is_source = entry.file_name() != ".git" && Some(entry.path().as_path()) != layout;
            if kind.is_dir() && is_source {
                open.push(name);
            } else if kind.is_file() {
                names.push(name);
            }
            if names.len() + open.len() > FILES_MOST {
                let why =
                    format!("the folder holds more than {FILES_MOST} files; name it with `root`");
                return Err(io::Error::other(why));
            }
        }
    }
    Ok(names)
}

fn file_digest(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
