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
    /// A range of versions is none.
    #[error(
        "`{range}` is not a range of versions: {why}; write it like `>=1.2.0, <2.0.0` in `spec.ref.semver`"
    )]
    Range {
        /// What stands there.
        range: String,
        /// Why it is none.
        why: String,
    },
    /// A glob is none.
    #[error("`{glob}` in `{field}` is not a glob: {why}")]
    Glob {
        /// Where it stands.
        field: &'static str,
        /// The glob.
        glob: String,
        /// Why it is none.
        why: String,
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
    #[error("the secret `{name}` cannot be used: {why}")]
    Secret {
        /// Its name.
        name: String,
        /// What is wrong, and what to do; never what it holds.
        why: String,
    },
    /// The program `ssh` could not be started.
    #[error(
        "failed to start the program `ssh`; install OpenSSH's client, or use an https address where there can be none, as in Placet's container image"
    )]
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
    /// None of the usual names of a main branch is there.
    #[error(
        "there is no main branch to compare with (`origin/HEAD`, `origin/main`, `origin/master`, `main` or `master`): {advice}"
    )]
    NoMainBranch {
        /// What to do.
        advice: String,
    },
    /// A revision shares no commit with the main branch.
    #[error("no commit was found where this parted from `{main}`: {why}")]
    NoMergeBase {
        /// The main branch.
        main: String,
        /// Why, and what to do.
        why: String,
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
    /// What must be signed is not, or not by somebody who may.
    #[error("{what} is refused: {why}")]
    Signature {
        /// The revision that is refused.
        revision: String,
        /// The commit or tag.
        what: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// Those who may sign cannot be told from what stands there.
    #[error("{place} is refused: {why}")]
    Signers {
        /// Where they stand.
        place: String,
        /// What is wrong, and what to do.
        why: String,
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
        "the folder `{path}` of {revision} holds no `.yaml` or `.yml` file that counts; nothing is pruned for it: if that is meant, set `spec.allowEmpty: {}`",
        revision.rsplit(':').next().unwrap_or_default()
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
            Self::Signature { .. } | Self::Signers { .. } => Reason::VerificationFailed,
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

    /// The revision that is refused, where it came to one.
    pub fn revision(&self) -> Option<&str> {
        match self {
            Self::Rewound { to: revision, .. }
            | Self::Signature { revision, .. }
            | Self::NoFiles { revision, .. }
            | Self::NoFolder { revision, .. } => Some(revision),
            _ => None,
        }
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

/// An error and all its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    placet_model::visible(&text).to_string()
}
