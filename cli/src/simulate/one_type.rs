//! One node of a type: from some packages to others.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Read as _;
use std::sync::Arc;

use anyhow::anyhow;
use placet_model::{Digest, Module, PackageConfig, Symbols};
use placet_package::{Layout, Reference};
use placet_simulator::{CatalogEntry, NamedPackage, Trial, TrialError, Unknowable, one_type};
use tokio::runtime::Runtime;

use super::Simulate;
use crate::arguments::Common;
use crate::check::show::show;
use crate::output::Answer;
use crate::package::place::{self, Opened};
use crate::supplied::Shelf;

/// Compares what the node runs with what it is to run.
pub(super) fn run(
    node_type: &str,
    arguments: &Simulate,
    common: &Common,
    runtime: &Runtime,
) -> anyhow::Result<Answer> {
    let opened = runtime.block_on(open(arguments))?;
    let trial = Trial {
        node_type: node_type.to_owned(),
        architecture: arguments.architecture.clone(),
        from: named(&arguments.from, &opened, runtime)?,
        to: named(&arguments.to, &opened, runtime)?,
        without: arguments.without.clone(),
    };
    let (from, to) = one_type(&trial).map_err(|error| match error {
        TrialError::Module(path) => {
            anyhow!("--without {path}: no package of --to has such a module")
        }
        error @ TrialError::Architecture(_) => anyhow!("{error}: name it with --architecture"),
    })?;
    let blobs = modules(&opened);
    let read = |module: &Module| {
        let layout = blobs.get(&module.digest).ok_or("it is in no package")?;
        read(layout, module)
    };
    let mut shelf = Shelf::new(&read, &arguments.file)?;
    let files = &mut |process: &_, path: &_, module: Option<&_>| shelf.get(process, path, module);
    let mut effect = placet_simulator::compare(&from, &to, files)
        .map_err(|unknowable| anyhow!(reasons(&unknowable)))?;
    effect.notes.extend(shelf.unused());
    show(&effect, None, common.output)?;
    Ok(effect.outcome.into())
}

fn reasons(unknowable: &Unknowable) -> String {
    let reasons = unknowable.reasons.iter();
    let reasons: Vec<_> = reasons.map(|reason| reason.message.as_str()).collect();
    reasons.join("; ")
}

/// Every package that is named, by its reference, with the modules at hand that logic may need.
async fn open(arguments: &Simulate) -> anyhow::Result<BTreeMap<String, Opened>> {
    let mut opened = BTreeMap::new();
    for reference in arguments.from.iter().chain(&arguments.to) {
        if let Entry::Vacant(entry) = opened.entry(reference.to_string()) {
            entry.insert(place::open(reference, &arguments.login).await?);
        }
    }
    if opened.values().any(|it| votes_by_logic(&it.package.config)) {
        for package in opened.values() {
            package.fetch_modules().await?;
        }
    }
    Ok(opened)
}

fn votes_by_logic(config: &PackageConfig) -> bool {
    let mut processes = config.modules.iter().filter_map(|it| it.process.as_ref());
    processes.any(|process| process.vote_logic.is_some())
}

/// What is known of a package, with the dynamic symbols of its modules.
async fn known(opened: &Opened) -> anyhow::Result<CatalogEntry> {
    let package = &opened.package;
    let modules = &package.config.modules;
    let list = |module: &Module| module.elf.as_ref()?.symbols;
    opened
        .fetch_symbols(&modules.iter().filter_map(list).collect())
        .await?;
    let mut symbols = BTreeMap::new();
    for module in modules {
        if let (Some(digest), Some(lists)) = (list(module), package.symbols(module)?) {
            symbols.insert(digest, Arc::new(Symbols::of_lists(&lists)));
        }
    }
    Ok(CatalogEntry {
        digest: package.digest,
        config: package.config.clone(),
        symbols,
    })
}

/// The packages of one side, in order.
fn named(
    references: &[Reference],
    opened: &BTreeMap<String, Opened>,
    runtime: &Runtime,
) -> anyhow::Result<Vec<NamedPackage>> {
    let references = references.iter().map(ToString::to_string);
    let named = references.map(|reference| {
        let entry = runtime.block_on(known(&opened[&reference]))?;
        Ok(NamedPackage { reference, entry })
    });
    named.collect()
}

/// Where the bytes of each module are.
fn modules(opened: &BTreeMap<String, Opened>) -> BTreeMap<Digest, Layout> {
    let of = |it: &Opened| {
        let layout = it.package.layout.clone();
        let modules = it.package.config.modules.iter().map(|it| it.digest);
        modules
            .map(|digest| (digest, layout.clone()))
            .collect::<Vec<_>>()
    };
    opened.values().flat_map(of).collect()
}

fn read(layout: &Layout, module: &Module) -> Result<Vec<u8>, String> {
    let mut file = layout
        .open_blob(&module.digest, module.size)
        .map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}
