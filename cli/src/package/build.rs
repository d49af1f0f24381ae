//! `placet package build`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use indicatif::HumanBytes;
use placet_packager::{BuildOptions, Built, Confine, Confinement, Watch};
use serde_json::json;

use super::follow::follow;
use super::voucher::{Voucher, vouch};
use crate::arguments::{Common, Login};
use crate::output::{self, Answer, Format};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package build --to oci-layout:packages              From package.yaml in this folder
  placet package build chat/package.yaml --to oci-layout:packages/chat
  placet package build --confine always --to oci-layout:packages
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) placet package build --to oci-layout:packages")]
pub(crate) struct Arguments {
    /// The package file.
    #[arg(default_value = "package.yaml")]
    file: PathBuf,
    /// The OCI layout to write to; made if absent.
    #[arg(long, value_name = "LAYOUT")]
    to: String,
    /// The folder in which commands run and to which sources are relative [default: what the
    /// package file says, or else its own].
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The build date, in seconds since 1970 [default: the variable `SOURCE_DATE_EPOCH`, or else
    /// 1980-01-01].
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    source_date_epoch: Option<i64>,
    /// Whether build commands run in a namespace, at `/build`, where they can write nowhere else.
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    confine: When,
    #[command(flatten)]
    voucher: Voucher,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum When {
    /// Where the machine allows it.
    #[default]
    Auto,
    /// Never.
    Never,
    /// Always: otherwise nothing is built.
    Always,
}

impl From<When> for Confine {
    fn from(when: When) -> Self {
        match when {
            When::Auto => Self::Auto,
            When::Never => Self::Never,
            When::Always => Self::Always,
        }
    }
}

impl Arguments {
    fn build(self, layout: &Path, watch: Watch<'_>) -> anyhow::Result<Built> {
        let options = BuildOptions {
            root: self.root,
            source_date_epoch: self.source_date_epoch,
            confine: self.confine.into(),
            builder: self.voucher.builder(),
        };
        let built = placet_packager::build_watched(&self.file, layout, &options, watch);
        built.with_context(|| format!("failed to build {}", self.file.display()))
    }
}

pub(crate) async fn run(arguments: Arguments, common: &Common) -> anyhow::Result<Answer> {
    let Some(layout) = arguments.to.strip_prefix("oci-layout:") else {
        bail!(
            "`{}` is not an OCI layout; write --to oci-layout:DIR",
            arguments.to
        );
    };
    let layout = layout.to_owned();
    let key = arguments.voucher.open()?;
    let folder = PathBuf::from(&layout);
    let built = follow(move |watch| arguments.build(&folder, watch)).await??;
    let reference = format!("oci-layout:{layout}:{}", built.tag);
    vouch(&reference, &Login::default(), key.as_ref()).await?;
    if common.output == Format::Table {
        print_table(&built);
        anstream::println!("{reference}  {}", built.digest);
    } else {
        let warnings = built.warnings.iter().map(ToString::to_string);
        let value = json!({
            "reference": reference,
            "digest": built.digest,
            "config": built.config,
            "confined": built.confinement == Confinement::Namespace,
            "warnings": warnings.collect::<Vec<_>>(),
        });
        output::print(&value, common.output)?;
    }
    print_warnings(&built);
    Ok(Answer::Done)
}

fn print_table(built: &Built) {
    let modules = &built.config.modules;
    let rows = modules.iter().map(|module| {
        let signature = module.signature.to_string();
        vec![
            module.path.to_string(),
            module.kind.to_string(),
            module.architecture.to_string(),
            module.size.to_string(),
            signature[..signature.len().min(16)].to_owned(),
        ]
    });
    output::table(
        &["module", "type", "for", "bytes", "signature"],
        rows.collect(),
    );
    let bytes = modules.iter().map(|module| module.size).sum();
    let word = if modules.len() == 1 {
        "module"
    } else {
        "modules"
    };
    anstream::println!("\n{} {word}, {}", modules.len(), HumanBytes(bytes));
}

fn print_warnings(built: &Built) {
    for warning in &built.warnings {
        output::warn(warning);
    }
    if let confinement @ Confinement::None(_) = &built.confinement {
        output::warn(confinement);
    }
}
