//! `placet package composite build`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use placet_model::{Digest, PackageName};
use placet_package::composite::{NewComposite, write_composite};
use placet_package::copy::{Copied, CopyOptions, Name, copy, package_config};
use placet_package::{Reference, Selector};
use placet_packager::{CompositePlan, read_composite_file};

use crate::arguments::{Common, Login};
use crate::output::{self, Answer};
use crate::package::progress::Bar;
use crate::package::storage::{self, FromLogin, Opened};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package composite build composite.yaml --to oci-layout:fleet
  placet package composite build composite.yaml --to oci://registry.example.org/fleets/edge

The same packages and declarations give the same digest. Signatures of the packages come along.")]
pub(crate) struct Build {
    /// The composite file.
    pub(crate) file: PathBuf,
    /// Where to: `oci-layout:DIR` or `oci://HOST/REPOSITORY`; without a tag, the version becomes
    /// one.
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) login: Login,
    #[command(flatten)]
    pub(crate) from_login: FromLogin,
}

/// A package to be carried.
struct Source {
    from: Opened,
    digest: Digest,
}

/// `placet package composite build`.
pub(crate) async fn run(arguments: &Build, common: &Common) -> anyhow::Result<Answer> {
    let file = &arguments.file;
    let failed = || format!("failed to build {}", file.display());
    let plan = read_composite_file(file).with_context(failed)?;
    let sources = find(&plan, arguments).await.with_context(failed)?;
    let (to, tag) = storage::target(&arguments.to, &arguments.login, None).await?;
    let tag = tag.unwrap_or_else(|| plan.version.tag());
    // From the first part on, nothing of it is taken for left over.
    let _transfer = to.place().begin().await?;
    let mut copied = carry(&sources, &to).await?;
    let new = NewComposite {
        name: plan.name,
        version: plan.version.to_string(),
        packages: sources.iter().map(|source| source.digest).collect(),
        declarations: plan.declarations,
    };
    copied.digest = write_composite(to.place(), &new, Some(&tag)).await?;
    storage::show(&to.name(&Selector::Tag(tag)), &copied, common.output)
}

/// Finds the packages, and checks that the declarations name no other ones that only this machine
/// has.
async fn find(plan: &CompositePlan, arguments: &Build) -> anyhow::Result<Vec<Source>> {
    let folder = arguments.file.parent().unwrap_or(Path::new(""));
    let mut sources = Vec::new();
    let mut carried: Vec<(PackageName, String)> = Vec::new();
    for (text, place) in &plan.packages {
        let (from, selector) = open(text, folder, arguments)
            .await
            .with_context(|| place.to_string())?;
        let (digest, config) = package_config(from.place(), &selector)
            .await
            .with_context(|| place.to_string())?;
        carried.push((config.name, config.version.to_string()));
        sources.push(Source { from, digest });
    }
    for named in plan.check(&carried)? {
        anstream::eprintln!(
            "{}note:{} {}",
            output::DIM,
            output::DIM.render_reset(),
            named.fault(format!(
                "{} {} is not carried and stays where it is",
                named.name, named.version
            ))
        );
    }
    Ok(sources)
}

/// Opens a package; a relative folder is relative to that of the composite file.
async fn open(text: &str, folder: &Path, arguments: &Build) -> anyhow::Result<(Opened, Selector)> {
    let reference: Reference = text.parse()?;
    let text = match reference {
        Reference::Layout { dir, selector } => {
            let dir = folder.join(dir);
            Reference::Layout { dir, selector }.to_string()
        }
        Reference::Registry(_) => text.to_owned(),
    };
    let login = &arguments.login;
    let login = arguments.from_login.or(login, &text, &arguments.to);
    storage::source(&text, &login).await
}

async fn carry(sources: &[Source], to: &Opened) -> anyhow::Result<Copied> {
    let bar = Bar::new("copying");
    let mut copies = Vec::new();
    for source in sources {
        let selector = Selector::Digest(source.digest);
        let options = CopyOptions {
            selector: &selector,
            name: Name::Part,
            referrers: true,
        };
        copies.push(copy(source.from.place(), to.place(), options, &bar).await?);
    }
    let total = copies
        .into_iter()
        .reduce(|total, copied| total.with(&copied));
    total.context("a composite carries one package at least")
}
