//! Signatures as `ssh-keygen -Y sign` makes them (OpenSSH's `PROTOCOL.sshsig`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_model::visible;
use ring::digest::{SHA256, SHA512, digest};

use super::HOW;
use super::key::PublicKey;
use super::wire::{Wire, put};

const MAGIC: &[u8] = b"SSHSIG";
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// One by a key of 16,384 bits has about 6,000 characters.
const TEXT_MAX: usize = 16 << 10;

/// What git signs for.
const NAMESPACE: &str = "git";

#[derive(Debug)]
pub(super) struct Signature {
    pub(super) key: PublicKey,
    namespace: String,
    reserved: Vec<u8>,
    hash: Hash,
    value: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Hash {
    Sha256,
    Sha512,
}

impl Signature {
    /// Reads a signature from its text, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("its signature has more than {TEXT_MAX} characters"));
        }
        let text = text.trim();
        let inner = text
            .strip_prefix(BEGIN)
            .and_then(|rest| rest.strip_suffix(END));
        let inner = inner.ok_or_else(|| of_another_kind(text))?;
        let inner: String = inner.split_ascii_whitespace().collect();
        let garbled = || "its signature is garbled".to_owned();
        let blob = STANDARD.decode(inner).map_err(|_| garbled())?;
        let signature = Self::from_blob(&blob).ok_or_else(garbled)??;
        if signature.namespace == NAMESPACE {
            Ok(signature)
        } else {
            Err(format!(
                "its signature was made for `{}`, not for `{NAMESPACE}`; {HOW}",
                visible(&signature.namespace)
            ))
        }
    }

    /// Nothing where the encoding is not kept; why not, where the key is of no use.
    fn from_blob(blob: &[u8]) -> Option<Result<Self, String>> {
        let mut wire = Wire::new(blob);
        if wire.take(MAGIC.len())? != MAGIC || wire.number()? != 1 {
            return None;
        }
        let (key, namespace) = (wire.string()?, wire.text()?);
        let (reserved, hash, signature) = (wire.string()?, wire.text()?, wire.string()?);
        wire.end()?;
        let hash = match hash {
            "sha256" => Hash::Sha256,
            "sha512" => Hash::Sha512,
            _ => return None,
        };
        Some(PublicKey::new(key).map(|key| Self {
            key,
            namespace: namespace.to_owned(),
            reserved: reserved.to_vec(),
            hash,
            value: signature.to_vec(),
        }))
    }

    /// Whether it is over `payload`.
    pub(super) fn verify(&self, payload: &[u8]) -> Result<(), String> {
        let (name, hash) = match self.hash {
            Hash::Sha256 => ("sha256", digest(&SHA256, payload)),
            Hash::Sha512 => ("sha512", digest(&SHA512, payload)),
        };
        let mut message = MAGIC.to_vec();
        for part in [
            self.namespace.as_bytes(),
            &self.reserved,
            name.as_bytes(),
            hash.as_ref(),
        ] {
            put(&mut message, part);
        }
        if self.key.has_signed(&message, &self.value) {
            Ok(())
        } else {
            Err(format!(
                "its signature with the key {} is not over what it says: it was changed after it was signed; {HOW} once more",
                self.key.fingerprint()
            ))
        }
    }
}

fn of_another_kind(text: &str) -> String {
    let kind = if text.starts_with("-----BEGIN PGP") {
        "an OpenPGP signature, which is"
    } else if text.starts_with("-----BEGIN SIGNED MESSAGE") {
        "an X.509 signature, which is"
    } else {
        return format!("its signature is garbled; {HOW} once more");
    };
    format!("it has {kind} not carried out; {HOW}")
}
