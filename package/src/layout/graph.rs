//! What the manifests of a layout hold and refer to.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::Digest;

use super::Layout;
use super::index::Index;
use crate::document::{Document, is_manifest};
use crate::error::{Outcome, PackageError, Problem};
use crate::files;
use crate::manifest::{ARTIFACT_TYPE, Descriptor, MANIFEST_MAX, REF_NAME};
use crate::reference::Selector;
use crate::trust::simple::signed_by_tag;

/// Every manifest of a layout that the index leads to.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// What the index names.
    listed: BTreeSet<Digest>,
    manifests: BTreeMap<Digest, Links>,
    /// The manifests that refer to each.
    referrers: BTreeMap<Digest, Vec<Digest>>,
}

/// What one manifest points at.
#[derive(Debug, Default)]
struct Links {
    blobs: Vec<Digest>,
    children: Vec<Digest>,
    subject: Option<Digest>,
}

impl Graph {
    /// Reads every manifest that `index` leads to; one of `unread` counts as holding nothing.
    pub(super) fn read(layout: &Layout, index: &Index, unread: Option<&Digest>) -> Outcome<Self> {
        let mut graph = Self::default();
        let mut open = index.descriptors()?;
        graph.listed = open.iter().map(|entry| entry.digest).collect();
        while let Some(entry) = open.pop() {
            let is_known = graph.manifests.contains_key(&entry.digest);
            if is_known || !is_manifest(&entry.media_type) {
                continue;
            }
            let document = match layout.document(&entry.digest) {
                // What is gone holds nothing any more.
                Err(Problem::Missing { .. }) => continue,
                Err(_) if unread == Some(&entry.digest) => continue,
                document => document?,
            };
            open.extend(document.children.iter().cloned());
            let tag = entry.annotations.get(REF_NAME);
            let signed = tag.and_then(|tag| signed_by_tag(tag));
            let subject = document.subject.as_ref().map(|subject| subject.digest);
            graph.add(document, subject.or(signed));
        }
        Ok(graph)
    }

    fn add(&mut self, document: Document, subject: Option<Digest>) {
        if let Some(subject) = subject {
            let referrers = self.referrers.entry(subject).or_default();
            referrers.push(document.digest);
        }
        let children = document.children.iter().map(|child| child.digest);
        let links = Links {
            blobs: document.blobs.into_keys().collect(),
            children: children.collect(),
            subject,
        };
        self.manifests.insert(document.digest, links);
    }

    /// Everything that the index leads to, manifests and blobs, with one manifest left out. What
    /// refers to a manifest stays as long as the manifest does.
    pub(super) fn used(&self, without: Option<&Digest>) -> BTreeSet<Digest> {
        let roots = self.listed.iter().filter(|digest| !self.follows(digest));
        self.closure(roots.copied().collect(), without)
    }

    /// Everything that a manifest holds, and what refers to it.
    pub(super) fn held_by(&self, digest: &Digest) -> BTreeSet<Digest> {
        self.closure(vec![*digest], None)
    }

    fn closure(&self, mut open: Vec<Digest>, without: Option<&Digest>) -> BTreeSet<Digest> {
        let mut reached = BTreeSet::new();
        while let Some(digest) = open.pop() {
            if Some(&digest) == without || !reached.insert(digest) {
                continue;
            }
            if let Some(links) = self.manifests.get(&digest) {
                reached.extend(&links.blobs);
                open.extend(&links.children);
            }
            open.extend(self.referrers.get(&digest).into_iter().flatten());
        }
        reached
    }

    /// True for what refers to a manifest that is here.
    fn follows(&self, digest: &Digest) -> bool {
        let subject = self.manifests.get(digest).and_then(|links| links.subject);
        subject.is_some_and(|subject| self.manifests.contains_key(&subject))
    }

    /// The index that has this manifest as a part.
    pub(super) fn parent(&self, digest: &Digest) -> Option<Digest> {
        let mut all = self.manifests.iter();
        let parent = all.find(|(_, links)| links.children.contains(digest));
        parent.map(|(parent, _)| *parent)
    }
}

impl Layout {
    /// Reads a manifest or an index of any kind, and compares its digest.
    pub(crate) fn document(&self, digest: &Digest) -> Outcome<Document> {
        let bytes = files::read(&self.blob_path(digest), MANIFEST_MAX)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(Problem::WrongDigest {
                what: "the manifest".to_owned(),
                wanted: *digest,
                found,
            });
        }
        Document::read(bytes)
    }

    /// What refers to the manifest `digest`: type and digest of each.
    ///
    /// # Errors
    ///
    /// The index or what it lists cannot be read.
    pub fn referrers(&self, digest: &Digest) -> Result<Vec<(String, Digest)>, PackageError> {
        let selector = Selector::Digest(*digest);
        let found = self.read_referrers(digest);
        let found = found.map_err(|problem| self.error(Some(&selector), problem))?;
        let typed = found.into_iter().map(|entry| {
            let kind = entry.artifact_type.unwrap_or(entry.media_type);
            (kind, entry.digest)
        });
        Ok(typed.collect())
    }

    /// The digest of each manifest that the index lists, and its tag.
    pub(crate) fn listed(&self) -> Outcome<Vec<(Digest, Option<String>)>> {
        let entries = self.read_index()?.descriptors()?.into_iter();
        let entries = entries.filter(|entry| is_manifest(&entry.media_type));
        let listed = entries.map(|mut entry| (entry.digest, entry.annotations.remove(REF_NAME)));
        let is_signature = |tag: &String| signed_by_tag(tag).is_some();
        let listed = listed.filter(|(_, tag)| !tag.as_ref().is_some_and(is_signature));
        Ok(listed.collect())
    }

    pub(crate) fn read_referrers(&self, subject: &Digest) -> Outcome<Vec<Descriptor>> {
        let mut found = BTreeMap::new();
        for entry in self.read_index()?.descriptors()? {
            // A package refers to nothing, and there are many.
            let is_package = entry.artifact_type.as_deref() == Some(ARTIFACT_TYPE);
            if is_package || !is_manifest(&entry.media_type) {
                continue;
            }
            let document = match self.document(&entry.digest) {
                Err(Problem::Missing { .. }) => continue,
                document => document?,
            };
            let refers = document.subject.as_ref().map(|it| it.digest) == Some(*subject);
            if refers {
                found.insert(document.digest, document.descriptor());
            }
        }
        Ok(found.into_values().collect())
    }
}
