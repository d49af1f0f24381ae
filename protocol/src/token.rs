//! The join token: what a node shows at first contact, and by what it knows its controller.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

use placet_model::{Digest, visible};

/// SHA-256 of the public key (`SubjectPublicKeyInfo`) of a controller's authority, written as 64
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin(Digest);

/// A one-time secret that buys a node its first certificate, written `id.secret.pin`.
///
/// `Display` writes all of it, for the person who carries it to the node; `Debug` hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Under which the controller keeps the token; not secret.
    pub id: String,
    /// What only the carrier knows.
    pub secret: Secret,
    /// The authority of the controller that made it: the secret is shown to no other.
    pub pin: Pin,
}

/// The secret part of a [`Token`]: 128 random bits at least, as lower-case letters and digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A text that is not a join token. It never repeats the text, which may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a join token: {0}; a token reads `id.secret.pin` and is made by `placet node token`"
)]
pub struct TokenError(&'static str);

/// A text that is not a pin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the pin of an authority; expected 64 lower-case hexadecimal digits")]
pub struct PinError(String);

/// 128 bits in hexadecimal digits.
const SECRET_LEAST: usize = 32;
const SECRET_MOST: usize = 128;
const ID_MOST: usize = 64;

impl Pin {
    /// The pin of a public key, given as DER of its `SubjectPublicKeyInfo`.
    pub fn of(public_key_info: &[u8]) -> Self {
        Self(Digest::of(public_key_info))
    }

    /// The pin of the authority whose certificate `pem` holds; none if it holds no certificate.
    pub fn of_certificate(pem: &str) -> Option<Self> {
        let pem = pem::parse(pem).ok()?;
        crate::certificate::facts(&pem.into_contents().into()).map(|facts| facts.pin)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.hex())
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        format!("sha256:{text}")
            .parse()
            .map(Self)
            .map_err(|_| PinError(visible(text).to_string()))
    }
}

impl Token {
    /// A new token for the authority `pin`, with 64 random bits of id and 256 of secret.
    pub fn generate(pin: Pin) -> Self {
        let [first, second]: [u128; 2] = rand::random();
        Self {
            id: format!("{:016x}", rand::random::<u64>()),
            secret: Secret(format!("{first:032x}{second:032x}")),
            pin,
        }
    }
}

impl Secret {
    /// The secret itself, to be sent over a connection whose far end is known.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored in place of the secret: it is random, so that a plain hash gives nothing away.
    pub fn hash(&self) -> Digest {
        secret_hash(&self.0)
    }
}

/// The hash of a secret as a client showed it, to compare with [`Secret::hash`] of the stored one.
pub fn secret_hash(shown: &str) -> Digest {
    Digest::of(shown.as_bytes())
}

/// Whether two digests are equal, in a time that does not tell where they differ.
pub fn same_digest(one: &Digest, other: &Digest) -> bool {
    let (one, other) = (one.hex(), other.hex());
    let difference = one
        .bytes()
        .zip(other.bytes())
        .fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
    difference == 0
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.id, self.secret.0, self.pin)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.id)
            .field("secret", &self.secret)
            .field("pin", &self.pin)
            .finish()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.split('.');
        let (Some(id), Some(secret), Some(pin), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError("it does not have three parts"));
        };
        let plain = |part: &str| {
            part.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if id.is_empty() || id.len() > ID_MOST || !plain(id) {
            return Err(TokenError("its first part is not an id"));
        }
        if !(SECRET_LEAST..=SECRET_MOST).contains(&secret.len()) || !plain(secret) {
            return Err(TokenError("its second part is not a secret"));
        }
        Ok(Self {
            id: id.to_owned(),
            secret: Secret(secret.to_owned()),
            pin: pin
                .parse()
                .map_err(|_| TokenError("its third part is not 64 hexadecimal digits"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Pin, Token, same_digest, secret_hash};

    #[test]
    fn a_token_reads_what_it_writes_and_hides_its_secret() {
        let token = Token::generate(Pin::of(b"key"));
        let text = token.to_string();
        assert_eq!(text.parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(token.secret.reveal()));
        assert!(token.secret.reveal().len() >= 32);
        assert_ne!(token, Token::generate(token.pin));
    }

    #[test]
    fn other_texts_are_refused_without_repeating_them() {
        let pin = Pin::of(b"key");
        let secret = "0123456789abcdef0123456789abcdef";
        for text in [
            String::new(),
            "..".to_owned(),
            format!("a.{secret}"),
            format!("a.{secret}.{pin}.x"),
            format!("a.short.{pin}"),
            format!(".{secret}.{pin}"),
            format!("a\n.{secret}.{pin}"),
            format!("a.{secret}.{}", pin.to_string().to_uppercase()),
            format!(" a.{secret}.{pin}"),
        ] {
            let error = text.parse::<Token>().expect_err(&text);
            assert!(!error.to_string().contains(secret), "{error}");
        }
    }

    #[test]
    fn a_shown_secret_is_compared_by_its_hash() {
        let token = Token::generate(Pin::of(b"key"));
        let stored = token.secret.hash();
        assert!(same_digest(&stored, &secret_hash(token.secret.reveal())));
        assert!(!same_digest(&stored, &secret_hash("")));
    }
}
