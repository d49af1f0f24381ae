//! What runs now, told with what would be missing.

use std::collections::BTreeSet;

use placet_model::{Digest, ManifestEntry, NodeManifest, NodeName};

use crate::libraries::Libraries;
use crate::{MissingSymbols, Observed, Problem, RunningLibrary, RunsWith, Target};

/// The problems of a target. Of a library that is to lose symbols it is told which one runs now.
pub(super) fn problems(target: &Target, observed: &Observed) -> Vec<Problem> {
    let problems = target.problems.iter().cloned();
    let problems = problems.map(|mut problem| {
        if let Problem::Symbols(missing) = &mut problem {
            missing.now = runs_with(missing, target, observed);
        }
        problem
    });
    problems.collect()
}

/// Found on the first of the nodes that runs the module. Nodes that run the same are looked at once.
fn runs_with(missing: &MissingSymbols, target: &Target, observed: &Observed) -> Option<RunsWith> {
    let mut seen = BTreeSet::new();
    missing.nodes.iter().find_map(|node| {
        let running = observed.nodes.get(node)?.running.as_ref()?;
        if !seen.insert(running.digest()) {
            return None;
        }
        let wanted = &target.nodes.get(node)?.manifest;
        on_node(node, missing, (running.manifest(), wanted))
    })
}

/// The libraries whose symbols differ from those that they are to have. Of what runs no symbols are
/// kept, but their digests tell whether they are the same; that none was missing was seen before it was
/// rolled out. Of a module that would import something else now, nothing can be said.
fn on_node(
    node: &NodeName,
    missing: &MissingSymbols,
    (running, wanted): (&NodeManifest, &NodeManifest),
) -> Option<RunsWith> {
    let user = running.get(&missing.module)?;
    let elf = user.module.elf.as_ref()?;
    if symbols(user) != symbols(wanted.get(&missing.module)?) {
        return None;
    }
    let (now, then) = (Libraries::new(running), Libraries::new(wanted));
    let is_meant = |name: &&String| missing.library.as_ref().is_none_or(|it| it == *name);
    let differing = elf.needed.iter().filter(is_meant).filter_map(|name| {
        let library = now.loaded(name)?;
        let is_same = then.loaded(name).map(symbols) == Some(symbols(library));
        (!is_same).then_some(library)
    });
    let libraries: BTreeSet<_> = differing.filter_map(|it| library(running, it)).collect();
    let node = node.clone();
    (!libraries.is_empty()).then_some(RunsWith { node, libraries })
}

/// The digest of its list of symbols.
fn symbols(entry: &ManifestEntry) -> Option<Digest> {
    entry.module.elf.as_ref()?.symbols
}

fn library(manifest: &NodeManifest, entry: &ManifestEntry) -> Option<RunningLibrary> {
    let mut packages = manifest.packages.iter();
    let package = packages.find(|it| it.name == entry.package)?;
    Some(RunningLibrary {
        path: entry.module.path.clone(),
        package: package.name.clone(),
        version: package.version.clone(),
    })
}
