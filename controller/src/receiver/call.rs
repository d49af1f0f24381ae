//! Whether a call is from whoever knows the secret.

use axum::http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use placet_crds::ReceiverKind;
use ring::{digest, hmac};

/// How far the clock of a generic caller may be off, either way.
const WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// A token shorter than this can be guessed.
const TOKEN_MIN: usize = 8;

/// One call.
pub(super) struct Call<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    pub(super) now: Timestamp,
}

/// A call that is from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// What tells this delivery from every other.
    pub(super) delivery: [u8; 32],
    /// True for a host that only wants to know whether it is heard.
    pub(super) is_ping: bool,
}

impl Call<'_> {
    /// Whether whoever called knows `token`; says why not, for the log of those who may know.
    pub(super) fn authenticate(
        &self,
        kind: ReceiverKind,
        token: &[u8],
    ) -> Result<Taken, &'static str> {
        if token.len() < TOKEN_MIN {
            self.in_vain();
            return Err("the secret's `token` has fewer than 8 characters; use a longer one");
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, token);
        match kind {
            ReceiverKind::Github => self.github(&key),
            ReceiverKind::Gitlab => self.gitlab(token),
            ReceiverKind::Gitea => self.gitea(&key),
            ReceiverKind::Generic => self.generic(&key),
        }
    }

    /// What authentication costs, where there is nothing to compare with.
    pub(super) fn in_vain(&self) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"nobody's token");
        let _ = hmac::verify(&key, self.body, &[0; 32]);
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        // Two of them could mean two things.
        values.next().is_none().then_some(value)
    }

    fn github(&self, key: &hmac::Key) -> Result<Taken, &'static str> {
        let signature = self.header("x-hub-signature-256");
        let signature = signature.and_then(|value| value.strip_prefix("sha256="));
        let delivery = self.signed(key, signature, self.body)?;
        Ok(Taken {
            delivery,
            is_ping: self.header("x-github-event") == Some("ping"),
        })
    }

    fn gitea(&self, key: &hmac::Key) -> Result<Taken, &'static str> {
        let delivery = self.signed(key, self.header("x-gitea-signature"), self.body)?;
        Ok(Taken {
            delivery,
            is_ping: false,
        })
    }

    /// GitLab sends the secret itself.
    fn gitlab(&self, token: &[u8]) -> Result<Taken, &'static str> {
        let given = self.header("x-gitlab-token").unwrap_or_default();
        // Compared by their codes under one key, which takes as long for any two.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"comparison");
        let code = hmac::sign(&key, given.as_bytes());
        hmac::verify(&key, token, code.as_ref())
            .map_err(|_| "`X-Gitlab-Token` is missing or wrong")?;
        let mut delivery = digest::Context::new(&digest::SHA256);
        delivery.update(self.header("x-gitlab-event-uuid").unwrap_or("").as_bytes());
        delivery.update(b"\0");
        delivery.update(self.body);
        Ok(Taken {
            delivery: bytes(delivery.finish().as_ref()),
            is_ping: false,
        })
    }

    fn generic(&self, key: &hmac::Key) -> Result<Taken, &'static str> {
        let text = self.header("x-placet-timestamp").unwrap_or_default();
        let signature = self.header("x-placet-signature");
        let signature = signature.and_then(|value| value.strip_prefix("sha256="));
        let message = [text.as_bytes(), b".", self.body].concat();
        let delivery = self.signed(key, signature, &message)?;
        let time = text
            .parse()
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .ok_or("`X-Placet-Timestamp` is not a number of seconds since 1970")?;
        if self.now.duration_since(time).abs() > WINDOW {
            return Err("`X-Placet-Timestamp` is more than 5 minutes off");
        }
        Ok(Taken {
            delivery,
            is_ping: false,
        })
    }

    /// The code of `message`, if `signature` is it.
    fn signed(
        &self,
        key: &hmac::Key,
        signature: Option<&str>,
        message: &[u8],
    ) -> Result<[u8; 32], &'static str> {
        let Some(code) = signature.and_then(decoded) else {
            self.in_vain();
            return Err("its signature is missing or malformed");
        };
        let verified = hmac::verify(key, message, &code);
        verified.map_err(|_| "its signature is wrong")?;
        Ok(code)
    }
}

/// 32 bytes from 64 hexadecimal digits.
fn decoded(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut code = [0; 32];
    for (byte, at) in code.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(code)
}

fn bytes(digest: &[u8]) -> [u8; 32] {
    digest.try_into().unwrap_or([0; 32])
}
