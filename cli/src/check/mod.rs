//! `check`: what a change would do to the fleet, from two git revisions and packages alone.

mod inputs;
mod live;
mod refused;
mod revision;
pub(crate) mod show;

use std::path::PathBuf;

use clap::Args;
use placet_controller::git::{self, LocalRepository};
use placet_model::{NodeName, ProcessName};
use placet_simulator::{Effect, ExplainError, Explanation, Unknowable};

use crate::arguments::Common;
use crate::output::{Answer, Format};
use crate::supplied::{Shelf, Supplied};
use refused::Refused;

pub(crate) use inputs::Inputs;
pub(crate) use revision::{Reader, Resolver, Revision};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet check                                  What this branch and the working tree would do
  placet check --from HEAD                      What is not committed yet
  placet check --to HEAD                        What the commits of this branch would do
  placet check --from v1 --to v2 -o markdown --report comment.md
  placet check --explain core-1/chatd           Why it is touched, down to the line in git
  placet check --snapshot fleet.json            Against what runs now
  placet check --controller                     Ask the live nodes too
  placet check --path production --packages /srv/packages

Exit code 0: nothing breaks; 1: something would break, or a rule objects; 2: it cannot be told.")]
pub(crate) struct Check {
    /// The revision that is compared with: a branch, a tag, a commit, `HEAD~2` [default: where
    /// the other one left the main branch].
    #[arg(long, value_name = "REVISION")]
    from: Option<String>,
    /// The revision that is looked at [default: the working tree, committed or not].
    #[arg(long, value_name = "REVISION")]
    to: Option<String>,
    #[command(flatten)]
    inputs: Inputs,
    /// Say why the change touches a process on a node: the chain from the process to the line in git.
    #[arg(long, value_name = "NODE/PROCESS", value_parser = explained)]
    explain: Option<(NodeName, ProcessName)>,
    /// Ask the live nodes too, through the controller that the other options name; nothing is changed.
    #[arg(long, conflicts_with = "explain")]
    controller: bool,
    /// With --controller: seconds that nodes may take to answer.
    #[arg(
        long,
        requires = "controller",
        default_value_t = 30,
        value_name = "SECONDS"
    )]
    within: u32,
    /// Give the logic of a process this file for a path that its `voteLogic` lists, rather than what
    /// packages have there; may be given several times.
    #[arg(long, value_name = "PROCESS:PATH=FILE")]
    file: Vec<Supplied>,
    /// Write the report to this file rather than to standard output.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// `placet check`.
pub(crate) fn run(arguments: &Check, common: &Common) -> anyhow::Result<Answer> {
    let answer = judge(arguments, common);
    // Programs that show findings beside lines are told too of what keeps all else from being said.
    if let Err(error) = &answer
        && let Some(refused) = error.downcast_ref::<Refused>()
        && matches!(common.output, Format::Junit | Format::Sarif)
    {
        show::show(
            &refused.effect(),
            arguments.report.as_deref(),
            common.output,
        )?;
    }
    answer
}

fn judge(arguments: &Check, common: &Common) -> anyhow::Result<Answer> {
    let repository = LocalRepository::containing(&arguments.inputs.repo)?;
    let reader = Reader {
        repository: &repository,
        path: &arguments.inputs.path,
    };
    let (from, to) = (arguments.from.as_deref(), arguments.to.as_deref());
    let first = reader.read(
        from.map_or(git::Place::MergeBase(to), git::Place::Revision),
        true,
    )?;
    let second = reader.read(
        to.map_or(git::Place::WorkingTree, git::Place::Revision),
        false,
    )?;
    if let Some((node, process)) = &arguments.explain {
        return explain(
            arguments,
            &repository,
            [&first, &second],
            (node, process),
            common,
        );
    }
    // What really runs may differ from what both declare, and live nodes may have their own view.
    let is_static = arguments.inputs.snapshot.is_none() && !arguments.controller;
    let mut effect = if is_static && second.means_the_same(&first) {
        Effect::none(&first.desired.revision, &second.desired)
    } else {
        let resolver = Resolver::new(&arguments.inputs, repository.folder())?;
        let [before, after] = resolver.sides([&first, &second]);
        let read = |module: &_| resolver.module(module);
        let mut shelf = Shelf::new(&read, &arguments.file)?;
        let files =
            &mut |process: &_, path: &_, module: Option<&_>| shelf.get(process, path, module);
        let mut effect = placet_simulator::compare(&before, &after, files)
            .map_err(|unknowable| missing(unknowable, [&first, &second]))?;
        effect.notes.extend(shelf.unused());
        if arguments.controller {
            let (runtime, within) = (&resolver.runtime, arguments.within);
            effect.hear(live::ask(runtime, &second.files, within, common));
        }
        effect
    };
    second.locate(effect.places_mut());
    effect.notes.extend(second.left_out);
    show::show(&effect, arguments.report.as_deref(), common.output)?;
    Ok(effect.outcome.into())
}

/// A node and a process as they are typed.
fn explained(text: &str) -> Result<(NodeName, ProcessName), String> {
    let (node, process) = text.split_once('/').ok_or("write it as NODE/PROCESS")?;
    let node = node
        .parse::<NodeName>()
        .map_err(|error| error.to_string())?;
    let process = process
        .parse::<ProcessName>()
        .map_err(|error| error.to_string())?;
    Ok((node, process))
}

/// The answer is no if the change does not touch the process.
fn explain(
    arguments: &Check,
    repository: &LocalRepository,
    [first, second]: [&Revision; 2],
    (node, process): (&NodeName, &ProcessName),
    common: &Common,
) -> anyhow::Result<Answer> {
    let mut explanation = if second.means_the_same(first) {
        let (from, to) = (&first.desired.revision, &second.desired.revision);
        Explanation::none(from, to, node.clone(), process.clone())
    } else {
        let resolver = Resolver::new(&arguments.inputs, repository.folder())?;
        let [before, after] = resolver.sides([first, second]);
        placet_simulator::explain(&before, &after, node, process).map_err(|error| match error {
            ExplainError::Packages(unknowable) => missing(unknowable, [first, second]),
            error => error.into(),
        })?
    };
    second.locate(explanation.places_mut());
    let format = common.output;
    show::explanation(&explanation, arguments.report.as_deref(), format)?;
    Ok(match explanation.action {
        Some(_) => Answer::Done,
        None => Answer::No,
    })
}

/// What could not be known, with the lines that name the packages; `revisions` are the older and the
/// newer one.
pub(crate) fn missing(unknowable: Unknowable, revisions: [&Revision; 2]) -> anyhow::Error {
    let mut reasons = unknowable.reasons;
    for reason in &mut reasons {
        revisions[usize::from(reason.is_new)].locate(reason.places.iter_mut());
    }
    Refused::packages(reasons).into()
}
