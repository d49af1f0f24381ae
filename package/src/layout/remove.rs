//! Removing packages from a layout: what no other package holds goes with them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use placet_model::Digest;

use super::graph::Graph;
use super::{BLOBS, Layout};
use crate::error::{Outcome, PackageError, Problem};
use crate::files::{self, PART};
use crate::reference::Selector;

/// What went when a package was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The manifest that was named.
    pub digest: Digest,
    /// The tags that are gone.
    pub tags: Vec<String>,
    /// Tags under which the package is still there; nothing but the one tag is gone then.
    pub stays_as: Vec<String>,
    /// What referred to the package and is gone with it: type and digest of each.
    pub referrers: Vec<(String, Digest)>,
    /// What was freed.
    pub freed: Freed,
    /// How many blobs of the package others hold too.
    pub shared: usize,
}

/// Blobs that are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// How many.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Layout {
    /// Removes the package that `selector` names, with what refers to it, and frees exactly those
    /// blobs that nothing else in the layout holds. A tag of several goes alone; a digest takes all
    /// its tags along.
    ///
    /// # Guarantees
    ///
    /// A crash at any instant leaves the package or removes it: what is still listed is whole, and
    /// blobs that remain are freed by [`Layout::prune`]. It waits for transfers into the layout.
    ///
    /// # Errors
    ///
    /// There is no such package, it is a part of a composite, or what else is there cannot be read,
    /// so that nobody can tell what it holds.
    pub fn remove(&self, selector: &Selector) -> Result<Removed, PackageError> {
        let removed = self.remove_package(selector);
        removed.map_err(|problem| self.error(Some(selector), problem))
    }

    fn remove_package(&self, selector: &Selector) -> Outcome<Removed> {
        let _transfers = self.end_transfers()?;
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        let digest = match selector {
            Selector::Tag(tag) => index.find(tag)?,
            Selector::Digest(digest) => *digest,
        };
        let tags = index.tags()?.into_iter();
        let tags = tags.filter(|(_, named)| *named == digest);
        let mut removed = Removed::of(digest, tags.map(|(tag, _)| tag).collect());
        if let Selector::Tag(tag) = selector
            && removed.tags.len() > 1
        {
            index.untag(tag);
            self.write_index(&index)?;
            removed.stays_as = std::mem::take(&mut removed.tags);
            removed.stays_as.retain(|other| other != tag);
            removed.tags.push(tag.clone());
            return Ok(removed);
        }
        let graph = Graph::read(self, &index, Some(&digest))?;
        if let Some(parent) = graph.parent(&digest) {
            return Err(Problem::InUse(parent));
        }
        let (before, after) = (graph.used(None), graph.used(Some(&digest)));
        if !before.contains(&digest) {
            return Err(Problem::NoSuchDigest);
        }
        removed.referrers = self.referrers_but(&digest, &after)?;
        removed.shared = graph.held_by(&digest).intersection(&after).count();
        index.keep(|listed| !before.contains(listed) || after.contains(listed));
        self.write_index(&index)?;
        removed.freed = self.free(before.difference(&after))?;
        Ok(removed)
    }

    /// What refers to a manifest, or to what refers to it, and does not stay.
    fn referrers_but(
        &self,
        digest: &Digest,
        stays: &BTreeSet<Digest>,
    ) -> Outcome<Vec<(String, Digest)>> {
        let (mut open, mut all) = (vec![*digest], Vec::new());
        while let Some(subject) = open.pop() {
            for entry in self.read_referrers(&subject)? {
                if !stays.contains(&entry.digest) {
                    open.push(entry.digest);
                    let kind = entry.artifact_type.unwrap_or(entry.media_type);
                    all.push((kind, entry.digest));
                }
            }
        }
        Ok(all)
    }

    /// Frees what nothing in the layout holds: what interrupted transfers, builds and removals have
    /// left. It waits for transfers into the layout.
    ///
    /// # Errors
    ///
    /// Something that is listed cannot be read, so that nobody can tell what it holds; nothing is
    /// freed then.
    pub fn prune(&self) -> Result<Freed, PackageError> {
        self.free_unused()
            .map_err(|problem| self.error(None, problem))
    }

    fn free_unused(&self) -> Outcome<Freed> {
        let _transfers = self.end_transfers()?;
        let _lock = self.lock()?;
        let used = Graph::read(self, &self.read_index()?, None)?.used(None);
        let mut unused = Vec::new();
        for name in names(&self.dir.join(BLOBS))? {
            // What is not named as a blob was put there by somebody else.
            let digest: Option<Digest> = format!("sha256:{name}").parse().ok();
            unused.extend(digest.filter(|digest| !used.contains(digest)));
        }
        let mut freed = self.free(unused.iter())?;
        for name in names(&self.dir)? {
            if name.starts_with(PART) {
                freed.add(remove(&self.dir.join(name))?);
            }
        }
        self.remove_leftovers()?;
        Ok(freed)
    }

    fn free<'a>(&self, digests: impl Iterator<Item = &'a Digest>) -> Outcome<Freed> {
        let mut freed = Freed::default();
        for digest in digests {
            freed.add(remove(&self.blob_path(digest))?);
        }
        files::sync_folder(&self.dir.join(BLOBS))?;
        Ok(freed)
    }
}

impl Removed {
    pub(crate) fn of(digest: Digest, tags: Vec<String>) -> Self {
        Self {
            digest,
            tags,
            stays_as: Vec::new(),
            referrers: Vec::new(),
            freed: Freed::default(),
            shared: 0,
        }
    }
}

impl Freed {
    fn add(&mut self, bytes: Option<u64>) {
        self.blobs += usize::from(bytes.is_some());
        self.bytes += bytes.unwrap_or_default();
    }
}

/// Removes a file; its size, if it was there.
fn remove(path: &Path) -> Outcome<Option<u64>> {
    let size = fs::symlink_metadata(path).map(|found| found.len());
    let removed = size.and_then(|size| fs::remove_file(path).map(|()| size));
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        removed => removed.map(Some).map_err(Problem::io("remove", path)),
    }
}

fn names(folder: &Path) -> Outcome<Vec<String>> {
    let failed = || Problem::io("read", folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    Ok(names)
}
