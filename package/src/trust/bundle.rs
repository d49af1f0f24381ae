//! Sigstore bundles with a DSSE envelope, signed with a key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_model::{Digest, PublicKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Objection;
use super::statement::PAYLOAD_TYPE;

/// Media type of the bundles that are written; of those that are read, what comes before the version.
pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A payload and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    payload: Vec<u8>,
    payload_type: String,
    signature: Vec<u8>,
    /// The key that it says it is signed with, if it says so in a way that is understood.
    key: Option<Digest>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: String,
    verification_material: Material,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dsse_envelope: Option<Envelope>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<Hint>,
    #[serde(default, skip_serializing)]
    certificate: Option<Value>,
    #[serde(default, skip_serializing)]
    x509_certificate_chain: Option<Value>,
}

#[derive(Serialize, Deserialize)]
struct Hint {
    #[serde(default)]
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
struct Signature {
    sig: String,
}

impl Bundle {
    /// A statement signed by `sign`, which returns the DER signature by `key` of the bytes it is given.
    pub fn sign(payload: Vec<u8>, key: &PublicKey, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Self {
        let payload_type = PAYLOAD_TYPE.to_owned();
        Self {
            signature: sign(&encoding(&payload_type, &payload)),
            payload,
            payload_type,
            key: Some(key.id()),
        }
    }

    /// The bytes of the bundle; those of the same statement by the same key are the same.
    pub fn write(&self) -> Vec<u8> {
        let hint = self.key.map(|key| Hint {
            hint: STANDARD.encode(key.as_bytes()),
        });
        let document = Document {
            media_type: BUNDLE_TYPE.to_owned(),
            verification_material: Material {
                public_key: hint,
                ..Material::default()
            },
            dsse_envelope: Some(Envelope {
                payload: STANDARD.encode(&self.payload),
                payload_type: self.payload_type.clone(),
                signatures: vec![Signature {
                    sig: STANDARD.encode(&self.signature),
                }],
            }),
        };
        placet_model::canonical_json(&document)
    }

    /// Reads a bundle; nothing that it says was verified yet.
    ///
    /// # Errors
    ///
    /// It is no bundle with a signed statement, or it is signed with a certificate.
    pub fn read(bytes: &[u8]) -> Result<Self, Objection> {
        let document: Document = serde_json::from_slice(bytes).map_err(|error| {
            damaged(format!(
                "it is no Sigstore bundle, at line {}",
                error.line()
            ))
        })?;
        let material = document.verification_material;
        if material.certificate.is_some() || material.x509_certificate_chain.is_some() {
            return Err(Objection::Certificate);
        }
        let envelope = document
            .dsse_envelope
            .ok_or_else(|| damaged("the bundle holds no statement"))?;
        let [signature] = envelope.signatures.as_slice() else {
            return Err(damaged("the bundle does not have one signature"));
        };
        let bytes = |text: &str| {
            let bytes = STANDARD.decode(text);
            bytes.map_err(|_| damaged("the bundle is not written in base64"))
        };
        Ok(Self {
            payload: bytes(&envelope.payload)?,
            payload_type: envelope.payload_type,
            signature: bytes(&signature.sig)?,
            key: material.public_key.and_then(|key| key_of(&key.hint)),
        })
    }

    /// The key among `keys` that has signed the payload.
    ///
    /// # Errors
    ///
    /// None of them has.
    pub fn verify(&self, keys: &[PublicKey]) -> Result<Digest, Objection> {
        let signed = encoding(&self.payload_type, &self.payload);
        let is_by = |key: &&PublicKey| key.verifies(&signed, &self.signature);
        let key = match self.key {
            Some(named) => {
                let key = keys.iter().find(|key| key.id() == named);
                let key = key.ok_or(Objection::Unlisted(named))?;
                Some(key).filter(is_by).ok_or(Objection::Tampered(named))?
            }
            None => keys.iter().find(is_by).ok_or(Objection::Unknown)?,
        };
        if self.payload_type == PAYLOAD_TYPE {
            Ok(key.id())
        } else {
            Err(damaged("the bundle holds something else than a statement"))
        }
    }

    /// What was signed; to be believed after [`Bundle::verify`].
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The key that the bundle says it is signed with, if it says so in a way that is understood.
    pub fn key(&self) -> Option<Digest> {
        self.key
    }
}

/// What is signed of an envelope: the pre-authentication encoding of DSSE.
fn encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let (kind, size) = (payload_type.len(), payload.len());
    let mut bytes = format!("DSSEv1 {kind} {payload_type} {size} ").into_bytes();
    bytes.extend(payload);
    bytes
}

fn key_of(hint: &str) -> Option<Digest> {
    let bytes = STANDARD.decode(hint).ok()?;
    Some(Digest::from_bytes(bytes.try_into().ok()?))
}

pub(super) fn damaged(why: impl Into<String>) -> Objection {
    Objection::Damaged(why.into())
}
