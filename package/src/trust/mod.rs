//! Who signed a package, and what else was signed about it.
//!
//! A signature is an in-toto statement about the digest of the package's manifest, in a DSSE envelope
//! in a Sigstore bundle that refers to the manifest: what `cosign sign` writes and `cosign verify
//! --key` reads. Bills of materials and provenance are signed in the same way. Signatures of older
//! versions of cosign, a payload of its own under the tag `sha256-….sig`, count as well.
//!
//! **Invariant: only bytes that a given key has signed are believed.** The hint that a bundle gives
//! of its key, its annotations and its media types decide at most which key is tried.

mod attachment;
mod bundle;
pub(crate) mod simple;
mod statement;

use std::fmt;

use placet_model::{Digest, PublicKey, visible};

pub(crate) use attachment::ATTACHED_MOST;
pub use attachment::{Attached, Attachment};
pub use bundle::{BUNDLE_TYPE, Bundle};
pub use simple::SimpleSignature;
pub use statement::{SIGNATURE_PREDICATE, STATEMENT_TYPE, Statement};

/// Something that may be a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A document that should be a Sigstore bundle.
    Bundle(Vec<u8>),
    /// A payload with a signature beside it, as older versions of cosign keep them.
    Simple(SimpleSignature),
    /// Something that is listed and cannot be read, and why.
    Unreadable(String),
}

/// What a piece of evidence came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What the statement says of the package ([`SIGNATURE_PREDICATE`] where it is a signature);
    /// `None` where nobody vouches for what it says.
    pub predicate: Option<String>,
    /// The key that has signed it, or why it does not count.
    pub outcome: Result<Digest, Objection>,
}

/// Why a piece of evidence does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// By another key.
    #[error("the key {} of a signature is not listed", .0.short())]
    Unlisted(Digest),
    /// By nobody who is known; it does not say by whom.
    #[error("a signature is by none of the listed keys")]
    Unknown,
    /// Not what the key has signed.
    #[error("a signature that names the key {} is not by it: it was tampered with", .0.short())]
    Tampered(Digest),
    /// For something else.
    #[error("a signature by the key {} is for something else, {}", key.short(), visible(subject))]
    OtherSubject {
        /// The key that has signed.
        key: Digest,
        /// What it has signed.
        subject: String,
    },
    /// By a certificate.
    #[error("a signature is by a certificate, and not by a key that could be listed")]
    Certificate,
    /// No signature at all.
    #[error("a signature cannot be read: {0}")]
    Damaged(String),
}

/// A package that no listed key has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    /// Digest of its manifest.
    pub package: Digest,
    /// The keys that are listed.
    pub keys: Vec<Digest>,
    /// Why what is there does not count; empty where there is nothing.
    pub objections: Vec<Objection>,
}

/// Objections that are told; more of them help nobody.
const TOLD: usize = 3;

impl fmt::Display for Unsigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(Digest::short).collect();
        write!(
            f,
            "{} is not signed by a listed key ({}): ",
            self.package,
            keys.join(", ")
        )?;
        if self.objections.is_empty() {
            return f.write_str("it has no signature; make one with `placet package sign`");
        }
        let told = self.objections.iter().take(TOLD).map(ToString::to_string);
        f.write_str(&told.collect::<Vec<_>>().join("; "))?;
        match self.objections.len().saturating_sub(TOLD) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for Unsigned {}

/// The key among `keys` that has signed the package with this digest.
///
/// # Errors
///
/// None of them has.
pub fn verify(
    package: &Digest,
    evidence: &[Evidence],
    keys: &[PublicKey],
) -> Result<Digest, Unsigned> {
    let mut objections = Vec::new();
    for finding in examine(package, evidence, keys) {
        match finding.outcome {
            Ok(key) if finding.predicate.as_deref() == Some(SIGNATURE_PREDICATE) => {
                return Ok(key);
            }
            // A statement about how a package was made does not say that it may run.
            Ok(_) => {}
            Err(objection) => objections.push(objection),
        }
    }
    objections.dedup();
    Err(Unsigned {
        package: *package,
        keys: keys.iter().map(PublicKey::id).collect(),
        objections,
    })
}

/// What each piece of evidence comes to for the package with this digest, in their order.
pub fn examine(package: &Digest, evidence: &[Evidence], keys: &[PublicKey]) -> Vec<Finding> {
    let found = evidence.iter().map(|evidence| match evidence {
        Evidence::Bundle(bytes) => bundle(package, bytes, keys),
        Evidence::Simple(signature) => {
            let key = signature.verify(package, keys)?;
            Ok((SIGNATURE_PREDICATE.to_owned(), key))
        }
        Evidence::Unreadable(why) => Err(Objection::Damaged(why.clone())),
    });
    let findings = found.map(|found| match found {
        Ok((predicate, key)) => Finding {
            predicate: Some(predicate),
            outcome: Ok(key),
        },
        Err(objection) => Finding {
            predicate: None,
            outcome: Err(objection),
        },
    });
    findings.collect()
}

fn bundle(
    package: &Digest,
    bytes: &[u8],
    keys: &[PublicKey],
) -> Result<(String, Digest), Objection> {
    let bundle = Bundle::read(bytes)?;
    let key = bundle.verify(keys)?;
    let statement = Statement::read(bundle.payload())?;
    if statement.is_about(package) {
        return Ok((statement.predicate_type, key));
    }
    Err(Objection::OtherSubject {
        key,
        subject: statement.subjects(),
    })
}

#[cfg(test)]
mod tests;
