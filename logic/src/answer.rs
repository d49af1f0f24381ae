//! What decision logic says, as it is read from its JSON.

use placet_model::visible;
use serde::Deserialize;

use crate::LogicError;

/// The longest answer, in bytes.
const ANSWER_MOST: usize = 8_192;
/// As for processes that vote themselves.
const CODE_MOST: usize = 64;
const MESSAGE_MOST: usize = 1_000;
/// One day.
const DEFER_MOST: u32 = 86_400;

/// What a process says to a change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Opinion {
    /// Placet.
    Accept {},
    /// Non placet.
    Veto {
        /// Its own short code; empty where left out.
        #[serde(default)]
        code: String,
        /// Its reason, for people.
        message: String,
    },
    /// Not now.
    Defer {
        /// Seconds after which to ask again.
        seconds: u32,
        /// Its reason, for people; empty where left out.
        #[serde(default)]
        message: String,
    },
}

impl Opinion {
    /// Reads an answer: `{"answer": "veto", "code": "peers", "message": "2 peers are up"}`.
    ///
    /// # Errors
    ///
    /// It is not one of the three, too long, or has something that is not known.
    pub fn parse(bytes: &[u8]) -> Result<Self, LogicError> {
        if bytes.len() > ANSWER_MOST {
            return Err(LogicError::Long {
                size: bytes.len(),
                most: ANSWER_MOST,
            });
        }
        let opinion: Self =
            serde_json::from_slice(bytes).map_err(|error| LogicError::Answer(error.to_string()))?;
        opinion.checked()
    }

    fn checked(mut self) -> Result<Self, LogicError> {
        let refused = |why: String| Err(LogicError::Answer(why));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        match &mut self {
            Self::Accept {} => return Ok(self),
            Self::Veto { code, .. } if code.len() > CODE_MOST || !code.bytes().all(is_plain) => {
                return refused(format!(
                    "`code` is at most {CODE_MOST} letters, digits and -_./"
                ));
            }
            Self::Defer { seconds, .. } if !(1..=DEFER_MOST).contains(seconds) => {
                return refused(format!("`seconds` is 1 to {DEFER_MOST}"));
            }
            Self::Veto { message, .. } | Self::Defer { message, .. } => {
                if message.chars().count() > MESSAGE_MOST {
                    return refused(format!("`message` has at most {MESSAGE_MOST} characters"));
                }
                *message = visible(message).to_string();
            }
        }
        Ok(self)
    }
}
