//! Why something that a person asks for is not done.

use tonic::{Code, Status};

/// Why something that a person asks for is not done, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    code: Code,
    message: String,
}

impl Refusal {
    /// There is no such thing.
    pub(crate) fn absent(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// Not as things stand.
    pub(crate) fn untimely(message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, message)
    }

    /// Never, as it is written.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    fn new(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}
