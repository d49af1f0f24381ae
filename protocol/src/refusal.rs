//! Why a controller refuses a join token, in a form that both ends understand.

use tonic::{Code, Status};

/// Why a controller refuses a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// There is no token with this id and this secret.
    #[error("the controller does not know this token, or its secret is wrong")]
    Wrong,
    /// It has bought a certificate already.
    #[error("the token was used already; each token works once")]
    Used,
    /// It is too old.
    #[error("the token has expired")]
    Expired,
    /// It was made for another node name.
    #[error("the token was made for a node of another name")]
    OtherNode,
    /// A node of this name exists, and the token does not say that it may be replaced.
    #[error(
        "a node of this name exists; make a token with `--replace` if this one takes its place"
    )]
    NameTaken,
}

/// The metadata key by which a client tells a refusal from any other failure.
const KEY: &str = "placet-refusal";

const ALL: [(TokenRefusal, &str, Code); 5] = [
    (TokenRefusal::Wrong, "wrong", Code::Unauthenticated),
    (TokenRefusal::Used, "used", Code::PermissionDenied),
    (TokenRefusal::Expired, "expired", Code::PermissionDenied),
    (
        TokenRefusal::OtherNode,
        "other-node",
        Code::PermissionDenied,
    ),
    (TokenRefusal::NameTaken, "name-taken", Code::AlreadyExists),
];

impl TokenRefusal {
    /// The refusal that `status` tells of, if it tells of one.
    pub fn from_status(status: &Status) -> Option<Self> {
        let word = status.metadata().get(KEY)?.to_str().ok()?;
        let known = ALL.iter().find(|(_, name, _)| *name == word)?;
        Some(known.0)
    }
}

impl From<TokenRefusal> for Status {
    fn from(refusal: TokenRefusal) -> Self {
        let (_, word, code) = ALL
            .into_iter()
            .find(|(known, _, _)| *known == refusal)
            .expect("the table has every refusal");
        let mut status = Self::new(code, refusal.to_string());
        let value = tonic::metadata::MetadataValue::from_static(word);
        status.metadata_mut().insert(KEY, value);
        status
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, TokenRefusal};
    use tonic::Status;

    #[test]
    fn a_refusal_survives_the_wire() {
        for (refusal, _, code) in ALL {
            let status = Status::from(refusal);
            assert_eq!(status.code(), code);
            assert_eq!(TokenRefusal::from_status(&status), Some(refusal));
        }
        let other = Status::permission_denied("no");
        assert_eq!(TokenRefusal::from_status(&other), None);
    }
}
