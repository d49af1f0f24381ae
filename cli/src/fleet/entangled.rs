//! `fleet entangled`: which modules of a fleet can only change together.

use std::path::{Path, PathBuf};

use clap::Args;
use placet_controller::git::{LocalRepository, Place};
use placet_simulator::entangled::{FleetError, of_fleet};

use crate::arguments::Common;
use crate::check::{Inputs, Reader, Resolver, Revision, missing};
use crate::entangled::Shape;
use crate::output::{self, Answer};
use crate::resources::read_sources;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet fleet entangled                          What is declared in the working tree
  placet fleet entangled --revision v2 --class core
  placet fleet entangled -f fleet/ --packages /srv/packages
  placet fleet entangled --dot | dot -Tsvg > fleet.svg

Exit code 0: done; 2: it cannot be told, or not of every node.")]
pub(crate) struct Arguments {
    /// The revision that is looked at: a branch, a tag, a commit, `HEAD~2` [default: the working
    /// tree, committed or not].
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Look at these files or folders with YAML, and at no repository; relative package references
    /// start from the current folder; may be given several times.
    #[arg(short, long, value_name = "PATH", conflicts_with_all = ["revision", "repo", "path"])]
    file: Vec<PathBuf>,
    /// Look at the nodes of this class alone.
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    inputs: Inputs,
}

/// Prints what hangs together.
pub(crate) fn run(arguments: &Arguments, common: &Common) -> anyhow::Result<Answer> {
    let (revision, folder) = arguments.revision()?;
    let [side] = Resolver::new(&arguments.inputs, &folder)?.sides([&revision]);
    let class = arguments.class.as_deref();
    let of = of_fleet(&side, class, arguments.shape.cuts).map_err(|error| match error {
        FleetError::Packages(unknowable) => missing(unknowable, [&revision, &revision]),
        error @ FleetError::Class { .. } => error.into(),
    })?;
    for problem in &of.problems {
        output::warn(problem);
    }
    for unknown in &of.unknown {
        output::warn(&format!("left out: node {}: {}", unknown.node, unknown.why));
    }
    arguments.shape.print(&of, [("", &of.entangled)], common)?;
    Ok(if of.unknown.is_empty() {
        Answer::Done
    } else {
        Answer::Unknown
    })
}

impl Arguments {
    /// The declarations, and where relative package references start from.
    fn revision(&self) -> anyhow::Result<(Revision, PathBuf)> {
        if !self.file.is_empty() {
            let revision = Revision::of_files("the files", read_sources(&self.file)?)?;
            return Ok((revision, Path::new(".").to_owned()));
        }
        let repository = LocalRepository::containing(&self.inputs.repo)?;
        let reader = Reader {
            repository: &repository,
            path: &self.inputs.path,
        };
        let place = self.revision.as_deref();
        let place = place.map_or(Place::WorkingTree, Place::Revision);
        let revision = reader.read(place, false)?;
        Ok((revision, repository.folder().to_owned()))
    }
}
