//! `check`: what a change would do to the fleet, from two git revisions and packages alone.

use std::path::Path;

use anyhow::{Context as _, bail};
use placet_controller::catalog::{MODULES_MOST, Packages, WantedPackage};
use placet_controller::git::{FetchError, LocalRepository, Place};
use placet_controller::secrets::Secrets;
use placet_crds::{Fault, Loaded, SourceFile, load_all, locate, not_carried_out};
use placet_simulator::{Effect, Outcome, Paint, Side};

use crate::arguments::{Check, Common};
use crate::output::{self, Answer, Format};

/// `placet check`.
pub(crate) fn run(arguments: &Check, common: &Common) -> anyhow::Result<Answer> {
    let repository = LocalRepository::containing(&arguments.repo)?;
    let to = match &arguments.to {
        Some(revision) => Place::Revision(revision),
        None => Place::WorkingTree,
    };
    // Packages in registries are asked for all at once.
    let runtime = tokio::runtime::Runtime::new()?;
    let _runtime = runtime.enter();
    let fetched = tempfile::tempdir().context("failed to make a temporary folder")?;
    let nowhere = fetched.path().join("secrets");
    let secrets = Secrets::Folder(arguments.secrets.clone().unwrap_or(nowhere));
    let packages = arguments.packages.as_deref();
    let base = packages.unwrap_or_else(|| repository.folder());
    let base =
        std::path::absolute(base).with_context(|| format!("failed to find {}", base.display()))?;
    let reader = Reader {
        repository: &repository,
        path: &arguments.path,
        packages: Packages::with_registries(fetched.path(), MODULES_MOST, secrets),
        base: &base,
    };
    let before = reader.side(Place::Revision(&arguments.from), true)?;
    let after = reader.side(to, false)?;
    let mut effect = placet_simulator::compare(&before.side, &after.side)
        .map_err(|unknowable| anyhow::anyhow!(list("nothing can be said", &unknowable.reasons)))?;
    effect.notes.extend(after.left_out);
    show(&effect, arguments.report.as_deref(), common.output)?;
    Ok(match effect.outcome {
        Outcome::Clean => Answer::Done,
        Outcome::Objection => Answer::No,
        Outcome::Unknown => Answer::Unknown,
    })
}

/// What both revisions are read with.
struct Reader<'a> {
    repository: &'a LocalRepository,
    path: &'a str,
    packages: Packages,
    base: &'a Path,
}

/// A revision as it was read.
struct Read {
    side: Side,
    /// Fields that no roll-out would carry out.
    left_out: Vec<String>,
}

impl Reader<'_> {
    /// Reads a revision; one that `may_be_empty` is that of a fleet that has not begun.
    fn side(&self, place: Place<'_>, may_be_empty: bool) -> anyhow::Result<Read> {
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
        let revision = output::short(&revision);
        let Loaded { objects, .. } =
            load_all(&files).map_err(|faults| refused(&revision, faults, &files))?;
        let desired = placet_crds::desired(&revision, &objects)
            .map_err(|faults| refused(&revision, faults, &files))?;
        let left_out = locate(not_carried_out(&objects), &files);
        let named = objects.iter();
        let wanted = named.flat_map(|object| WantedPackage::named_by(object, |_| None));
        let catalog = self.packages.resolve_all(wanted, self.base);
        Ok(Read {
            side: Side {
                revision,
                desired,
                catalog,
            },
            left_out: left_out.iter().map(ToString::to_string).collect(),
        })
    }
}

fn refused(revision: &str, faults: Vec<Fault>, files: &[SourceFile]) -> anyhow::Error {
    let faults: Vec<_> = locate(faults, files)
        .iter()
        .map(ToString::to_string)
        .collect();
    anyhow::anyhow!(list(
        &format!("the declarations of {revision} are not valid"),
        &faults
    ))
}

fn list(what: &str, lines: &[String]) -> String {
    let head = std::iter::once(what);
    let all: Vec<_> = head.chain(lines.iter().map(String::as_str)).collect();
    all.join("\n  ")
}

fn show(effect: &Effect, file: Option<&Path>, format: Format) -> anyhow::Result<()> {
    let text = match format {
        Format::Table if file.is_none() => placet_simulator::text(effect, output::PAINT),
        Format::Table => placet_simulator::text(effect, Paint::default()),
        Format::Json => placet_simulator::json(effect),
        Format::Yaml => {
            let value: serde_json::Value = serde_json::from_str(&placet_simulator::json(effect))?;
            serde_yaml::to_string(&value).context("failed to write YAML")?
        }
        Format::Markdown => placet_simulator::markdown(effect),
    };
    if let Some(file) = file {
        return std::fs::write(file, text)
            .with_context(|| format!("failed to write the report to {}", file.display()));
    }
    anstream::print!("{text}");
    Ok(())
}
