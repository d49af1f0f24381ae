//! In-toto statements: something that is said of an artifact.

use std::collections::BTreeMap;

use placet_model::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Objection;
use super::bundle::damaged;

/// The type of statements.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The older type, whose fields are the same.
const STATEMENT_TYPE_0: &str = "https://in-toto.io/Statement/v0.1";
/// What a statement says that is a signature of the artifact and nothing more; cosign's word.
pub const SIGNATURE_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
/// Media type of statements, by themselves and in envelopes.
pub(super) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Something that is said of artifacts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    /// What is said.
    pub predicate_type: String,
    /// The words of it.
    #[serde(default)]
    pub predicate: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Subject {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    digest: BTreeMap<String, String>,
}

const SHA256: &str = "sha256";

impl Statement {
    /// Says of the artifact with the digest `subject` what `predicate` holds.
    pub fn new(subject: &Digest, predicate_type: &str, predicate: Value) -> Self {
        Self {
            kind: STATEMENT_TYPE.to_owned(),
            subject: vec![Subject {
                name: None,
                digest: BTreeMap::from([(SHA256.to_owned(), subject.hex())]),
            }],
            predicate_type: predicate_type.to_owned(),
            predicate,
        }
    }

    /// A signature of the artifact.
    pub fn signature(subject: &Digest) -> Self {
        Self::new(
            subject,
            SIGNATURE_PREDICATE,
            Value::Object(serde_json::Map::new()),
        )
    }

    /// Reads a statement.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn read(bytes: &[u8]) -> Result<Self, Objection> {
        let statement: Self = serde_json::from_slice(bytes)
            .map_err(|_| damaged("what was signed is no in-toto statement"))?;
        if statement.kind == STATEMENT_TYPE || statement.kind == STATEMENT_TYPE_0 {
            Ok(statement)
        } else {
            Err(damaged(
                "what was signed is a statement of an unknown version",
            ))
        }
    }

    /// The bytes of the statement.
    pub fn write(&self) -> Vec<u8> {
        placet_model::canonical_json(self)
    }

    /// True if it says something of the artifact with this digest.
    pub fn is_about(&self, artifact: &Digest) -> bool {
        let hex = artifact.hex();
        let mut digests = self
            .subject
            .iter()
            .map(|subject| subject.digest.get(SHA256));
        digests.any(|digest| digest == Some(&hex))
    }

    /// What it says something of, for people.
    pub(super) fn subjects(&self) -> String {
        let digests = self.subject.iter().flat_map(|subject| &subject.digest);
        let digests = digests.take(3).map(|(kind, hex)| format!("{kind}:{hex}"));
        digests.collect::<Vec<_>>().join(", ")
    }
}
