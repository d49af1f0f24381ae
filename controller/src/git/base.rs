//! Where a line of work left the main branch: what a change is compared with where nobody says.

use git2::{ErrorCode, Oid, Repository};
use placet_model::visible;

use super::FetchError;
use super::error::plain;

/// Where the main branch is looked for, the first that is there counts.
const MAIN: [&str; 5] = [
    "refs/remotes/origin/HEAD",
    "refs/remotes/origin/main",
    "refs/remotes/origin/master",
    "refs/heads/main",
    "refs/heads/master",
];

/// The last commit that a revision shares with the main branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeBase {
    /// The main branch as people say it: `origin/main`.
    pub main: String,
    /// The commit.
    pub commit: Oid,
}

/// The merge base of the main branch and `commit`.
///
/// # Errors
///
/// There is no main branch, or no merge base; where that is so since the clone is shallow, what
/// brings the rest.
pub(super) fn merge_base(repository: &Repository, commit: Oid) -> Result<MergeBase, FetchError> {
    let (main, tip) = main_branch(repository)?;
    match repository.merge_base(tip, commit) {
        Ok(commit) => Ok(MergeBase { main, commit }),
        Err(error) if error.code() == ErrorCode::NotFound => {
            let why = if repository.is_shallow() {
                deepen()
            } else {
                "their histories have nothing in common".to_owned()
            };
            Err(FetchError::NoMergeBase { main, why })
        }
        Err(error) => {
            let why = plain(&error);
            Err(FetchError::NoMergeBase { main, why })
        }
    }
}

/// The name of the main branch as people say it, and its commit.
fn main_branch(repository: &Repository) -> Result<(String, Oid), FetchError> {
    let found = MAIN.iter().find_map(|name| {
        let reference = repository.find_reference(name).ok()?.resolve().ok()?;
        let shown = visible(reference.shorthand().ok()?).to_string();
        Some((shown, reference.peel_to_commit().ok()?.id()))
    });
    found.ok_or_else(|| FetchError::NoMainBranch {
        advice: if repository.is_shallow() {
            deepen()
        } else {
            "fetch it, or name what to compare with by --from".to_owned()
        },
    })
}

/// What to do about a clone that does not reach back far enough.
fn deepen() -> String {
    "this clone is shallow: bring the rest with `git fetch --unshallow origin`, or a part of it with `git fetch --deepen=100 origin`".to_owned()
}

/// What to do about a revision that is not here.
pub(super) fn missing_advice(repository: &Repository) -> String {
    if repository.is_shallow() {
        format!("; {}", deepen())
    } else {
        "; name a branch, a tag or a commit, and fetch it first".to_owned()
    }
}
