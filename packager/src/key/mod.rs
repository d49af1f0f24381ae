//! Private keys that packages are signed with.
//!
//! A key is kept as PKCS#8, encrypted with a passphrase, in PEM: what OpenSSL reads too. Keys that
//! `cosign generate-key-pair` made, and keys that are not encrypted, are read as well.

mod sealed;

use p256::SecretKey;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey as Key};
use p256::elliptic_curve::Generate as _;
use pkcs8::pkcs5::pbes2;
use pkcs8::{
    DecodePrivateKey as _, Document, EncodePrivateKey as _, EncryptedPrivateKeyInfoRef, LineEnding,
    PrivateKeyInfoRef,
};
use placet_model::PublicKey;
use rand::Rng as _;
use zeroize::Zeroizing;

/// A passphrase, wiped from memory when it is no longer needed.
pub type Passphrase = Zeroizing<String>;

/// A private key for ECDSA on the curve P-256. Printing it shows the public key alone.
pub struct SigningKey(Key);

/// A text that is no private key, or one that does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// No PEM.
    #[error(
        "it is no private key in PEM, which begins with `-----BEGIN ENCRYPTED PRIVATE KEY-----`; `placet package key generate` makes one"
    )]
    NotPem,
    /// The other half of the pair.
    #[error("it is a public key, which verifies; signing needs the private one")]
    Public,
    /// Something else in PEM.
    #[error("it holds `{0}`, and not a private key")]
    Label(String),
    /// It does not open.
    #[error("the passphrase is wrong, or the key is damaged")]
    Closed,
    /// What it holds is no key of the right kind.
    #[error("it is damaged, or no key for ECDSA on the curve P-256")]
    Damaged,
    /// It is encrypted in a way that is not understood.
    #[error(
        "it is encrypted in a way that is not known here; convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc"
    )]
    Cipher,
}

const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
/// What cosign writes, and what it wrote before.
const SEALED: [&str; 2] = [
    "ENCRYPTED SIGSTORE PRIVATE KEY",
    "ENCRYPTED COSIGN PRIVATE KEY",
];

impl SigningKey {
    /// A new key, of the system's randomness.
    pub fn generate() -> Self {
        Self(Key::generate_from_rng(&mut rand::rng()))
    }

    /// True if the key in `pem` opens with a passphrase alone.
    pub fn is_encrypted(pem: &str) -> bool {
        label(pem).is_some_and(|label| label == ENCRYPTED || SEALED.contains(&label))
    }

    /// Reads a key; the passphrase counts where the key is encrypted.
    ///
    /// # Errors
    ///
    /// It is no key, or the passphrase is not its.
    pub fn from_pem(pem: &str, passphrase: &Passphrase) -> Result<Self, SigningKeyError> {
        let pem = pem.trim();
        let key = match label(pem).ok_or(SigningKeyError::NotPem)? {
            ENCRYPTED => {
                let (_, document) =
                    Document::from_pem(pem).map_err(|_| SigningKeyError::Damaged)?;
                decrypted(&document, passphrase)?
            }
            label if SEALED.contains(&label) => {
                let opened = sealed::open(&pem_bytes(pem)?, passphrase)?;
                Key::from_pkcs8_der(&opened).map_err(|_| SigningKeyError::Damaged)?
            }
            "PRIVATE KEY" => Key::from_pkcs8_pem(pem).map_err(|_| SigningKeyError::Damaged)?,
            "EC PRIVATE KEY" => {
                let key = SecretKey::from_sec1_pem(pem);
                key.map_err(|_| SigningKeyError::Damaged)?.into()
            }
            "PUBLIC KEY" => return Err(SigningKeyError::Public),
            other => {
                let shown = placet_model::visible(other).to_string();
                return Err(SigningKeyError::Label(shown));
            }
        };
        Ok(Self(key))
    }

    /// The key in PEM, encrypted with a passphrase.
    ///
    /// # Panics
    ///
    /// Never: a key and its parameters are of the sizes that the format has.
    pub fn to_pem(&self, passphrase: &Passphrase) -> Zeroizing<String> {
        const WHY: &str = "a key and its parameters are of the sizes that the format has";
        let document = self.0.to_pkcs8_der().expect(WHY);
        let key = PrivateKeyInfoRef::try_from(document.as_bytes()).expect(WHY);
        let encrypted = key.encrypt_with_params(parameters(), passphrase.as_bytes());
        encrypted
            .and_then(|key| Ok(key.to_pem(ENCRYPTED, LineEnding::LF)?))
            .expect(WHY)
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        PublicKey::from(*self.0.verifying_key())
    }

    /// The signature of `bytes`, in DER; the same for the same bytes.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let signature: Signature = self.0.sign(bytes);
        signature.to_der().as_bytes().to_vec()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}

/// What a text in PEM says that it holds.
fn label(pem: &str) -> Option<&str> {
    let (_, rest) = pem.split_once("-----BEGIN ")?;
    rest.split_once("-----").map(|(label, _)| label)
}

/// The bytes of a block whose content is no DER.
fn pem_bytes(text: &str) -> Result<Vec<u8>, SigningKeyError> {
    let block = pem::parse(text);
    Ok(block.map_err(|_| SigningKeyError::Damaged)?.into_contents())
}

fn decrypted(document: &Document, passphrase: &Passphrase) -> Result<Key, SigningKeyError> {
    let key = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes());
    let key = key.map_err(|_| SigningKeyError::Cipher)?;
    let opened = key.decrypt(passphrase.as_bytes());
    let opened = opened.map_err(|_| SigningKeyError::Closed)?;
    Key::from_pkcs8_der(opened.as_bytes()).map_err(|_| SigningKeyError::Damaged)
}

/// Scrypt with 16 MiB, five times over, which OWASP counts as good as one time with 128 MiB and which
/// stays below what OpenSSL is willing to use.
fn parameters() -> pbes2::Parameters {
    let mut salt = [0; 16];
    let mut vector = [0; 16];
    rand::rng().fill_bytes(&mut salt);
    rand::rng().fill_bytes(&mut vector);
    let work = scrypt::Params::new(14, 8, 5).expect("small numbers");
    let parameters = pbes2::Parameters::generate_scrypt_aes256cbc(work, &salt, vector);
    parameters.expect("a salt of 16 bytes")
}

#[cfg(test)]
mod tests;
