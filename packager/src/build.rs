//! The build of one package, from its file to the layout.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use placet_model::{Digest, Module, ModulePath, PackageConfig};
use placet_package::trust::Attachment;
use placet_package::{ConfigFault, Layout, check_config};

use crate::assemble::Assembly;
use crate::error::{Error, ModuleFault};
use crate::file::PackageFile;
use crate::gather::{self, Found};
use crate::import::Imports;
use crate::provenance::{Builder, Inputs, PROVENANCE_TYPE};
use crate::sbom::{SBOM_TYPE, sbom};
use crate::taint::{Scanner, Warning};
use crate::watch::{self, Step, Watch};
use crate::{Confine, Confinement, apis, commands, config, opens, vote_logic, yaml};

/// How to build.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// The folder in which commands run and to which sources are relative; the folder of the
    /// package file where `None`.
    pub root: Option<PathBuf>,
    /// The build date in seconds since 1970; the environment's `SOURCE_DATE_EPOCH`, or else
    /// 1980-01-01, where `None`.
    pub source_date_epoch: Option<i64>,
    /// Whether build commands run in a namespace.
    pub confine: Confine,
    /// Who says in the provenance that they have built it.
    pub builder: Builder,
}

/// A package that was built and stored.
#[derive(Debug, Clone)]
pub struct Built {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its metadata.
    pub config: PackageConfig,
    /// The tag that it carries in the layout.
    pub tag: String,
    /// How the build commands were run.
    pub confinement: Confinement,
    /// What the author should know.
    pub warnings: Vec<Warning>,
}

/// 1980-01-01, the earliest date that every archive format can hold.
const DEFAULT_EPOCH: i64 = 315_532_800;

/// Builds the package that `package_yaml` describes and stores it in the layout `layout_dir`, which
/// is made if absent. The tag is the version, `+` written as `_`.
///
/// # Guarantees
///
/// The same package file and the same module bytes give the same digest. Nothing is stored unless
/// the whole package can be.
///
/// # Errors
///
/// File, line, what is wrong and what to do.
pub fn build(
    package_yaml: &Path,
    layout_dir: &Path,
    options: &BuildOptions,
) -> Result<Built, Error> {
    build_watched(package_yaml, layout_dir, options, &watch::unwatched)
}

/// As [`build`], and tells `watch` of each step.
///
/// # Errors
///
/// As [`build`]; and [`Error::Cancelled`] once `watch` says so.
pub fn build_watched(
    package_yaml: &Path,
    layout_dir: &Path,
    options: &BuildOptions,
    watch: Watch<'_>,
) -> Result<Built, Error> {
    let file = yaml::read(package_yaml)?;
    let folder = folder(package_yaml, &file, options)?;
    let imports = Imports::open(package_yaml, &file.imports, &folder, layout_dir, watch)?;
    let job = Job {
        package_yaml,
        file,
        folder,
        imports,
    };
    job.run(layout_dir, options, watch)
}

/// A package to be made.
pub(crate) struct Job<'a> {
    /// The package file, for messages.
    pub(crate) package_yaml: &'a Path,
    pub(crate) file: PackageFile,
    /// Where commands run and what sources are relative to.
    pub(crate) folder: PathBuf,
    pub(crate) imports: Imports,
}

impl Job<'_> {
    /// Runs the build commands, reads the modules and stores the package.
    pub(crate) fn run(
        self,
        layout_dir: &Path,
        options: &BuildOptions,
        watch: Watch<'_>,
    ) -> Result<Built, Error> {
        let Self {
            package_yaml,
            file,
            folder,
            imports,
        } = self;
        let epoch = epoch(options)?;
        let plan = commands::Plan {
            package_yaml,
            file: &file,
            folder: &folder,
            epoch: epoch.as_second(),
            confine: options.confine,
        };
        let inputs = Inputs::read(package_yaml, &file, &folder, layout_dir)?;
        let ran = commands::run(&plan, watch)?;
        let name = package_yaml.file_name().unwrap_or_default();
        let mut assembly = Assembly {
            scanner: Scanner::new(&folder, ran.as_ref(), epoch),
            declared_in: name.to_string_lossy().into_owned(),
            blobs: BTreeMap::new(),
            warnings: Vec::new(),
        };
        let found = gather::gather(package_yaml, &folder, &file, &imports)?;
        let mut modules = modules(package_yaml, &found, &mut assembly, watch)?;
        apis::apply(
            package_yaml,
            &folder,
            &file.apis,
            &found,
            &mut modules,
            &assembly.blobs,
        )?;
        let config = config::config(&file, epoch, modules);
        check_config(&config).map_err(|fault| config_refused(package_yaml, &found, fault))?;
        let tag = config.version.tag();
        let layout = Layout::create(layout_dir)?;
        let digest = layout.write_package(&config, &assembly.blobs, &tag)?;
        let statement = inputs.statement(&digest, &config, &imports, &options.builder);
        for (kind, document) in [
            (SBOM_TYPE, sbom(&digest, &config, &imports)),
            (PROVENANCE_TYPE, statement.write()),
        ] {
            layout.attach(&digest, &Attachment::new(kind, document))?;
        }
        Ok(Built {
            digest,
            config,
            tag,
            confinement: ran.map_or(Confinement::NoCommands, |ran| ran.confinement),
            warnings: assembly.warnings,
        })
    }
}

/// The absolute folder in which to build, free of symbolic links, as compilers see it.
fn folder(
    package_yaml: &Path,
    file: &PackageFile,
    options: &BuildOptions,
) -> Result<PathBuf, Error> {
    let own = package_yaml.parent().unwrap_or(Path::new(""));
    let path = match (&options.root, &file.root) {
        (Some(root), _) => root.clone(),
        (None, Some(root)) => own.join(root),
        (None, None) => own.join("."),
    };
    fs::canonicalize(&path).map_err(|source| Error::Read { path, source })
}

fn epoch(options: &BuildOptions) -> Result<Timestamp, Error> {
    let seconds = match (options.source_date_epoch, env::var("SOURCE_DATE_EPOCH")) {
        (Some(seconds), _) => seconds,
        (None, Ok(text)) => text.parse().map_err(|_| Error::Epoch(text))?,
        (None, Err(env::VarError::NotPresent)) => DEFAULT_EPOCH,
        (None, Err(env::VarError::NotUnicode(text))) => {
            return Err(Error::Epoch(text.to_string_lossy().into_owned()));
        }
    };
    Timestamp::from_second(seconds).map_err(|_| Error::Epoch(seconds.to_string()))
}

/// The modules in the order of the format.
fn modules(
    package_yaml: &Path,
    found: &[Found<'_>],
    assembly: &mut Assembly,
    watch: Watch<'_>,
) -> Result<Vec<Module>, Error> {
    let mut modules = BTreeMap::new();
    let mut lines = BTreeMap::new();
    let count = found.len();
    for (index, found) in found.iter().enumerate() {
        let (number, path) = (index + 1, &found.path);
        let step = Step::Module {
            number,
            count,
            path,
        };
        if watch(step).is_break() {
            return Err(Error::Cancelled);
        }
        let refuse = |fault| found.refused(package_yaml, fault);
        let module = assembly.module(found).map_err(refuse)?;
        let key = (module.path.clone(), module.architecture.clone());
        let line = found.entry.referenced.line();
        if let Some(first) = lines.insert(key.clone(), line) {
            return Err(refuse(ModuleFault::Duplicate(first)));
        }
        modules.insert(key, module);
    }
    let modules: Vec<Module> = modules.into_values().collect();
    check_opens(package_yaml, found, &modules)?;
    match vote_logic::refused(&modules, &assembly.blobs) {
        Some((process, fault)) => Err(of_module(found, process).refused(package_yaml, fault)),
        None => Ok(modules),
    }
}

/// What a module was made from.
fn of_module<'a>(found: &'a [Found<'a>], module: &Module) -> &'a Found<'a> {
    let mut found = found.iter();
    let found = found.find(|it| it.path == module.path);
    found.expect("every module comes from an entry")
}

fn check_opens(package_yaml: &Path, found: &[Found<'_>], modules: &[Module]) -> Result<(), Error> {
    let acknowledged = found.iter().filter(|it| it.entry.value.acknowledge_opens);
    let acknowledged: BTreeSet<ModulePath> = acknowledged.map(|it| it.path.clone()).collect();
    let mut undeclared = opens::undeclared(modules);
    let Some((process, opener)) = undeclared.find(|(it, _)| !acknowledged.contains(&it.path))
    else {
        return Ok(());
    };
    let fault = ModuleFault::Opens(opener.clone());
    Err(of_module(found, process).refused(package_yaml, fault))
}

/// A rule of the format that is broken, at the module that breaks it.
fn config_refused(package_yaml: &Path, found: &[Found<'_>], fault: ConfigFault) -> Error {
    let of_fault = |it: &&Found<'_>| fault.module() == Some(it.path.as_str());
    let location = found.iter().find(of_fault).map(|it| it.entry.referenced);
    Error::Config {
        place: yaml::place(package_yaml, location),
        fault: Box::new(fault),
    }
}
