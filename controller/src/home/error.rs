//! What can go wrong with the home.

use std::io;
use std::path::PathBuf;

use placet_crds::Fault;
use placet_model::{NodeName, visible};

/// Why the home could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Another controller has the state folder open.
    #[error(
        "another controller uses `{}`; stop it first, or give this one a state folder of its own",
        path.display()
    )]
    InUse {
        /// The locked folder.
        path: PathBuf,
    },
    /// A file or folder of the home could not be made or read.
    #[error("failed to {what} `{}`", path.display())]
    Files {
        /// What was attempted.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is not a database of Placet.
    #[error(
        "`{}` is a database, but not one of Placet's; move it away or choose another state folder",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A backup is restored where there is a fleet.
    #[error(
        "`{}` holds a fleet already; name a state folder that does not, or move this one away",
        path.display()
    )]
    Occupied {
        /// The state folder.
        path: PathBuf,
    },
    /// The file is not a backup, or is damaged.
    #[error("`{}` is not a backup that can be restored: {why}", path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The database was written by a newer version.
    #[error(
        "`{}` has layout {found}, and this version knows layouts up to {known}; start the newer version of Placet that wrote it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The newest layout known here.
        known: i64,
    },
    /// `SQLite` failed.
    #[error("failed to {what} in the controller's database")]
    Database {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// The API server failed.
    #[error("failed to {what} in the API server")]
    Api {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// Another controller acts now.
    #[error("this controller does not lead any more")]
    Deposed,
    /// What the API server holds is not what was put there.
    #[error(
        "{what} `{name}` in the controller's namespace does not hold what it should: {why}; remove it, and it is made anew"
    )]
    Damaged {
        /// Its kind.
        what: &'static str,
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// No controller has led in this namespace.
    #[error(
        "namespace `{}` has no ConfigMap `placet-authority`, which a controller that leads puts there; name the controller's namespace, or wait for it",
        visible(namespace)
    )]
    NoAuthority {
        /// The namespace.
        namespace: String,
    },
    /// There is no such resource.
    #[error("there is no {} `{}`", visible(kind), visible(name))]
    NotFound {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The resource has changed since it was read.
    #[error(
        "{} `{}` has changed since it was read (version {expected}, now {found}); read it again and repeat",
        visible(kind),
        visible(name)
    )]
    Conflict {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// The version that was read.
        expected: u64,
        /// The version it has.
        found: u64,
    },
    /// Two sources declare the same resource.
    #[error(
        "{} `{}` comes from GitSource `{}` already; declare it in one repository only",
        visible(kind),
        visible(name),
        visible(owner)
    )]
    OwnedElsewhere {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// The source that has it.
        owner: String,
    },
    /// The change breaks a rule of the kind.
    #[error("{}", texts(faults))]
    Refused {
        /// What is wrong.
        faults: Vec<Fault>,
    },
    /// A node of this name has joined, and the token does not say that it may be replaced.
    #[error(
        "a node `{node}` has joined already; make the token with `--replace` if another machine takes its place"
    )]
    NameTaken {
        /// The node.
        node: NodeName,
    },
}

impl HomeError {
    /// For `map_err`: `SQLite` failed to do `what`.
    pub(super) fn database(what: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |source| Self::Database { what, source }
    }

    /// For `map_err`: a file operation failed.
    pub(crate) fn files(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl Fn(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Files {
            what,
            path: path.clone(),
            source,
        }
    }
}

fn texts(faults: &[Fault]) -> String {
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
