//! One revision: its declarations, and the packages that they name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use placet_controller::catalog::{Packages, WantedPackage};
use placet_controller::git::{FetchError, LocalRepository, Place};
use placet_controller::secrets::Secrets;
use placet_crds::{Fault, Loaded, SourceFile, load_all, locate, not_carried_out};
use placet_model::{Desired, Module, NodeDeclaration, NodeName};
use placet_simulator::{self as simulator, Side, Snapshot};

use super::Inputs;
use super::refused::Refused;
use crate::output;
use crate::supplied::read_module;

/// What both revisions are read with.
pub(crate) struct Reader<'a> {
    pub(crate) repository: &'a LocalRepository,
    /// The folder of declarations.
    pub(crate) path: &'a str,
}

/// The declarations of a revision.
pub(crate) struct Revision {
    pub(crate) files: Vec<SourceFile>,
    pub(crate) desired: Desired,
    /// Fields that no roll-out would carry out.
    pub(crate) left_out: Vec<String>,
    /// The packages that it names.
    pub(crate) wanted: Vec<WantedPackage>,
}

impl Reader<'_> {
    /// Reads a revision; one that `may_be_empty` is that of a fleet that has not begun.
    pub(crate) fn read(&self, place: Place<'_>, may_be_empty: bool) -> anyhow::Result<Revision> {
        let (revision, files) = match self.repository.declared(place, self.path) {
            Ok(declared) => (declared.revision, declared.files),
            Err(FetchError::NoFiles { revision, .. } | FetchError::NoFolder { revision, .. })
                if may_be_empty =>
            {
                (revision, Vec::new())
            }
            Err(FetchError::NoFiles { revision, path }) => bail!(
                "the folder `{path}` of {revision} holds no `.yaml` or `.yml` file; name the folder of declarations with --path"
            ),
            Err(FetchError::NoFolder { revision, path }) => bail!(
                "{revision} has no folder `{path}`; name the folder of declarations with --path"
            ),
            Err(error) => return Err(error.into()),
        };
        Revision::of_files(&revision, files)
    }
}

impl Revision {
    /// The declarations of some files.
    pub(crate) fn of_files(revision: &str, files: Vec<SourceFile>) -> anyhow::Result<Self> {
        let revision = output::short(revision);
        let refused = |faults| refused(&revision, faults, &files);
        let Loaded { objects, .. } = load_all(&files).map_err(refused)?;
        let desired = placet_crds::desired(&revision, &objects).map_err(refused)?;
        let left_out = locate(not_carried_out(&objects), &files);
        let named = objects.iter();
        let mut wanted: Vec<_> = named
            .flat_map(|object| WantedPackage::named_by(object, |_| None))
            .collect();
        wanted.sort_by(|one, other| one.reference.reference.cmp(&other.reference.reference));
        Ok(Self {
            desired,
            left_out: left_out.iter().map(ToString::to_string).collect(),
            wanted,
            files,
        })
    }

    /// Looks places up in the files of this revision.
    pub(crate) fn locate<'p>(&self, places: impl Iterator<Item = &'p mut simulator::Place>) {
        let places: Vec<_> = places.collect();
        let faults = places.iter().map(|place| Fault {
            file: place.resource.clone(),
            line: None,
            column: None,
            field: place.field.clone(),
            message: String::new(),
        });
        let found = locate(faults.collect(), &self.files);
        for (place, found) in places.into_iter().zip(found) {
            if found.line.is_some() {
                place.file = Some(found.file);
                (place.line, place.column) = (found.line, found.column);
            }
        }
    }

    /// True if `other` declares the same in other words: in other files, in another order, with
    /// other comments.
    pub(crate) fn means_the_same(&self, other: &Self) -> bool {
        let Desired {
            revision: _,
            classes,
            package_sets,
            nodes,
        } = &self.desired;
        (classes, package_sets, nodes)
            == (
                &other.desired.classes,
                &other.desired.package_sets,
                &other.desired.nodes,
            )
            && self.wanted == other.wanted
    }
}

/// Finds packages.
pub(crate) struct Resolver {
    packages: Packages,
    /// Where relative references start from.
    base: PathBuf,
    snapshot: Snapshot,
    pub(crate) runtime: tokio::runtime::Runtime,
}

/// Metadata of packages that are kept from run to run, in bytes.
const CACHE_MOST: u64 = 1 << 30;

impl Resolver {
    /// Relative references start from `folder` unless the inputs say otherwise.
    pub(crate) fn new(inputs: &Inputs, folder: &Path) -> anyhow::Result<Self> {
        let cache = inputs.cache.clone().map_or_else(default_cache, Ok)?;
        let secrets = inputs.secrets.clone();
        let secrets = Secrets::Folder(secrets.unwrap_or_else(|| cache.join("no-secrets")));
        let base = inputs.packages.as_deref().unwrap_or(folder);
        Ok(Self {
            packages: Packages::of_metadata(&cache, CACHE_MOST, secrets),
            base: std::path::absolute(base)
                .with_context(|| format!("failed to find {}", base.display()))?,
            snapshot: inputs
                .snapshot
                .as_deref()
                .map_or_else(|| Ok(Snapshot::default()), snapshot)?,
            runtime: tokio::runtime::Runtime::new()?,
        })
    }

    /// The bytes of a module of the packages that were resolved.
    pub(super) fn module(&self, module: &Module) -> Result<Vec<u8>, String> {
        read_module(&self.packages, &self.runtime, module)
    }

    /// The revisions with their packages, or why they could not be had. Nodes of the snapshot that
    /// none of them declares are in all of them: the fleet has them, whatever the commit.
    pub(crate) fn sides<const COUNT: usize>(&self, revisions: [&Revision; COUNT]) -> [Side; COUNT] {
        let declared = revisions.map(|revision| &revision.desired.nodes);
        let is_declared = |name: &_| declared.iter().any(|nodes| nodes.contains_key(name));
        let elsewhere = self.snapshot.elsewhere(is_declared);
        revisions.map(|revision| self.side(revision, &elsewhere))
    }

    fn side(&self, revision: &Revision, elsewhere: &BTreeMap<NodeName, NodeDeclaration>) -> Side {
        let mut desired = revision.desired.clone();
        desired.nodes.extend(elsewhere.clone());
        // Packages in registries are asked for all at once.
        let _runtime = self.runtime.enter();
        Side {
            revision: revision.desired.revision.clone(),
            desired,
            strangers: elsewhere.keys().cloned().collect(),
            catalog: self.packages.resolve_all(&revision.wanted, &self.base),
            announced: self.snapshot.announced(),
            running: self.snapshot.running(),
        }
    }
}

fn snapshot(file: &Path) -> anyhow::Result<Snapshot> {
    let shown = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("failed to read {shown}"))?;
    Snapshot::parse(&text).with_context(|| format!("{shown} is refused"))
}

/// Where metadata of packages are kept where nobody says where.
fn default_cache() -> anyhow::Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = named.filter(|path| path.is_absolute()).or_else(home);
    let base = base.context(
        "there is no folder for what is kept of packages: name one with --cache, or set HOME",
    )?;
    Ok(base.join("placet/packages"))
}

fn refused(revision: &str, faults: Vec<Fault>, files: &[SourceFile]) -> anyhow::Error {
    Refused::declarations(revision, locate(faults, files)).into()
}
