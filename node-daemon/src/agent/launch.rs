//! How a process is run: where its program is, and what its environment holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use placet_model::{
    Because, ModulePath, NodeManifest, ProcessKind, ProcessName, Signature, SignatureKind,
};
use placet_planner::{change, library_directories};

use super::machine::{Known, find};
use crate::link::{Entry, Start};
use crate::store::Generation;

/// Where programs are looked up, after the generation's own.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Folders of a generation that hold programs.
const PROGRAM_FOLDERS: [&str; 6] = [
    "usr/local/sbin",
    "usr/local/bin",
    "usr/sbin",
    "usr/bin",
    "sbin",
    "bin",
];

/// Milliseconds after which a process that gives no notice counts as ready.
const SETTLED_AFTER: u64 = 200;

/// The order to start `process` from `generation`, whose tree is at `tree`, in a folder of its own
/// below `run`. `socket` is where it votes, if it does.
pub(super) fn start(
    process: &ProcessName,
    generation: &Generation,
    tree: &Path,
    run: &Path,
    socket: Option<&Path>,
) -> Option<Start> {
    let (module, spec) = find(&generation.manifest, process)?;
    let mut environment = BTreeMap::from([("PATH".to_owned(), path(tree))]);
    environment.extend(spec.environment.clone());
    // What follows is the truth about this process, so that it cannot be declared away.
    let libraries = library_path(&generation.manifest, tree);
    if !libraries.is_empty() {
        environment
            .entry("LD_LIBRARY_PATH".to_owned())
            .or_insert(libraries);
    }
    environment.insert(
        "PLACET_GENERATION".to_owned(),
        generation.number.to_string(),
    );
    environment.insert("PLACET_ROOT".to_owned(), tree.display().to_string());
    let directory = run.join("processes").join(process.as_str());
    environment.insert(
        "RUNTIME_DIRECTORY".to_owned(),
        directory.display().to_string(),
    );
    match socket {
        Some(socket) => {
            environment.insert("PLACET_SOCKET".to_owned(), socket.display().to_string())
        }
        None => environment.remove("PLACET_SOCKET"),
    };
    Some(Start {
        process: process.clone(),
        generation: generation.number,
        manifest: generation.digest,
        program: tree.join(module.path.as_str()),
        arguments: spec.arguments.clone(),
        environment,
        directory,
        order: spec.start_order,
        stop_seconds: spec.stop_seconds,
    })
}

fn path(tree: &Path) -> String {
    let own = PROGRAM_FOLDERS
        .iter()
        .map(|folder| tree.join(folder))
        .filter(|folder| folder.is_dir());
    let own = own.map(|folder| folder.display().to_string());
    own.chain([SYSTEM_PATH.to_owned()])
        .collect::<Vec<_>>()
        .join(":")
}

fn library_path(manifest: &NodeManifest, tree: &Path) -> String {
    let folders = library_directories(manifest);
    let folders: Vec<_> = folders
        .iter()
        .map(|folder| tree.join(folder).display().to_string())
        .collect();
    folders.join(":")
}

/// True if this process may vote.
pub(super) fn is_self_managing(generation: &Generation, process: &ProcessName) -> bool {
    find(&generation.manifest, process)
        .is_some_and(|(_, spec)| spec.kind == ProcessKind::SelfManaging)
}

pub(super) fn votes(known: &Known) -> bool {
    is_self_managing(&known.origin, &known.process)
}

/// True if a process that gives no notice of being ready has lived for long enough.
pub(super) fn is_settled(origin: &Generation, entry: &Entry) -> bool {
    let notifies = find(&origin.manifest, &entry.process).is_some_and(|(_, spec)| spec.notify);
    !notifies && entry.age >= SETTLED_AFTER
}

/// Which processes use which modules, directly or not: those that would be touched if all changed.
pub(super) fn users(manifest: &NodeManifest) -> BTreeMap<ModulePath, BTreeSet<ProcessName>> {
    let mut other = manifest.clone();
    for entry in &mut other.modules {
        entry.module.signature = another(entry.module.signature);
    }
    let mut users: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for process in change(manifest, &other).change_set.processes {
        for because in &process.because {
            let module = module_of(because, &process.path);
            users
                .entry(module.clone())
                .or_default()
                .insert(process.name.clone());
        }
    }
    users
}

fn another(signature: Signature) -> Signature {
    let one = Signature::new(SignatureKind::Plain, [0; 16]);
    if signature == one {
        Signature::new(SignatureKind::Plain, [1; 16])
    } else {
        one
    }
}

/// The module that a reason is about; `own` is the process's program.
pub(super) fn module_of<'a>(because: &'a Because, own: &'a ModulePath) -> &'a ModulePath {
    match because {
        Because::New | Because::Gone | Because::OwnModule | Because::Definition => own,
        Because::Library { library, .. } => library,
        Because::Opened { module, .. } => module,
    }
}
