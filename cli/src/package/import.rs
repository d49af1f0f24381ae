//! `placet package import`: a package made of a `.deb`, an `.rpm` or an OCI image.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::HumanBytes;
use placet_model::{Digest, PackageName, Version, visible};
use placet_package::registry::Access;
use placet_packager::import::{
    ImportChoice, ImportLimits, ImportOptions, ImportTolerance, ImportedPackage, import,
};
use serde_json::json;

use super::follow::follow;
use super::storage::{access, is_registry, remote};
use crate::arguments::{Common, Login};
use crate::output::{self, Answer, Format};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package import nginx_1.22.1-9_amd64.deb --to oci-layout:packages/nginx
  placet package import frr.rpm --to oci-layout:packages/frr --process usr/lib/frr/bgpd
  placet package import oci-layout:image:1.4 --to oci-layout:packages/app --name app --only 'app/**'
  placet package import oci://registry.example.org/base/app:1.4 --to oci-layout:packages/app \\
    --ca-file ca.crt                             Straight from a registry
  placet package import haproxy.deb --to oci-layout:packages/haproxy --exclude 'usr/share/**' \\
    --package-file haproxy.yaml                  Begin a package file with it

Scripts of the archive are never run; they are listed. docs/importing.md says what becomes of
dependencies, configuration files, owners and links.")]
pub(crate) struct Import {
    /// The file, or `oci-layout:DIR:TAG` or `oci://HOST/REPOSITORY:TAG` for an OCI image.
    archive: String,
    /// The layout that gets the package: `oci-layout:DIR`.
    #[arg(long, value_name = "LAYOUT")]
    to: String,
    /// Name of the package [default: the archive's].
    #[arg(long)]
    name: Option<PackageName>,
    /// Version of the package [default: the archive's, as `deb:1:2.3-4` or `rpm:2.3-4.el9`].
    #[arg(long)]
    version: Option<Version>,
    /// A program that nodes run, as a simple process; repeatable.
    #[arg(long = "process", value_name = "PATH")]
    processes: Vec<String>,
    /// The processes open no libraries at run time that matter.
    #[arg(long, requires = "processes")]
    acknowledge_opens: bool,
    /// Take only files that match; repeatable.
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Leave out files that match; without `/`, in any folder; repeatable.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    #[command(flatten)]
    tolerance: Tolerance,
    /// Do not require what the archive depends on.
    #[arg(long)]
    no_requirements: bool,
    /// Which image of an index [default: that of this machine].
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    platform: Option<String>,
    /// Write a package file that gives the same package, to go on from.
    #[arg(long, value_name = "FILE")]
    package_file: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    login: Login,
}

/// What is delivered in another form rather than refused.
#[derive(Debug, Args)]
struct Tolerance {
    /// Take files with set-user-id, set-group-id and sticky bits, without those bits.
    #[arg(long)]
    drop_set_id: bool,
    /// Have absolute links to what the archive does not hold lead to that path of the node's
    /// software.
    #[arg(long)]
    absolute_links: bool,
}

/// What an archive may come to.
#[derive(Debug, Args)]
struct Limits {
    /// Bytes of all files together.
    #[arg(long = "limit-bytes", value_name = "BYTES", default_value_t = ImportLimits::default().bytes)]
    bytes: u64,
    /// Number of entries.
    #[arg(long = "limit-entries", value_name = "COUNT", default_value_t = ImportLimits::default().entries)]
    entries: usize,
    /// Times its size that a part may unpack to, beyond 64 MiB.
    #[arg(long = "limit-ratio", value_name = "TIMES", default_value_t = ImportLimits::default().ratio)]
    ratio: u64,
}

/// `placet package import`.
pub(crate) async fn run(arguments: Import, common: &Common) -> anyhow::Result<Answer> {
    let Some(layout) = arguments.to.strip_prefix("oci-layout:") else {
        bail!(
            "`{}` is not an OCI layout; write --to oci-layout:DIR",
            arguments.to
        );
    };
    let choice = arguments.choice().await?;
    let (archive, folder) = (arguments.archive.clone(), PathBuf::from(layout));
    let imported = follow(move |watch| import(&archive, &folder, &choice, watch)).await??;
    if let Some(path) = &arguments.package_file {
        let written = fs::write(path, &imported.package_file);
        written.with_context(|| format!("failed to write {}", path.display()))?;
    }
    let reference = format!("oci-layout:{layout}:{}", imported.built.tag);
    if common.output == Format::Table {
        show(&reference, &imported);
    } else {
        output::print(&value(&reference, &imported), common.output)?;
    }
    Ok(Answer::Done)
}

impl Import {
    async fn choice(&self) -> anyhow::Result<ImportChoice> {
        Ok(ImportChoice {
            options: ImportOptions {
                limits: ImportLimits {
                    bytes: self.limits.bytes,
                    entries: self.limits.entries,
                    ratio: self.limits.ratio,
                },
                workspace: None,
                platform: self.platform.clone(),
                access: self.access().await?,
            },
            name: self.name.clone(),
            version: self.version.clone(),
            only: self.only.clone(),
            exclude: self.exclude.clone(),
            processes: self.processes.clone(),
            acknowledge_opens: self.acknowledge_opens,
            tolerance: ImportTolerance {
                drop_set_id: self.tolerance.drop_set_id,
                absolute_links: self.tolerance.absolute_links,
            },
            no_requirements: self.no_requirements,
        })
    }

    /// What the registry of the image wants to see, if it is in one.
    async fn access(&self) -> anyhow::Result<Option<Access>> {
        if !is_registry(&self.archive) {
            return Ok(None);
        }
        Ok(Some(access(&remote(&self.archive)?, &self.login).await?))
    }
}

/// Names of many things are cut short in tables; JSON has them all.
const SHOWN: usize = 5;

fn show(reference: &str, imported: &ImportedPackage) {
    let (about, config) = (&imported.about, &imported.built.config);
    let line = |label: &str, text: String| anstream::println!("{label:<14}{text}");
    line("Package:", format!("{} {}", config.name, config.version));
    if let Some(summary) = &about.summary {
        line("Summary:", visible(summary).to_string());
    }
    if let Some(license) = &about.license {
        line("License:", visible(license).to_string());
    }
    let architecture = about.architecture.as_deref().unwrap_or("any");
    line(
        "From:",
        format!("{} for {}", about.format, visible(architecture)),
    );
    line(
        "Modules:",
        format!("{}, {}", config.modules.len(), HumanBytes(bytes(imported))),
    );
    list("Not run:", about.scripts.iter());
    let configuration = config.modules.iter();
    let configuration = configuration.filter(|it| it.function.as_deref() == Some("configuration"));
    list("Configuration:", configuration.map(|it| it.path.as_str()));
    list("Relative now:", about.relative_links.iter());
    list("Left out:", imported.left_out.iter());
    let requires = config.requires.iter();
    list(
        "Requires:",
        requires.map(|it| format!("{} {}", it.package, it.version)),
    );
    list("Not required:", about.not_carried.iter());
    line("Digest:", imported.built.digest.to_string());
    anstream::println!("{reference}");
    for warning in &imported.built.warnings {
        anstream::eprintln!(
            "{}warning:{} {warning}",
            output::WAIT,
            output::WAIT.render_reset()
        );
    }
}

/// A list, one a line, cut short.
fn list<T: AsRef<str>>(label: &str, all: impl Iterator<Item = T>) {
    let all: Vec<_> = all.collect();
    for (index, text) in all.iter().take(SHOWN).enumerate() {
        let label = if index == 0 { label } else { "" };
        anstream::println!("{label:<14}{}", visible(text.as_ref()));
    }
    if all.len() > SHOWN {
        anstream::println!("{:<14}and {} more (-o json has all)", "", all.len() - SHOWN);
    }
}

/// Bytes of modules, each of several with the same ones counted once.
fn bytes(imported: &ImportedPackage) -> u64 {
    let modules = imported.built.config.modules.iter();
    let sizes = modules.map(|module| (module.digest, module.size));
    let sizes: std::collections::BTreeMap<Digest, u64> = sizes.collect();
    sizes.values().sum()
}

fn value(reference: &str, imported: &ImportedPackage) -> serde_json::Value {
    let about = &imported.about;
    json!({
        "reference": reference,
        "digest": imported.built.digest,
        "config": imported.built.config,
        "bytes": bytes(imported),
        "archive": {
            "format": about.format,
            "digest": about.digest,
            "architecture": about.architecture,
            "summary": about.summary,
            "license": about.license,
            "scripts": about.scripts,
            "libraries": about.libraries,
            "notRequired": about.not_carried,
            "relativeLinks": about.relative_links,
            "folders": about.folders,
        },
        "leftOut": imported.left_out,
    })
}
