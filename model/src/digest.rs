//! Digests (SHA-256, for integrity and addressing) and signatures (MD5, for finding change).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

/// SHA-256 of exact bytes, written `sha256:<64 hexadecimal digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest; expected `sha256:` and 64 lower-case hexadecimal digits")]
pub struct DigestError(String);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest that these bytes are.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest as 64 lower-case hexadecimal digits, without the algorithm: fit for a file name.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// The first 12 hexadecimal digits, for tables that people read.
    pub fn short(&self) -> String {
        hex(&self.0[..6])
    }
}

/// Takes a [`Digest`] of bytes that arrive in pieces.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds `bytes` to what was hashed so far.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything added.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.strip_prefix("sha256:")
            .and_then(unhex)
            .map(Self)
            .ok_or_else(|| DigestError(crate::visible(text).to_string()))
    }
}

/// How a [`Signature`] was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureKind {
    /// MD5 of the bytes: everything that is not ELF.
    Plain,
    /// MD5 over what the loader and the program can observe of an ELF program or library (B4).
    Elf1,
    /// MD5 over what the linker, or the kernel that loads a module, makes of an ELF object.
    Object1,
    /// MD5 over the members of a static archive, each by its own content.
    Archive1,
}

impl SignatureKind {
    const ALL: [Self; 4] = [Self::Plain, Self::Elf1, Self::Object1, Self::Archive1];

    /// The prefix by which the text of a signature begins.
    fn prefix(self) -> &'static str {
        match self {
            Self::Plain => "md5",
            Self::Elf1 => "elfsig1",
            Self::Object1 => "objsig1",
            Self::Archive1 => "arsig1",
        }
    }
}

/// A module's MD5 over its substantive content (B4), written as its kind (`md5`, `elfsig1`,
/// `objsig1` or `arsig1`), a colon and 32 hexadecimal digits. It finds change and secures nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature {
    kind: SignatureKind,
    md5: [u8; 16],
}

/// A text that is not a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a signature; expected `md5:`, `elfsig1:`, `objsig1:` or `arsig1:` and 32 lower-case hexadecimal digits"
)]
pub struct SignatureError(String);

impl Signature {
    /// The signature of kind `kind` with the MD5 `md5`.
    pub fn new(kind: SignatureKind, md5: [u8; 16]) -> Self {
        Self { kind, md5 }
    }

    /// How it was taken.
    pub fn kind(&self) -> SignatureKind {
        self.kind
    }

    /// The MD5.
    pub fn md5(&self) -> [u8; 16] {
        self.md5
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.prefix(), hex(&self.md5))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let parse = || {
            let (prefix, digits) = text.split_once(':')?;
            let mut kinds = SignatureKind::ALL.into_iter();
            Some(Self {
                kind: kinds.find(|kind| kind.prefix() == prefix)?,
                md5: unhex(digits)?,
            })
        };
        parse().ok_or_else(|| SignatureError(crate::visible(text).to_string()))
    }
}

/// Serialises through `Display` and deserialises through `FromStr`.
macro_rules! serde_as_text {
    ($($name:ty),+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )+};
}
pub(crate) use serde_as_text;

serde_as_text!(Digest, Signature);

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| {
            [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]
        })
        .map(char::from)
        .collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

/// Upper case is refused: one value has one spelling.
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, Hasher, Signature};

    #[test]
    fn a_digest_reads_what_it_writes() {
        let digest = Digest::of(b"placet");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let mut hasher = Hasher::default();
        hasher.update(b"pla");
        hasher.update(b"cet");
        assert_eq!(hasher.finish(), digest);
    }

    #[test]
    fn other_spellings_are_refused() {
        let upper = Digest::of(b"").to_string().to_uppercase();
        for text in ["", "sha256:", "sha256:zz", &upper, "md5:00", "sha1:\u{0}"] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
            assert!(text.parse::<Signature>().is_err(), "{text}");
        }
    }
}
