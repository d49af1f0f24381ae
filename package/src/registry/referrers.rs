//! What refers to a package: signatures, bills of materials, provenance.
//!
//! A registry that knows nothing of referrers keeps an index under a tag made of the digest that is
//! referred to; whoever adds a referrer keeps that index.

use placet_model::{Digest, canonical_json};
use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use serde_json::{Map, Value, json};

use super::client::Registry;
use super::error::{Fault, Outcome, RegistryError};
use super::token::Scope;
use super::{RegistryReference, answer};
use crate::document::Document;
use crate::manifest::{Descriptor, IMAGE_INDEX, MANIFEST_MAX};
use crate::reference::Selector;

const WHAT: &str = "the list of referrers";
/// The registry says with it that it keeps the list itself.
const SUBJECT: &str = "oci-subject";

impl Registry {
    /// What refers to the manifest `digest`: type and digest of each.
    ///
    /// # Errors
    ///
    /// The registry cannot be asked.
    pub async fn referrers(
        &self,
        reference: &RegistryReference,
        digest: &Digest,
    ) -> Result<Vec<(String, Digest)>, RegistryError> {
        let read = self.read_referrers(reference, digest).await;
        let read = read.map_err(|fault| RegistryError::new(reference, fault))?;
        let typed = read.into_iter().map(|entry| {
            let kind = entry.artifact_type.unwrap_or(entry.media_type);
            (kind, entry.digest)
        });
        Ok(typed.collect())
    }

    pub(crate) async fn read_referrers(
        &self,
        reference: &RegistryReference,
        digest: &Digest,
    ) -> Outcome<Vec<Descriptor>> {
        let url = self.url(&reference.repository, &format!("referrers/{digest}"))?;
        let scope = Scope::pull(&reference.repository);
        let answer = self
            .ask(&scope, WHAT, |http| {
                http.get(url.clone()).header(ACCEPT, IMAGE_INDEX)
            })
            .await?;
        if answer.status() == StatusCode::NOT_FOUND {
            let index = self.fallback(reference, digest).await?;
            return descriptors(&index);
        }
        let answer = answer::expect(answer, &[StatusCode::OK], WHAT).await?;
        let body = self.body(answer, MANIFEST_MAX, WHAT).await?;
        let index: Map<String, Value> = crate::manifest::parse(&body, WHAT)?;
        descriptors(&index)
    }

    /// The index under the tag that stands in for the list; an empty one where there is none.
    async fn fallback(
        &self,
        reference: &RegistryReference,
        digest: &Digest,
    ) -> Outcome<Map<String, Value>> {
        match self.manifest(&reference.with(tag_of(digest))).await {
            Err(Fault::NotFound(_)) => Ok(Map::from_iter([
                ("schemaVersion".to_owned(), json!(2)),
                ("mediaType".to_owned(), json!(IMAGE_INDEX)),
                ("manifests".to_owned(), json!([])),
            ])),
            found => Ok(crate::manifest::parse(&found?.bytes, WHAT)?),
        }
    }

    /// Stores a manifest or an index. Where it refers to another one and the registry keeps no list
    /// of such, the list under the other one's tag is kept.
    pub(crate) async fn send_document(
        &self,
        reference: &RegistryReference,
        document: &Document,
    ) -> Outcome<()> {
        let sent = self.send_manifest(reference, &document.media_type, &document.bytes);
        let is_kept = sent.await?.contains_key(SUBJECT);
        match &document.subject {
            Some(subject) if !is_kept => {
                let entry = document.descriptor();
                self.add_to_fallback(reference, &subject.digest, &entry)
                    .await
            }
            _ => Ok(()),
        }
    }

    async fn add_to_fallback(
        &self,
        reference: &RegistryReference,
        subject: &Digest,
        entry: &Descriptor,
    ) -> Outcome<()> {
        let mut index = self.fallback(reference, subject).await?;
        let mut entries = descriptors(&index)?;
        if entries.iter().any(|known| known.digest == entry.digest) {
            return Ok(());
        }
        entries.push(entry.clone());
        index.insert("manifests".to_owned(), json!(entries));
        let index = canonical_json(&index);
        let place = reference.with(tag_of(subject));
        self.send_manifest(&place, IMAGE_INDEX, &index).await?;
        Ok(())
    }
}

/// True for tags under which such lists stand.
pub(super) fn is_fallback(tag: &str) -> bool {
    let digits = tag.strip_prefix("sha256-");
    digits.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|it| it.is_ascii_hexdigit()))
}

pub(super) fn tag_of(digest: &Digest) -> Selector {
    Selector::Tag(digest.to_string().replace(':', "-"))
}

fn descriptors(index: &Map<String, Value>) -> Outcome<Vec<Descriptor>> {
    let entries = index.get("manifests").cloned().unwrap_or_else(|| json!([]));
    let entries = serde_json::from_value(entries);
    entries.map_err(|error| Fault::answer(WHAT, error.to_string()))
}
