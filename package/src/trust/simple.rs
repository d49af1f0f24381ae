//! Signatures as older versions of cosign keep them: a small document that names the image, and its
//! signature in an annotation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_model::{Digest, PublicKey};
use serde::Deserialize;

use crate::document::Document;
use crate::manifest::Descriptor;

use super::Objection;
use super::attachment::{ATTACHED_MOST, layers};
use super::bundle::damaged;

/// Media type of the payload.
const SIMPLE_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of the payload's layer that holds the signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// A payload is a few lines.
const PAYLOAD_MOST: u64 = 64 << 10;
/// What the payload says of itself.
const KIND: &str = "cosign container image signature";

/// A payload and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimpleSignature {
    /// What was signed.
    pub payload: Vec<u8>,
    /// The signature, DER in base64.
    pub signature: String,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

/// The tag under which the signatures of an image stand.
pub(crate) fn tag(image: &Digest) -> String {
    format!("sha256-{}.sig", image.hex())
}

/// The image whose signatures stand under such a tag.
pub(crate) fn signed_by_tag(tag: &str) -> Option<Digest> {
    let hex = tag.strip_prefix("sha256-")?.strip_suffix(".sig")?;
    format!("sha256:{hex}").parse().ok()
}

/// Where the payloads are that a manifest under such a tag holds, and their signatures.
pub(crate) fn signatures(document: &Document) -> Vec<(Descriptor, String)> {
    let layers = layers(document).into_iter().take(ATTACHED_MOST);
    let simple =
        layers.filter(|layer| layer.media_type == SIMPLE_TYPE && layer.size <= PAYLOAD_MOST);
    simple
        .filter_map(|mut layer| {
            let signature = layer.annotations.remove(SIGNATURE)?;
            Some((layer, signature))
        })
        .collect()
}

impl SimpleSignature {
    /// The key among `keys` that has signed this for the image with the digest `image`.
    pub(super) fn verify(&self, image: &Digest, keys: &[PublicKey]) -> Result<Digest, Objection> {
        let signature = STANDARD.decode(&self.signature);
        let signature = signature.map_err(|_| damaged("it is not written in base64"))?;
        let key = keys
            .iter()
            .find(|key| key.verifies(&self.payload, &signature));
        let key = key.ok_or(Objection::Unknown)?.id();
        let payload: Payload = serde_json::from_slice(&self.payload)
            .map_err(|_| damaged("what was signed names no image"))?;
        let Critical { image: named, kind } = payload.critical;
        if kind != KIND {
            return Err(damaged("what was signed is no signature of an image"));
        }
        if named.docker_manifest_digest == image.to_string() {
            return Ok(key);
        }
        let subject = named.docker_manifest_digest;
        Err(Objection::OtherSubject { key, subject })
    }
}
