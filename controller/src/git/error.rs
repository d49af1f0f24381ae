//! Why a repository could not be used.

use std::io;
use std::path::PathBuf;

use placet_crds::Reason;

/// Why a repository, a revision or a file of it could not be used. Text from outside stands in
/// these errors escaped.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address is not understood, or refused.
    #[error("the address `{url}` is refused: {why}")]
    Address {
        /// The address.
        url: String,
        /// Why.
        why: &'static str,
    },
    /// A name is not fit to be one.
    #[error("`{name}` is not a name; use letters, digits, `-` and `.`")]
    Name {
        /// The name.
        name: String,
    },
    /// What is to be followed is not a name that git knows.
    #[error("`{name}` is not a name that git allows for a branch, a tag or a commit")]
    ReferenceName {
        /// The name.
        name: String,
    },
    /// Something is asked for that would be unsafe to pass over.
    #[error(
        "`{field}` is not carried out by this version; remove it to use the repository without"
    )]
    NotCarriedOut {
        /// The field.
        field: &'static str,
    },
    /// A repository on this machine could not be opened.
    #[error("failed to open the repository `{}`: {why}", path.display())]
    Open {
        /// The repository.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The secret that a source names is not there, or cannot be used.
    #[error("the folder `{}` cannot be used as a secret: {why}", path.display())]
    Secret {
        /// Where it was looked for.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: &'static str,
    },
    /// The program `ssh` could not be started.
    #[error("failed to start the program `ssh`; install OpenSSH's client")]
    StartSsh {
        /// Why it failed.
        source: io::Error,
    },
    /// The connection failed.
    #[error("failed to fetch from `{address}`: {why}")]
    Connection {
        /// The server and path.
        address: String,
        /// Why.
        why: String,
    },
    /// The server answered what no git server should.
    #[error("the answer of `{address}` is refused: {why}")]
    Answer {
        /// The server and path.
        address: String,
        /// Why.
        why: String,
    },
    /// More comes than is allowed.
    #[error("{what} is more than {most}{advice}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit, with its unit.
        most: String,
        /// What to do, after a semicolon; may be empty.
        advice: &'static str,
    },
    /// The repository has no commits.
    #[error("the repository `{url}` is empty; push a commit to it")]
    Empty {
        /// Its address.
        url: String,
    },
    /// There is no such branch, tag or commit.
    #[error("the repository `{url}` has no {followed}{known}")]
    NoReference {
        /// Its address.
        url: String,
        /// What is followed, as in "branch `main`".
        followed: String,
        /// What it has instead, after a semicolon; may be empty.
        known: String,
    },
    /// What is followed is not a commit.
    #[error("{followed} does not name a commit: {why}")]
    NotACommit {
        /// What is followed.
        followed: String,
        /// Why.
        why: String,
    },
    /// The branch went back or aside, as by a forced push.
    #[error(
        "the repository was rewound: {to} does not descend from {from}, which is in force; if that is meant, set `spec.allowRewind: {}`",
        to.rsplit(':').next().unwrap_or_default()
    )]
    Rewound {
        /// The revision in force.
        from: String,
        /// The new revision.
        to: String,
    },
    /// The folder of declarations is not there.
    #[error("{revision} has no folder `{path}`; correct `spec.path` or the repository")]
    NoFolder {
        /// The revision.
        revision: String,
        /// The folder.
        path: String,
    },
    /// The folder of declarations holds no declarations.
    #[error(
        "the folder `{path}` of {revision} holds no `.yaml` or `.yml` file; nothing is pruned for it: delete the GitSource and what it declared if that is meant"
    )]
    NoFiles {
        /// The revision.
        revision: String,
        /// The folder.
        path: String,
    },
    /// A file or folder is refused.
    #[error("`{path}` is refused: {why}")]
    File {
        /// Its path in the repository.
        path: String,
        /// Why, and what to do.
        why: String,
    },
    /// A repository holds what git could not read.
    #[error("failed to read {what}: {why}")]
    Read {
        /// What was to be read.
        what: String,
        /// Why it failed.
        why: String,
    },
    /// A file operation on a mirror failed.
    #[error("failed to {what} `{}`", path.display())]
    Mirror {
        /// What was attempted.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl FetchError {
    /// The reason that a condition carries.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotCarriedOut { .. } => Reason::NotCarriedOut,
            Self::Empty { .. } | Self::NoFiles { .. } => Reason::Empty,
            Self::Rewound { .. } => Reason::Rewound,
            Self::File { .. } => Reason::InvalidDeclarations,
            _ => Reason::FetchFailed,
        }
    }

    /// Whether trying again may help without anybody doing anything.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Open { .. }
                | Self::StartSsh { .. }
                | Self::Connection { .. }
                | Self::Answer { .. }
                | Self::Read { .. }
                | Self::Mirror { .. }
        )
    }

    /// The repository `what` could not be read.
    pub(super) fn read(what: impl Into<String>) -> impl FnOnce(git2::Error) -> Self {
        let what = what.into();
        move |error| Self::Read {
            what,
            why: plain(&error),
        }
    }
}

/// libgit2's words, in which a server may have had its say.
pub(super) fn plain(error: &git2::Error) -> String {
    placet_model::visible(error.message()).to_string()
}
