//! `placet package deps`: which libraries files use, who uses them, and what the loader would miss.

mod dot;
mod report;
mod text;

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use placet_packager::deps::{Collection, Unresolved};
use serde::Serialize;

use crate::arguments::Common;
use crate::output::{self, Answer, BAD, Format};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package deps build/bgpd                        What one program needs
  placet package deps oci-layout:packages/frr:1.0.0     The same for every module of a package
  placet package deps --root / /usr/sbin/nginx --unresolved
                                                        What this machine's loader would miss
  placet package deps unpacked --users libfrr.so.0      Whom a change of this library touches
  placet package deps unpacked --symbols -o json
  placet package deps unpacked --dot | dot -Tsvg > uses.svg

Libraries are looked for among what is named, and below --root. Exits with 1 if --unresolved finds
something.")]
pub(crate) struct Deps {
    /// Programs and libraries; folders, whose content is installed below `/`; packages
    /// (`oci-layout:DIR:TAG`).
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Folder with the rest of a node's software, in which libraries are found too; `/` is this
    /// machine.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// List dynamic symbols too.
    #[arg(long, conflicts_with_all = ["unresolved", "users", "dot"])]
    symbols: bool,
    /// List only what the loader would not find: libraries, versions, symbols.
    #[arg(long, conflicts_with_all = ["users", "dot"])]
    unresolved: bool,
    /// List only who uses this library, directly or through others.
    #[arg(long, value_name = "SONAME|PATH", conflicts_with = "dot")]
    users: Option<String>,
    /// Print who uses whom as a graph for graphviz.
    #[arg(long)]
    dot: bool,
}

/// `placet package deps`.
pub(crate) fn run(arguments: &Deps, common: &Common) -> anyhow::Result<Answer> {
    let collection = Collection::read(&arguments.paths, arguments.root.as_deref())?;
    let answer = if arguments.dot {
        output::write(dot::graph(&collection).as_bytes())?;
        Answer::Done
    } else if let Some(name) = &arguments.users {
        users(&collection, name, common)?
    } else if arguments.unresolved {
        unresolved(&collection, arguments.root.is_some(), common)?
    } else {
        let report = report::files(&collection, arguments.symbols);
        print(&report, common, || text::files(&report))?;
        Answer::Done
    };
    // What could not be read may have held the answer.
    let answer = if collection.damaged.is_empty() {
        answer
    } else {
        Answer::Unknown
    };
    for error in collection.damaged {
        let error = anyhow::Error::from(error);
        anstream::eprintln!("{BAD}error:{BAD:#} {error:#}");
    }
    Ok(answer)
}

fn users(collection: &Collection, name: &str, common: &Common) -> anyhow::Result<Answer> {
    let named = collection.named(name);
    if named.is_empty() {
        bail!("no file that was named is or uses `{name}`; write its soname or its path");
    }
    let graph = collection.graph();
    let users: Vec<_> = named
        .iter()
        .map(|path| report::users(&graph, path))
        .collect();
    print(&users, common, || text::users(&users))?;
    Ok(Answer::Done)
}

fn unresolved(collection: &Collection, has_root: bool, common: &Common) -> anyhow::Result<Answer> {
    let unresolved = collection.unresolved();
    print(&unresolved, common, || text::unresolved(&unresolved))?;
    if unresolved.is_empty() {
        return Ok(Answer::Done);
    }
    if common.output == Format::Table {
        anstream::eprintln!("{}", summary(&unresolved, has_root));
    }
    Ok(Answer::No)
}

fn summary(unresolved: &[Unresolved], has_root: bool) -> String {
    let files: BTreeSet<_> = unresolved.iter().map(|it| &it.path).collect();
    let count = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    };
    let hint = if has_root {
        ""
    } else {
        "; only what was named was looked at, and --root adds a machine"
    };
    let (files, things) = (count(files.len(), "file"), count(unresolved.len(), "thing"));
    format!("{files} would miss {things}{hint}")
}

/// Prints `value` as it was asked for; `text` makes what people read.
fn print<T: Serialize>(
    value: &T,
    common: &Common,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    match common.output {
        Format::Json => {
            let mut to = BufWriter::with_capacity(64 << 10, io::stdout().lock());
            let written = serde_json::to_writer_pretty(&mut to, value).map_err(Into::into);
            output::written(
                written
                    .and_then(|()| to.write_all(b"\n"))
                    .and_then(|()| to.flush()),
            )
        }
        Format::Yaml => {
            let yaml = serde_yaml::to_string(value).context("failed to write YAML")?;
            output::write(yaml.as_bytes())
        }
        Format::Table | Format::Markdown | Format::Junit | Format::Sarif => {
            output::written(anstream::stdout().write_all(text().as_bytes()))
        }
    }
}
