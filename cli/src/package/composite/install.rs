//! `placet package composite install`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use placet_crds::{Fault, SourceFile, with_references};
use placet_package::composite::{Composite, read_composite};
use placet_package::copy::Copied;
use placet_packager::source_files;
use serde_json::{Value, json};

use super::fill::{Placed, Store};
use super::tree::{Change, Tree};
use crate::arguments::{Common, Login};
use crate::output::{self, Answer, Format};
use crate::package::progress::{self, Bar};
use crate::package::storage::{self, FromLogin, Opened};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package composite install oci-layout:/media/usb/fleet:1.2.0 \\
      --registry oci://registry.example.org/fleet --git fleet --commit
  placet package composite install oci://vendor.example.org/fleets/edge:1.2.0 \\
      --registry oci-layout:/srv/packages --git fleet --path edge --dry-run

Each package comes to a repository of its own below the registry's place, under its version; in a
layout, under name and version. The declarations name the packages by digest where they are now.
Nothing is pushed; what differs from what is there is not overwritten without --force.")]
pub(crate) struct Install {
    /// The composite: `oci-layout:DIR:TAG`, `oci://HOST/REPOSITORY:TAG`, or `@sha256:…` in the place
    /// of `:TAG`.
    pub(crate) from: String,
    /// Where packages go: `oci://HOST/PREFIX` or `oci-layout:DIR`.
    #[arg(long, value_name = "PLACE")]
    pub(crate) registry: String,
    /// How the declarations name that place, if the fleet sees it by another name.
    #[arg(long = "as", value_name = "PLACE")]
    pub(crate) seen_as: Option<String>,
    /// The git working tree that gets the declarations [default: none; packages alone].
    #[arg(long, value_name = "DIR")]
    pub(crate) git: Option<PathBuf>,
    /// Folder of the declarations in the working tree.
    #[arg(long, default_value = ".", value_name = "DIR", requires = "git")]
    pub(crate) path: PathBuf,
    /// Commit the declarations.
    #[arg(long, requires = "git")]
    pub(crate) commit: bool,
    /// The message of the commit [default: name and version of the composite].
    #[arg(short, long, value_name = "TEXT", requires = "commit")]
    pub(crate) message: Option<String>,
    /// Overwrite files that differ, and move tags that name other packages.
    #[arg(long)]
    pub(crate) force: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) login: Login,
    #[command(flatten)]
    pub(crate) from_login: FromLogin,
}

/// Files, and what becomes of each.
type Files = Vec<(SourceFile, Change)>;

/// `placet package composite install`.
pub(crate) async fn run(arguments: &Install, common: &Common) -> anyhow::Result<Answer> {
    let (from, to) = (&arguments.from, &arguments.registry);
    let login = arguments.from_login.or(&arguments.login, from, to);
    let (from, selector) = storage::source(from, &login).await?;
    let composite = read_composite(from.place(), &selector).await?;
    let store = Store::find(to, &arguments.login, Some(&from)).await?;
    let placed = store.place(&composite, arguments.seen_as.as_deref())?;
    let tree = match &arguments.git {
        Some(dir) => Some(Tree::open(dir, &arguments.path)?),
        None => None,
    };
    let files = match &tree {
        Some(tree) => compare(tree, rewritten(&composite, &placed)?)?,
        None => Files::new(),
    };
    let is_clear = look(&placed, tree.as_ref(), &files).await?;
    if !is_clear && !arguments.force && !arguments.dry_run {
        bail!("nothing was changed; --force overwrites what differs");
    }
    let mut done = Done {
        composite: &composite,
        placed: &placed,
        files: &files,
        copied: None,
        commit: None,
    };
    if !arguments.dry_run {
        done.copied = Some(bring(&placed, &from).await?);
        if let Some(tree) = &tree {
            done.commit = write(tree, &files, &composite, arguments)?;
        }
    }
    done.show(common.output)?;
    let may_not = arguments.dry_run && !is_clear && !arguments.force;
    Ok(if may_not { Answer::No } else { Answer::Done })
}

/// The declarations, naming the packages where they will be.
fn rewritten(composite: &Composite, placed: &[Placed<'_>]) -> anyhow::Result<Vec<SourceFile>> {
    let files = source_files(&composite.declarations);
    let replaced = with_references(&files, |named| {
        let found = placed.iter().find(|it| {
            let config = &it.part.config;
            (config.name.as_str(), config.version.to_string())
                == (&named.name, named.version.clone())
        });
        found.map(|found| found.reference.clone())
    });
    let list = |faults: Vec<Fault>| {
        let lines: Vec<_> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        let lines = lines.concat();
        anyhow::anyhow!("the declarations of the composite are not valid{lines}")
    };
    replaced.map_err(list)
}

fn compare(tree: &Tree, files: Vec<SourceFile>) -> anyhow::Result<Files> {
    let files = files.into_iter().map(|file| {
        let change = tree.compare(&file)?;
        anyhow::Ok((file, change))
    });
    files.collect()
}

/// Shows what is in the way; true if nothing is.
async fn look(placed: &[Placed<'_>], tree: Option<&Tree>, files: &Files) -> anyhow::Result<bool> {
    let mut is_clear = true;
    for placed in placed {
        if let Some(told) = placed.in_the_way().await? {
            is_clear = false;
            anstream::eprintln!("{told}");
        }
    }
    for (file, _) in files.iter().filter(|(_, it)| *it == Change::Differs) {
        is_clear = false;
        if let Some(tree) = tree {
            anstream::eprintln!("{}", tree.difference(file)?);
        }
    }
    Ok(is_clear)
}

async fn bring(placed: &[Placed<'_>], from: &Opened) -> anyhow::Result<Copied> {
    let bar = Bar::new("copying");
    let mut copies = Vec::new();
    for placed in placed {
        copies.push(placed.bring(from, &bar).await?);
    }
    let total = copies
        .into_iter()
        .reduce(|total, copied| total.with(&copied));
    total.context("the composite carries no package")
}

/// Writes what changed; the commit, if one was made.
fn write(
    tree: &Tree,
    files: &Files,
    composite: &Composite,
    arguments: &Install,
) -> anyhow::Result<Option<String>> {
    for (file, change) in files {
        if *change != Change::Same {
            tree.write(file)?;
        }
    }
    if !arguments.commit {
        return Ok(None);
    }
    let usual = format!("{} {}", composite.name, composite.version);
    let message = arguments.message.clone().unwrap_or(usual);
    let files: Vec<_> = files.iter().map(|(file, _)| file.clone()).collect();
    tree.commit(&files, &message)
}

/// What was done, or would be.
struct Done<'a> {
    composite: &'a Composite,
    placed: &'a [Placed<'a>],
    files: &'a Files,
    copied: Option<Copied>,
    commit: Option<String>,
}

impl Done<'_> {
    fn show(&self, format: Format) -> anyhow::Result<()> {
        if format != Format::Table {
            return output::print(&self.value(), format);
        }
        for placed in self.placed {
            anstream::println!("{}", placed.reference);
        }
        for (file, change) in self.files {
            anstream::println!("{}  {}", file.name, change.word());
        }
        if let Some(copied) = &self.copied {
            progress::say(copied);
        }
        if let Some(commit) = &self.commit {
            anstream::eprintln!("committed {}; `git push` when you want it", &commit[..10]);
        }
        Ok(())
    }

    fn value(&self) -> Value {
        let packages = self.placed.iter().map(|placed| {
            json!({
                "name": placed.part.config.name,
                "version": placed.part.config.version,
                "digest": placed.part.digest,
                "reference": placed.reference,
            })
        });
        let files = self.files.iter();
        let files = files.map(|(file, change)| json!({"path": file.name, "change": change.word()}));
        let count = |of: fn(&Copied) -> u64| self.copied.as_ref().map(of);
        json!({
            "digest": self.composite.digest,
            "packages": packages.collect::<Vec<_>>(),
            "files": files.collect::<Vec<_>>(),
            "blobs": count(|it| it.blobs as u64),
            "bytes": count(|it| it.bytes),
            "present": count(|it| it.present as u64),
            "commit": self.commit,
        })
    }
}
