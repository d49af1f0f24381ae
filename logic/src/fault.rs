//! Why decision logic gives no answer.

use placet_model::visible;

use crate::module::MODULE_MOST;

/// A module that cannot be used, or a decision that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogicError {
    /// It is far larger than a vote needs.
    #[error("it has {0} bytes; decision logic has at most {MODULE_MOST}")]
    TooLarge(u64),
    /// It is not WebAssembly, or of a kind that is not supported.
    #[error("it is no WebAssembly core module: {}", visible(.0))]
    NotWasm(String),
    /// It wants something that there is not.
    #[error(
        "it imports `{}`; there are `placet.read`, `placet.count` and `placet.answer` alone, with the parameters that the documentation says", visible(.0)
    )]
    Import(String),
    /// It lacks something that it needs.
    #[error("it exports no {0}")]
    Export(&'static str),
    /// It computed for too long.
    #[error("it did not come to an end within {0} units of fuel")]
    Fuel(u64),
    /// It wanted too much memory.
    #[error("it wanted more than {0} bytes of memory")]
    Memory(u32),
    /// Its calls nest too deep.
    #[error("its calls nest too deep")]
    Depth,
    /// It came to a stop by itself.
    #[error("it stopped: {}", visible(.0))]
    Trap(String),
    /// It handed over memory that it does not have.
    #[error("it called `{0}` with memory that it does not have")]
    Bounds(&'static str),
    /// It came to its end without an answer.
    #[error("it ended without an answer")]
    Silent,
    /// It answered again.
    #[error("it answered twice")]
    Twice,
    /// Its answer is too long.
    #[error("its answer has {size} bytes; at most {most} are allowed")]
    Long {
        /// How long it is.
        size: usize,
        /// How long it may be.
        most: usize,
    },
    /// Its answer means nothing.
    #[error("its answer cannot be understood: {}", visible(.0))]
    Answer(String),
}
