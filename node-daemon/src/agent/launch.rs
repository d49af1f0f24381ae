//! How a process is run: where its program is, and what its environment holds.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgrouplist};
use placet_model::{
    Because, ModulePath, NodeManifest, ProcessName, ProcessSpec, Signature, SignatureKind, visible,
};
use placet_planner::{change, library_directories};

use super::machine::find;
use super::test_mode::RUNNING;
use crate::link::{Account, Entry, Start};
use crate::store::{Generation, Store};

/// Where programs are looked up, after the generation's own.
pub(super) const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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

/// A process cannot be started as its package says.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchError {
    #[error("it is in no manifest")]
    Unknown,
    #[error("its command names no program")]
    NoProgram,
    #[error(
        "it runs as {what} `{name}`, which this node does not have; add it, or name another in the package"
    )]
    Account { what: &'static str, name: String },
    #[error("failed to look up {what} `{name}`, which it runs as")]
    LookUp {
        what: &'static str,
        name: String,
        source: nix::Error,
    },
    #[error(
        "it runs as user `{0}`, and placetd is not root here: only root can start processes of other users"
    )]
    NotRoot(String),
}

/// Where a generation runs.
pub(super) struct Place<'a> {
    /// The root of what its processes see.
    tree: PathBuf,
    /// Processes have folders of their own below it.
    run: &'a Path,
}

impl<'a> Place<'a> {
    pub(super) fn new(store: &Store, generation: &Generation, run: &'a Path) -> Self {
        Self {
            tree: store.tree(generation.number),
            run,
        }
    }
}

/// The order to start `process` of `generation`. `socket` is where it votes, if it does.
pub(super) fn start(
    process: &ProcessName,
    generation: &Generation,
    place: &Place<'_>,
    socket: Option<&Path>,
) -> Result<Start, LaunchError> {
    let tree = place.tree.as_path();
    let (module, spec) = find(&generation.manifest, process).ok_or(LaunchError::Unknown)?;
    let account = account(spec)?;
    let mut environment = BTreeMap::from([("PATH".to_owned(), path(tree))]);
    if let Some((_, user)) = &account {
        environment.extend(of_user(user));
    }
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
    // A path through a link, so that it means another generation after each change: for those that
    // read their files again.
    let current = place.run.join(RUNNING).join("tree");
    environment.insert("PLACET_CURRENT".to_owned(), current.display().to_string());
    let directory = place.run.join("processes").join(process.as_str());
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
    Ok(Start {
        process: process.clone(),
        generation: generation.number,
        manifest: generation.digest,
        program: tree.join(module.path.as_str()),
        arguments: spec.arguments.clone(),
        environment,
        directory,
        working_directory: spec.working_directory.as_ref().map(PathBuf::from),
        account: account.map(|(account, _)| account),
        limits: spec.limits.clone(),
        sockets: spec.sockets.clone(),
        stored_descriptors: spec.stored_descriptors,
        state: spec.state.clone(),
        watchdog_seconds: spec.watchdog_seconds,
        stop_signal: spec.stop_signal,
        reload_signal: spec.reload_signal,
        order: spec.start_order,
        stop_seconds: spec.stop_seconds,
    })
}

/// A command that speaks for a process of this generation, with the environment that the process
/// itself has.
pub(super) fn command(
    process: &ProcessName,
    generation: &Generation,
    place: &Place<'_>,
    command: &[String],
) -> Result<Start, LaunchError> {
    let (program, arguments) = command.split_first().ok_or(LaunchError::NoProgram)?;
    Ok(Start {
        // An absolute path is one of the base system's.
        program: place.tree.join(program),
        arguments: arguments.to_vec(),
        ..start(process, generation, place, None)?
    })
}

/// Whom a process runs as, if its package says so, and that user's entry.
pub(super) fn account(spec: &ProcessSpec) -> Result<Option<(Account, User)>, LaunchError> {
    if spec.user.is_none() && spec.group.is_none() {
        return Ok(None);
    }
    let own = geteuid();
    let user = find_user(spec.user.as_ref().unwrap_or(&own.to_string()))?;
    let group = match &spec.group {
        Some(name) => find_group(name)?,
        None => user.gid,
    };
    if !own.is_root() && (own != user.uid || getegid() != group) {
        return Err(LaunchError::NotRoot(user.name));
    }
    let groups = CString::new(user.name.as_str())
        .ok()
        .and_then(|name| getgrouplist(&name, group).ok())
        .unwrap_or_else(|| vec![group]);
    let account = Account {
        user: user.uid.as_raw(),
        group: group.as_raw(),
        groups: groups.into_iter().map(Gid::as_raw).collect(),
    };
    Ok(Some((account, user)))
}

/// By name, or by number.
fn find_user(name: &str) -> Result<User, LaunchError> {
    let found = match name.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(name),
    };
    look_up("user", name, found)
}

fn find_group(name: &str) -> Result<Gid, LaunchError> {
    let found = match name.parse() {
        Ok(number) => Group::from_gid(Gid::from_raw(number)),
        Err(_) => Group::from_name(name),
    };
    look_up("group", name, found).map(|group| group.gid)
}

fn look_up<T>(
    what: &'static str,
    name: &str,
    found: nix::Result<Option<T>>,
) -> Result<T, LaunchError> {
    let name = visible(name).to_string();
    match found {
        Ok(found) => found.ok_or_else(|| missing(what, &name)),
        Err(source) => Err(LaunchError::LookUp { what, name, source }),
    }
}

fn missing(what: &'static str, name: &str) -> LaunchError {
    LaunchError::Account {
        what,
        name: name.to_owned(),
    }
}

/// What programs expect to find of the user that they run as.
fn of_user(user: &User) -> BTreeMap<String, String> {
    let home = user.dir.display().to_string();
    let shell = user.shell.display().to_string();
    let entries = [
        ("USER", user.name.clone()),
        ("LOGNAME", user.name.clone()),
        ("HOME", home),
        ("SHELL", shell),
    ];
    entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
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
        Because::New
        | Because::Gone
        | Because::OwnModule
        | Because::Definition
        | Because::NodeRestart(_) => own,
        Because::Library { library, .. } => library,
        Because::Opened { module, .. } | Because::Follows { module, .. } => module,
    }
}
