//! Public keys that packages are signed with.

use std::fmt;
use std::str::FromStr;

use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use p256::pkcs8::{DecodePublicKey as _, Document, EncodePublicKey as _, LineEnding};

use crate::Digest;

/// A public key for ECDSA on the curve P-256, written as PEM (`BEGIN PUBLIC KEY`).
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    id: Digest,
    pem: String,
}

/// A text that is no public key that packages are verified with, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM.
    #[error(
        "it is no public key in PEM, which begins with `-----BEGIN PUBLIC KEY-----`; `placet package key generate` writes one"
    )]
    NotPem,
    /// The other half of the pair.
    #[error(
        "it is a private key; give the public one, and make a new pair if others may have read this one"
    )]
    Private,
    /// A certificate.
    #[error(
        "it is a certificate, whose dates and authority nothing here would check; give the key in it: openssl x509 -pubkey -noout"
    )]
    Certificate,
    /// Something else in PEM.
    #[error("it holds {0}, and not a public key in PEM")]
    Label(String),
    /// More than one block.
    #[error("it holds more than one key; give each key by itself")]
    Several,
    /// A key of another kind.
    #[error("it is a key for {0}, and packages are signed with ECDSA on the curve P-256")]
    Algorithm(String),
    /// No key, though it says so.
    #[error("it is damaged: what it encodes is no public key")]
    Damaged,
}

impl PublicKey {
    /// The key that identifies: SHA-256 of its DER form.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// True if `signature`, in DER, is this key's for `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = Signature::from_der(signature);
        signature.is_ok_and(|signature| self.key.verify(message, &signature).is_ok())
    }

    /// The key as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }
}

impl From<VerifyingKey> for PublicKey {
    fn from(key: VerifyingKey) -> Self {
        const WHY: &str = "a point of the curve can be written";
        let der = key.to_public_key_der().expect(WHY);
        Self {
            key,
            id: Digest::of(der.as_bytes()),
            pem: key.to_public_key_pem(LineEnding::LF).expect(WHY),
        }
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        match text.matches("-----BEGIN ").count() {
            0 => return Err(KeyError::NotPem),
            1 => {}
            _ => return Err(KeyError::Several),
        }
        check_label(text)?;
        let (_, document) = Document::from_pem(text).map_err(|_| KeyError::Damaged)?;
        let info = SubjectPublicKeyInfoRef::try_from(document.as_bytes());
        check_algorithm(&info.map_err(|_| KeyError::Damaged)?.algorithm)?;
        let key = VerifyingKey::from_public_key_der(document.as_bytes());
        Ok(key.map_err(|_| KeyError::Damaged)?.into())
    }
}

fn check_label(text: &str) -> Result<(), KeyError> {
    let label = text.split_once("-----BEGIN ");
    let label = label.and_then(|(_, rest)| rest.split_once("-----"));
    match label.map_or("", |(label, _)| label) {
        "PUBLIC KEY" => Ok(()),
        "CERTIFICATE" => Err(KeyError::Certificate),
        label if label.ends_with("PRIVATE KEY") => Err(KeyError::Private),
        label => Err(KeyError::Label(format!("`{}`", crate::visible(label)))),
    }
}

/// The object identifiers of other kinds of keys that people have, for a better answer than none.
const ALGORITHMS: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.132.0.10", "ECDSA on the curve secp256k1"),
    ("1.3.132.0.34", "ECDSA on the curve P-384"),
    ("1.3.132.0.35", "ECDSA on the curve P-521"),
];
const P256: &str = "1.2.840.10045.3.1.7";

fn check_algorithm(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<(), KeyError> {
    let curve = algorithm.parameters_oid().ok();
    let kind = curve.unwrap_or(algorithm.oid).to_string();
    if kind == P256 {
        return Ok(());
    }
    let known = ALGORITHMS.iter().find(|(oid, _)| *oid == kind);
    let name = known.map_or_else(
        || format!("algorithm {kind}"),
        |(_, name)| (*name).to_owned(),
    );
    Err(KeyError::Algorithm(name))
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYP7UuiVanTHJYet0xjVtaMBJuJI7
Yfps5mliLmDyn7Z5A/4QCLi8maQa6elWKLxk8vGyDC1+n1F3o8KU1EYimQ==
-----END PUBLIC KEY-----
";
    const P384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEC1uWSXj2czCDwMTLWV5BFmwxdM6PX9p+
Pk9Yf9rIf374m5XP1U8q79dBhLSIuaojsvOT39UUcPJROSD1FqYLued0rXiooIii
1D3jaW6pmGVJFhodzC31cy5sfOYotrzF
-----END PUBLIC KEY-----
";

    #[test]
    fn a_key_is_read_written_and_told_by_its_digest() {
        let key: PublicKey = KEY.parse().unwrap();
        assert_eq!(key.pem(), KEY);
        let with_spaces: PublicKey = format!("\n{KEY}\n").replace('\n', "\r\n").parse().unwrap();
        assert_eq!(with_spaces.id(), key.id());
        assert!(!key.verifies(b"text", b"no signature"));
    }

    #[test]
    fn what_is_no_such_key_is_refused_with_what_it_is() {
        let mut bad = vec![
            ("nonsense".to_owned(), KeyError::NotPem),
            (String::new(), KeyError::NotPem),
            (format!("{KEY}{KEY}"), KeyError::Several),
            (
                P384.to_owned(),
                KeyError::Algorithm("ECDSA on the curve P-384".to_owned()),
            ),
            // A point that is not on the curve.
            (KEY.replace("YimQ==", "YimA=="), KeyError::Damaged),
            (KEY.replace("Yfps", "Y"), KeyError::Damaged),
        ];
        for (label, error) in [
            ("CERTIFICATE", KeyError::Certificate),
            ("EC PRIVATE KEY", KeyError::Private),
            ("ENCRYPTED SIGSTORE PRIVATE KEY", KeyError::Private),
            (
                "PGP SIGNATURE",
                KeyError::Label("`PGP SIGNATURE`".to_owned()),
            ),
        ] {
            bad.push((KEY.replace("PUBLIC KEY", label), error));
        }
        for (text, error) in bad {
            assert_eq!(text.parse::<PublicKey>(), Err(error), "{text}");
        }
    }
}
