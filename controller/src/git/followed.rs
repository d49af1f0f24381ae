//! What a source follows, where it stands, and whether it went back.

use std::collections::BTreeMap;
use std::fmt;

use git2::{Oid, Repository};
use placet_crds::GitReference;
use placet_model::visible;
use semver::{Version, VersionReq};

use super::FetchError;
use super::error::plain;

/// How many names an error offers instead of one that is not there.
const OFFERED: usize = 8;

/// What a source is told to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    One(Followed),
    /// The greatest tag within a range of versions.
    Range(VersionReq),
}

/// What a source follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Followed {
    Branch(String),
    Tag(String),
    Commit(Oid),
    /// The tag that was the greatest of its range.
    Version(String, Version),
}

/// What was followed and the commit at which it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Revision {
    pub(super) followed: Followed,
    pub(super) commit: Oid,
}

impl Reference {
    pub(super) fn of(reference: &GitReference) -> Result<Self, FetchError> {
        let GitReference {
            branch,
            tag,
            semver,
            commit,
        } = reference;
        if let Some(range) = semver {
            let parsed = VersionReq::parse(range).map_err(|error| FetchError::Range {
                range: visible(range).to_string(),
                why: visible(&error.to_string()).to_string(),
            });
            return parsed.map(Self::Range);
        }
        Followed::of(branch.as_deref(), tag.as_deref(), commit.as_deref()).map(Self::One)
    }
}

impl Followed {
    fn of(
        branch: Option<&str>,
        tag: Option<&str>,
        commit: Option<&str>,
    ) -> Result<Self, FetchError> {
        let unfit = |name: &str| FetchError::ReferenceName {
            name: visible(name).to_string(),
        };
        if let Some(commit) = commit {
            let id = Oid::from_str(commit).ok().filter(|_| commit.len() == 40);
            return id.map(Self::Commit).ok_or_else(|| unfit(commit));
        }
        let name = tag.or(branch).unwrap_or("main");
        let followed = if tag.is_some() {
            Self::Tag(name.to_owned())
        } else {
            Self::Branch(name.to_owned())
        };
        let full = followed.full_name();
        if full.is_some_and(|full| git2::Reference::is_valid_name(&full)) {
            Ok(followed)
        } else {
            Err(unfit(name))
        }
    }

    /// The greatest tag among `names` that is a version within `range`.
    pub(super) fn greatest<'a>(
        range: &VersionReq,
        url: &str,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Self, FetchError> {
        let tags: Vec<&str> = names
            .filter_map(|name| name.strip_prefix("refs/tags/"))
            .filter(|name| !name.ends_with("^{}"))
            .collect();
        let version = |tag: &&str| {
            let version = Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()?;
            range
                .matches(&version)
                .then(|| (version, (*tag).to_owned()))
        };
        // Of `v1.0.0` and `1.0.0` the former, whatever the order in which they are told.
        if let Some((version, tag)) = tags.iter().filter_map(version).max() {
            return Ok(Self::Version(tag, version));
        }
        let known: Vec<String> = tags
            .iter()
            .take(OFFERED)
            .map(|tag| format!("`{}`", visible(tag)))
            .collect();
        Err(FetchError::NoReference {
            url: visible(url).to_string(),
            followed: format!("tag that is a version within `{range}`"),
            known: if known.is_empty() {
                String::new()
            } else {
                format!("; its tags: {}", known.join(", "))
            },
        })
    }

    /// The name that git has for it; a commit has none.
    pub(super) fn full_name(&self) -> Option<String> {
        match self {
            Self::Branch(name) => Some(format!("refs/heads/{name}")),
            Self::Tag(name) | Self::Version(name, _) => Some(format!("refs/tags/{name}")),
            Self::Commit(_) => None,
        }
    }

    /// Where it stands among the `names` of a server. An annotated tag is told twice: the tag
    /// itself, and the commit that it names.
    pub(super) fn commit_among(&self, names: &BTreeMap<String, Oid>) -> Option<Oid> {
        let name = self.full_name()?;
        let found = names.get(&format!("{name}^{{}}")).or(names.get(&name));
        found.copied()
    }

    /// The commit at which it stands in `repository`, which people know as `url`.
    pub(super) fn find(&self, repository: &Repository, url: &str) -> Result<Oid, FetchError> {
        let Some(name) = self.full_name() else {
            return self.find_commit(repository, url);
        };
        let Ok(reference) = repository.find_reference(&name) else {
            let names = names(repository)?;
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
            Self::Tag(_) | Self::Version(..) => ("refs/tags/", "tags"),
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
        if self.is_told(followed, name)
            || last == self.commit
            || allowed == Some(self.commit.to_string().as_str())
        {
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

impl Revision {
    /// Whether a person said that the commit may be any, by naming another branch, tag or commit
    /// than before. A greater version is what a range is for.
    fn is_told(&self, before: &str, now: &str) -> bool {
        match &self.followed {
            Followed::Commit(_) => true,
            Followed::Branch(_) | Followed::Tag(_) => before != now,
            Followed::Version(_, version) => {
                let older = before.strip_prefix('v').unwrap_or(before);
                Version::parse(older).map_or(before != now, |older| older < *version)
            }
        }
    }
}

/// The names of all references of a repository on this machine.
pub(super) fn names(repository: &Repository) -> Result<Vec<String>, FetchError> {
    let references = repository.references();
    Ok(references
        .map_err(FetchError::read("the branches and tags"))?
        .filter_map(|it| it.ok()?.name().ok().map(str::to_owned))
        .collect())
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
            Self::Tag(name) | Self::Version(name, _) => write!(f, "tag `{}`", visible(name)),
            Self::Commit(id) => write!(f, "commit `{id}`"),
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.followed {
            Followed::Branch(name) | Followed::Tag(name) | Followed::Version(name, _) => name,
            Followed::Commit(_) => "commit",
        };
        write!(f, "{name}@sha1:{}", self.commit)
    }
}
