//! Public keys of ssh.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use placet_model::visible;
use ring::digest::{SHA256, digest};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey,
};

use super::wire::Wire;

/// A key of 16,384 bits has about 2,100 bytes.
const BLOB_MAX: usize = 4_096;

/// A public key, as ssh writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey(Vec<u8>);

/// A key taken apart.
enum Parts<'a> {
    Ed25519(&'a [u8]),
    Nistp256(&'a [u8]),
    Nistp384(&'a [u8]),
    Rsa {
        exponent: &'a [u8],
        modulus: &'a [u8],
    },
}

impl PublicKey {
    /// The key in `blob`, if it is of a kind that is carried out.
    pub(super) fn new(blob: &[u8]) -> Result<Self, String> {
        if blob.len() > BLOB_MAX {
            return Err(format!("its key has more than {BLOB_MAX} bytes"));
        }
        parts(blob).map(|_| Self(blob.to_vec()))
    }

    /// The key in a line of text: its kind and, in base64, its bytes.
    pub(super) fn from_text(kind: &str, text: &str) -> Result<Self, String> {
        if text.len() > BLOB_MAX * 2 {
            return Err(format!("its key has more than {BLOB_MAX} bytes"));
        }
        let blob = STANDARD
            .decode(text)
            .map_err(|_| "its key is not base64".to_owned())?;
        let key = Self::new(&blob)?;
        if key.kind() == kind {
            Ok(key)
        } else {
            Err(format!(
                "it says `{}`, and its key is of kind `{}`",
                visible(kind),
                key.kind()
            ))
        }
    }

    /// Its kind, as in `ssh-ed25519`.
    pub(super) fn kind(&self) -> &str {
        Wire::new(&self.0).text().unwrap_or_default()
    }

    /// Its fingerprint, `SHA256:…`, as `ssh-keygen -l` shows it.
    pub(super) fn fingerprint(&self) -> String {
        let hash = digest(&SHA256, &self.0);
        format!("SHA256:{}", STANDARD_NO_PAD.encode(hash))
    }

    /// Whether `signature`, in the encoding of ssh, is this key's over `message`.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.check(message, signature).is_some()
    }

    fn check(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        let mut wire = Wire::new(signature);
        let (algorithm, signature) = (wire.text()?, wire.string()?);
        wire.end()?;
        let verified = match (parts(&self.0).ok()?, algorithm) {
            (Parts::Ed25519(key), "ssh-ed25519") => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature)
            }
            (Parts::Nistp256(point), "ecdsa-sha2-nistp256") => {
                let fixed = fixed(signature, 32)?;
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, &fixed)
            }
            (Parts::Nistp384(point), "ecdsa-sha2-nistp384") => {
                let fixed = fixed(signature, 48)?;
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, &fixed)
            }
            (Parts::Rsa { exponent, modulus }, "rsa-sha2-256" | "rsa-sha2-512") => {
                let how = if algorithm == "rsa-sha2-256" {
                    &RSA_PKCS1_2048_8192_SHA256
                } else {
                    &RSA_PKCS1_2048_8192_SHA512
                };
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                key.verify(how, message, signature)
            }
            _ => return None,
        };
        verified.ok()
    }
}

/// The two numbers of an ECDSA signature, each in `width` bytes.
fn fixed(signature: &[u8], width: usize) -> Option<Vec<u8>> {
    let mut wire = Wire::new(signature);
    let numbers = [wire.integer()?, wire.integer()?];
    wire.end()?;
    let mut fixed = Vec::with_capacity(2 * width);
    for number in numbers {
        let zeros = width.checked_sub(number.len())?;
        fixed.extend(std::iter::repeat_n(0, zeros));
        fixed.extend_from_slice(number);
    }
    Some(fixed)
}

fn parts(blob: &[u8]) -> Result<Parts<'_>, String> {
    let garbled = || "its key is garbled".to_owned();
    let mut wire = Wire::new(blob);
    let kind = wire.text().ok_or_else(garbled)?;
    let parts = match kind {
        "ssh-ed25519" => wire.string().map(Parts::Ed25519),
        "ecdsa-sha2-nistp256" => point(&mut wire, "nistp256").map(Parts::Nistp256),
        "ecdsa-sha2-nistp384" => point(&mut wire, "nistp384").map(Parts::Nistp384),
        "ssh-rsa" => rsa(&mut wire),
        other => {
            return Err(format!(
                "its key is of kind `{}`, which is not carried out; use ed25519, ecdsa of 256 or 384 bits, or rsa",
                visible(other)
            ));
        }
    };
    let parts = parts.ok_or_else(garbled)?;
    wire.end().ok_or_else(garbled)?;
    Ok(parts)
}

fn point<'a>(wire: &mut Wire<'a>, curve: &str) -> Option<&'a [u8]> {
    (wire.text()? == curve).then(|| wire.string())?
}

fn rsa<'a>(wire: &mut Wire<'a>) -> Option<Parts<'a>> {
    let (exponent, modulus) = (wire.integer()?, wire.integer()?);
    Some(Parts::Rsa { exponent, modulus })
}
