//! Private keys as cosign keeps them: PKCS#8 in a box of `NaCl`, whose key scrypt makes of the passphrase.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Passphrase, SigningKeyError};

#[derive(Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Work,
    salt: String,
}

#[derive(Deserialize)]
struct Work {
    #[serde(rename = "N")]
    n: u32,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// The work that keys of cosign ask for; whatever asks for more is no such key.
const WORKS: std::ops::RangeInclusive<u32> = 15..=17;
const TAG: usize = 16;

/// What the box holds: a key in DER.
pub(super) fn open(
    sealed: &[u8],
    passphrase: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>, SigningKeyError> {
    let sealed: Sealed = serde_json::from_slice(sealed).map_err(|_| SigningKeyError::Damaged)?;
    let (nonce, bytes) = (decoded(&sealed.cipher.nonce)?, decoded(&sealed.ciphertext)?);
    let nonce: [u8; 24] = nonce.try_into().map_err(|_| SigningKeyError::Damaged)?;
    if sealed.cipher.name != "nacl/secretbox" {
        return Err(SigningKeyError::Cipher);
    }
    let key = sealed.kdf.key(passphrase)?;
    unbox(&key, &nonce, &bytes).ok_or(SigningKeyError::Closed)
}

impl Kdf {
    fn key(&self, passphrase: &Passphrase) -> Result<Zeroizing<[u8; 32]>, SigningKeyError> {
        let Work { n, r, p } = self.params;
        let is_known = n.is_power_of_two() && WORKS.contains(&n.ilog2()) && r == 8 && p == 1;
        if self.name != "scrypt" || !is_known {
            return Err(SigningKeyError::Cipher);
        }
        let log = u8::try_from(n.ilog2()).map_err(|_| SigningKeyError::Cipher)?;
        let work = scrypt::Params::new(log, r, p).map_err(|_| SigningKeyError::Cipher)?;
        let mut key = Zeroizing::new([0; 32]);
        let salt = decoded(&self.salt)?;
        scrypt::scrypt(passphrase.as_bytes(), &salt, &work, key.as_mut())
            .map_err(|_| SigningKeyError::Cipher)?;
        Ok(key)
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, SigningKeyError> {
    STANDARD.decode(text).map_err(|_| SigningKeyError::Damaged)
}

/// Opens a box of `NaCl` (`XSalsa20` and Poly1305): the first block of the key stream gives the key of the
/// tag, which stands before the text.
fn unbox(key: &[u8; 32], nonce: &[u8; 24], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (tag, text) = sealed.split_at_checked(TAG)?;
    let mut stream = XSalsa20::new(key.into(), nonce.into());
    let mut tag_key = Zeroizing::new([0; 32]);
    stream.apply_keystream(tag_key.as_mut());
    let found = Poly1305::new((&*tag_key).into()).compute_unpadded(text);
    // A key that was guessed is tried on this machine: there is no time to be learnt from.
    if found.as_slice() != tag {
        return None;
    }
    let mut text = Zeroizing::new(text.to_vec());
    stream.apply_keystream(&mut text);
    Some(text)
}
