//! Signatures as older versions of cosign keep them: a small document that names the image, and its
//! signature in an annotation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_model::{Digest, PublicKey};
use serde::Deserialize;

use super::Objection;
use super::bundle::damaged;

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
