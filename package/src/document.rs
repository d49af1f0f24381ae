//! Manifests and indexes of any kind, as far as copying and removing have to know them.

use std::collections::BTreeMap;

use placet_model::Digest;
use serde::Deserialize;

use crate::error::{Outcome, Problem};
use crate::manifest::{
    self, DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, IMAGE_INDEX, IMAGE_MANIFEST,
};

/// A manifest or an index, and what it points at.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
    /// What the artifact is; of an image, the media type of its config.
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Option<Descriptor>,
    /// Digest and size of everything that is stored as a blob, the config too.
    pub(crate) blobs: BTreeMap<Digest, u64>,
    /// The manifests of an index.
    pub(crate) children: Vec<Descriptor>,
    /// The manifest that this one refers to.
    pub(crate) subject: Option<Descriptor>,
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

const WHAT: &str = "the manifest";

impl Document {
    /// Reads the bytes of a manifest or an index.
    pub(crate) fn read(bytes: Vec<u8>) -> Outcome<Self> {
        let fields: Fields = manifest::parse(&bytes, WHAT)?;
        let is_index = fields.config.is_none();
        let usual = if is_index {
            IMAGE_INDEX
        } else {
            IMAGE_MANIFEST
        };
        let media_type = fields.media_type.unwrap_or_else(|| usual.to_owned());
        if is_index && !fields.layers.is_empty() {
            let why = "it has layers and no config".to_owned();
            return Err(Problem::Malformed { what: WHAT, why });
        }
        let config_type = fields.config.as_ref().map(|it| it.media_type.clone());
        let blobs = fields.config.iter().chain(&fields.layers);
        Ok(Self {
            digest: Digest::of(&bytes),
            media_type,
            artifact_type: fields.artifact_type.or(config_type),
            blobs: blobs.map(|blob| (blob.digest, blob.size)).collect(),
            config: fields.config,
            children: fields.manifests,
            subject: fields.subject,
            annotations: fields.annotations,
            bytes,
        })
    }

    /// How others point at it.
    pub(crate) fn descriptor(&self) -> Descriptor {
        let size = self.bytes.len() as u64;
        let mut descriptor = manifest::descriptor(&self.media_type, self.digest, size);
        descriptor.artifact_type.clone_from(&self.artifact_type);
        descriptor
    }

    pub(crate) fn is(&self, artifact_type: &str) -> bool {
        self.artifact_type.as_deref() == Some(artifact_type)
    }
}

/// True for what is stored as a manifest, and not as a blob.
pub(crate) fn is_manifest(media_type: &str) -> bool {
    const TYPES: [&str; 4] = [IMAGE_MANIFEST, IMAGE_INDEX, DOCKER_MANIFEST, DOCKER_INDEX];
    TYPES.contains(&media_type)
}
