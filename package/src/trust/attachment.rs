//! Documents that refer to a package.

use std::collections::BTreeMap;

use placet_model::{Digest, canonical_json};
use serde::Deserialize;
use serde_json::json;

use super::bundle::{BUNDLE_TYPE, Bundle};
use crate::document::Document;
use crate::error::Outcome;
use crate::manifest::{self, Descriptor, EMPTY, EMPTY_TYPE, IMAGE_MANIFEST, MANIFEST_MAX};

/// A document to be stored so that it refers to a package. The same document has the same digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// What the document is.
    pub artifact_type: String,
    /// What is told of it without reading it.
    pub annotations: BTreeMap<String, String>,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// A document that refers to a package, as it was found. Nothing that it says of itself is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Digest of its manifest.
    pub digest: Digest,
    /// What the document is.
    pub artifact_type: String,
    /// Where it is a bundle, what the statement in it says of the package.
    pub predicate: Option<String>,
    /// Digest and size of its bytes.
    pub content: (Digest, u64),
}

/// Documents that are looked at of one package; a package that has more has another problem.
pub(crate) const ATTACHED_MOST: usize = 64;
/// What cosign tells of bundles.
const CONTENT: &str = "dev.sigstore.bundle.content";
const PREDICATE: &str = "dev.sigstore.bundle.predicateType";
/// What bundles of every version begin with.
const ANY_BUNDLE: &str = "application/vnd.dev.sigstore.bundle";

impl Attachment {
    /// A document by itself.
    pub fn new(artifact_type: &str, content: Vec<u8>) -> Self {
        Self {
            artifact_type: artifact_type.to_owned(),
            annotations: BTreeMap::new(),
            content,
        }
    }

    /// A signed statement that says `predicate` of the package.
    pub fn bundle(bundle: &Bundle, predicate: &str) -> Self {
        let told = [(CONTENT, "dsse-envelope"), (PREDICATE, predicate)];
        let told = told.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            annotations: BTreeMap::from(told),
            ..Self::new(BUNDLE_TYPE, bundle.write())
        }
    }

    /// The blobs that its manifest holds.
    pub(crate) fn blobs(&self) -> [&[u8]; 2] {
        [EMPTY, &self.content]
    }

    /// Its manifest.
    pub(crate) fn document(&self, subject: &Descriptor) -> Outcome<Document> {
        let described = |media_type: &str, bytes: &[u8]| {
            manifest::descriptor(media_type, Digest::of(bytes), bytes.len() as u64)
        };
        let mut fields = json!({
            "schemaVersion": 2,
            "mediaType": IMAGE_MANIFEST,
            "artifactType": self.artifact_type,
            "config": described(EMPTY_TYPE, EMPTY),
            "layers": [described(&self.artifact_type, &self.content)],
            "subject": subject,
        });
        if !self.annotations.is_empty() {
            fields["annotations"] = json!(self.annotations);
        }
        Document::read(canonical_json(&fields))
    }
}

#[derive(Deserialize)]
struct Layers {
    layers: Vec<Descriptor>,
}

impl Attached {
    /// What `document` holds, if it is one document that refers to `subject` and is not too large.
    pub(crate) fn of(document: &Document, subject: &Digest) -> Option<Self> {
        let refers_to = document.subject.as_ref().map(|it| it.digest);
        let layers = layers(document);
        match layers.as_slice() {
            [layer] if refers_to == Some(*subject) && layer.size <= MANIFEST_MAX => Some(Self {
                digest: document.digest,
                artifact_type: document.artifact_type.clone().unwrap_or_default(),
                predicate: document.annotations.get(PREDICATE).cloned(),
                content: (layer.digest, layer.size),
            }),
            _ => None,
        }
    }

    /// True if it says that it is a Sigstore bundle.
    pub fn is_bundle(&self) -> bool {
        self.artifact_type.starts_with(ANY_BUNDLE)
    }
}

/// The layers of a manifest, in its order.
pub(crate) fn layers(document: &Document) -> Vec<Descriptor> {
    let layers = serde_json::from_slice(&document.bytes);
    layers.map_or_else(|_| Vec::new(), |Layers { layers }| layers)
}
