//! What a source follows, where it stands, and whether it went back.

use std::fmt;

use git2::{Oid, Reference, Repository};
use placet_crds::GitReference;
use placet_model::visible;

use super::FetchError;
use super::error::plain;

/// How many names an error offers instead of one that is not there.
const OFFERED: usize = 8;

/// What a source follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Followed {
    Branch(String),
    Tag(String),
    Commit(Oid),
}

/// What was followed and the commit at which it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Revision {
    pub(super) followed: Followed,
    pub(super) commit: Oid,
}

impl Followed {
    pub(super) fn of(reference: &GitReference) -> Result<Self, FetchError> {
        let GitReference {
            branch,
            tag,
            commit,
        } = reference;
        let (followed, name) = match (branch, tag, commit) {
            (_, _, Some(commit)) => {
                let id = Oid::from_str(commit).ok().filter(|_| commit.len() == 40);
                let id = id.ok_or_else(|| FetchError::ReferenceName {
                    name: visible(commit).to_string(),
                })?;
                return Ok(Self::Commit(id));
            }
            (_, Some(tag), None) => (Self::Tag(tag.clone()), tag.as_str()),
            (Some(branch), None, None) => (Self::Branch(branch.clone()), branch.as_str()),
            (None, None, None) => (Self::Branch("main".to_owned()), "main"),
        };
        if followed
            .full_name()
            .is_some_and(|full| Reference::is_valid_name(&full))
        {
            return Ok(followed);
        }
        Err(FetchError::ReferenceName {
            name: visible(name).to_string(),
        })
    }

    /// The name that git has for it; a commit has none.
    pub(super) fn full_name(&self) -> Option<String> {
        match self {
            Self::Branch(name) => Some(format!("refs/heads/{name}")),
            Self::Tag(name) => Some(format!("refs/tags/{name}")),
            Self::Commit(_) => None,
        }
    }

    /// The commit at which it stands in `repository`, which people know as `url`.
    pub(super) fn find(&self, repository: &Repository, url: &str) -> Result<Oid, FetchError> {
        let Some(name) = self.full_name() else {
            return self.find_commit(repository, url);
        };
        let Ok(reference) = repository.find_reference(&name) else {
            let names: Vec<String> = repository
                .references()
                .map_err(FetchError::read("the branches and tags"))?
                .filter_map(|it| it.ok()?.name().ok().map(str::to_owned))
                .collect();
            return Err(self.missing(url, names.iter().map(String::as_str)));
        };
        match reference.peel_to_commit() {
            Ok(commit) => Ok(commit.id()),
            Err(error) => Err(FetchError::NotACommit {
                followed: self.to_string(),
                why: plain(&error),
            }),
        }
    }

    fn find_commit(&self, repository: &Repository, url: &str) -> Result<Oid, FetchError> {
        match self {
            Self::Commit(id) if repository.find_commit(*id).is_ok() => Ok(*id),
            _ => Err(self.missing(url, std::iter::once("refs/heads/"))),
        }
    }

    /// The error for a repository that has `names` and not this one.
    pub(super) fn missing<'a>(
        &self,
        url: &str,
        names: impl Iterator<Item = &'a str>,
    ) -> FetchError {
        let url = visible(url).to_string();
        let mut names = names.peekable();
        if names.peek().is_none() {
            return FetchError::Empty { url };
        }
        let (prefix, word) = match self {
            Self::Branch(_) => ("refs/heads/", "branches"),
            Self::Tag(_) => ("refs/tags/", "tags"),
            Self::Commit(_) => ("refs/nothing/", ""),
        };
        let known: Vec<String> = names
            .filter_map(|name| name.strip_prefix(prefix))
            .filter(|name| !name.ends_with("^{}"))
            .take(OFFERED)
            .map(|name| format!("`{}`", visible(name)))
            .collect();
        FetchError::NoReference {
            url,
            followed: self.to_string(),
            known: if known.is_empty() {
                String::new()
            } else {
                format!("; its {word}: {}", known.join(", "))
            },
        }
    }
}

impl Revision {
    /// Refuses a commit that does not descend from the revision in force.
    pub(super) fn require_descent(
        &self,
        repository: &Repository,
        last_good: Option<&str>,
        allowed: Option<&str>,
    ) -> Result<(), FetchError> {
        let Some(from) = last_good else {
            return Ok(());
        };
        let now = self.to_string();
        let (Some((followed, last)), Some((name, _))) = (split(from), split(&now)) else {
            return Ok(());
        };
        let told = followed != name || matches!(self.followed, Followed::Commit(_));
        if told || last == self.commit || allowed == Some(self.commit.to_string().as_str()) {
            return Ok(());
        }
        // A commit that the repository no longer has cannot be among the ancestors.
        let descends = repository.find_commit(last).is_ok()
            && repository
                .graph_descendant_of(self.commit, last)
                .map_err(FetchError::read("the history"))?;
        if descends {
            return Ok(());
        }
        Err(FetchError::Rewound {
            from: visible(from).to_string(),
            to: now,
        })
    }
}

/// What was followed, and the commit, of a revision's text.
fn split(revision: &str) -> Option<(&str, Oid)> {
    let (followed, commit) = revision.rsplit_once("@sha1:")?;
    Some((followed, Oid::from_str(commit).ok()?))
}

impl fmt::Display for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => write!(f, "branch `{}`", visible(name)),
            Self::Tag(name) => write!(f, "tag `{}`", visible(name)),
            Self::Commit(id) => write!(f, "commit `{id}`"),
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.followed {
            Followed::Branch(name) | Followed::Tag(name) => name,
            Followed::Commit(_) => "commit",
        };
        write!(f, "{name}@sha1:{}", self.commit)
    }
}
