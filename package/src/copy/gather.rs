//! Everything that belongs to what is copied.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use placet_model::Digest;

use super::{CopyError, Place};
use crate::document::{Document, is_manifest};
use crate::error::Problem;
use crate::manifest::Descriptor;
use crate::reference::Selector;
use crate::registry::AT_ONCE;
use crate::trust::simple;

/// How a manifest belongs to what is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is what was named.
    Root,
    /// It is a part of an index.
    Part,
    /// It refers to something.
    Referrer,
    /// It has the signatures of this manifest, and a tag that says so.
    Signatures(Digest),
}

pub(crate) type Gathered = (Document, Role);

/// More manifests than the largest composite has.
const DOCUMENTS_MOST: usize = 5_000;
/// Their bytes, which are held in memory.
const BYTES_MOST: usize = 256 << 20;

/// What has been found so far, parts before what they are parts of.
#[derive(Default)]
struct Finds {
    seen: BTreeSet<Digest>,
    documents: Vec<Gathered>,
    bytes: usize,
}

impl Place<'_> {
    /// Reads the manifests of everything that belongs to `root`, in the order in which they are
    /// stored.
    pub(crate) async fn gather(
        self,
        root: Document,
        referrers: bool,
    ) -> Result<Vec<Gathered>, CopyError> {
        let mut finds = Finds::default();
        finds.seen.insert(root.digest);
        self.add(root, Role::Root, &mut finds).await?;
        let mut done = 0;
        while referrers && done < finds.documents.len() {
            let subjects = finds.documents[done..].iter().map(|(it, _)| it.digest);
            let subjects: Vec<Digest> = subjects.collect();
            done = finds.documents.len();
            for referrer in self.referrers_to(&subjects, &mut finds.seen).await? {
                self.add(referrer, Role::Referrer, &mut finds).await?;
            }
            for (subject, signatures) in self.signatures_of(&subjects).await? {
                if finds.seen.insert(signatures.digest) {
                    let role = Role::Signatures(subject);
                    self.add(signatures, role, &mut finds).await?;
                }
            }
        }
        Ok(finds.documents)
    }

    async fn add(self, document: Document, role: Role, finds: &mut Finds) -> Result<(), CopyError> {
        let parts = document.children.iter();
        let parts: Vec<_> = parts
            .filter(|part| is_manifest(&part.media_type) && finds.seen.insert(part.digest))
            .cloned()
            .collect();
        for part in self.documents(&parts).await? {
            Box::pin(self.add(part, Role::Part, finds)).await?;
        }
        finds.bytes += document.bytes.len();
        if finds.documents.len() >= DOCUMENTS_MOST || finds.bytes > BYTES_MOST {
            let why = format!(
                "more than {DOCUMENTS_MOST} manifests or {BYTES_MOST} bytes of them belong to it, so that it has to be split"
            );
            let what = "the manifest";
            return Err(self.error(Problem::Malformed { what, why }.into()));
        }
        finds.documents.push((document, role));
        Ok(())
    }

    /// Reads manifests, several at once.
    async fn documents(self, wanted: &[Descriptor]) -> Result<Vec<Document>, CopyError> {
        let reads: Vec<_> = wanted
            .iter()
            .map(|part| async move { self.document(&Selector::Digest(part.digest)).await })
            .collect();
        let read = stream::iter(reads).buffered(AT_ONCE);
        read.try_collect().await
    }

    /// What refers to `subjects` and was not seen.
    async fn referrers_to(
        self,
        subjects: &[Digest],
        seen: &mut BTreeSet<Digest>,
    ) -> Result<Vec<Document>, CopyError> {
        let listed = self.referrers(subjects).await?;
        let mut found = Vec::new();
        for (subject, entry) in listed {
            if !seen.insert(entry.digest) {
                continue;
            }
            let document = match self.document(&Selector::Digest(entry.digest)).await {
                // A list under a tag may be older than what it lists.
                Err(error) if error.is_absence() => continue,
                document => document?,
            };
            let refers_to = document.subject.as_ref().map(|it| it.digest);
            if refers_to != Some(subject) {
                let why = format!(
                    "{} is listed as referring to {subject}, and does not",
                    entry.digest
                );
                let what = "the list of referrers";
                return Err(self.error(Problem::Malformed { what, why }.into()));
            }
            found.push(document);
        }
        Ok(found)
    }

    /// Signatures that stand under a tag made of the digest, as older versions of cosign keep them.
    async fn signatures_of(
        self,
        subjects: &[Digest],
    ) -> Result<Vec<(Digest, Document)>, CopyError> {
        let looks: Vec<_> = subjects
            .iter()
            .map(|subject| async move {
                let tag = Selector::Tag(simple::tag(subject));
                match self.document(&tag).await {
                    Err(error) if error.is_absence() => Ok(None),
                    document => document.map(|document| Some((*subject, document))),
                }
            })
            .collect();
        let looked: Vec<_> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        Ok(looked.into_iter().flatten().collect())
    }
}
