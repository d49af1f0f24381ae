//! A fleet, by a script.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use placet_controller::git::{LocalRepository, Place};
use placet_model::{PackageName, PackageReference, Version};
use placet_package::{Reference, Selector};
use placet_simulator::Side;
use placet_simulator::play::{Script, Source, play};
use tokio::runtime::Runtime;

use super::Simulate;
use super::revision::Packed;
use crate::arguments::Common;
use crate::output::{self, Answer, Format};
use crate::resources::read_sources;
use crate::supplied::Shelf;

/// No script is longer, in bytes.
const SCRIPT_MOST: u64 = 1 << 20;

/// Plays the script, and prints what happened.
pub(super) fn run(
    file: &Path,
    arguments: &Simulate,
    common: &Common,
    runtime: &Runtime,
) -> anyhow::Result<Answer> {
    let failed = || format!("failed to read the script {}", file.display());
    let size = file.metadata().with_context(failed)?.len();
    anyhow::ensure!(
        size <= SCRIPT_MOST,
        "{}: a script has at most {SCRIPT_MOST} bytes",
        file.display()
    );
    let text = std::fs::read_to_string(file).with_context(failed)?;
    let script = Script::parse(&text, &file.display().to_string())?;
    let folder = std::path::absolute(file).with_context(failed)?;
    let folder = folder.parent().context("a file is in a folder")?;
    let base = arguments.packages.as_deref().unwrap_or(folder);
    let _runtime = runtime.enter();
    let packed = Packed::new(arguments.secrets.as_deref(), base)?;
    let mut sides = BTreeMap::new();
    for revision in script.revisions() {
        let read = declared(revision, &script, folder, arguments, &packed)
            .with_context(|| format!("revision `{}`", placet_model::visible(revision)))?;
        sides.insert(revision.to_owned(), read);
    }
    let read = packed.modules(runtime);
    let mut shelf = Shelf::new(&read, &arguments.file)?;
    let files = &mut |process: &_, path: &_, module: Option<&_>| shelf.get(process, path, module);
    let transcript = play(&script, &sides, files)?;
    match common.output {
        Format::Table => anstream::print!("{transcript}"),
        Format::Markdown | Format::Junit | Format::Sarif => {
            bail!("a transcript is written as table, json or yaml")
        }
        format => output::print(&serde_json::to_value(&transcript)?, format)?,
    }
    Ok(Answer::Done)
}

/// A revision of the script, with its packages.
fn declared(
    revision: &str,
    script: &Script,
    folder: &Path,
    arguments: &Simulate,
    packed: &Packed,
) -> anyhow::Result<Side> {
    let (source, versions) = script.source(revision);
    let files = match source {
        Source::Folder(name) => read_sources(&[folder.join(name)])?,
        Source::Git(git) => {
            let repository = LocalRepository::containing(folder)?;
            let place = Place::Revision(&git);
            repository.declared(place, &arguments.path)?.files
        }
    };
    let change = |reference: &mut PackageReference| replace(reference, &versions);
    packed.read(revision, files, &change)
}

/// Another version of a package, under the same reference with the tag of that version.
fn replace(
    reference: &mut PackageReference,
    versions: &BTreeMap<PackageName, Version>,
) -> anyhow::Result<()> {
    let Some(version) = versions.get(&reference.name) else {
        return Ok(());
    };
    let place: Reference = (reference.reference.parse())
        .map_err(|error| anyhow!("package {}: {error}", reference.name))?;
    let selector = Selector::Tag(version.tag());
    let place = match place {
        Reference::Layout { dir, .. } => Reference::Layout { dir, selector },
        Reference::Registry(remote) => Reference::Registry(remote.with(selector)),
    };
    reference.reference = place.to_string();
    reference.version = version.clone();
    Ok(())
}
