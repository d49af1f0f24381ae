//! Names of environment variables.

use std::fmt;
use std::str::FromStr;

use placet_model::visible;
use serde::{Deserialize, Deserializer, de};

/// The name of a variable that a package file gives to its build commands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VariableName(String);

/// A text that is not such a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a variable for build commands: {why}")]
pub struct VariableNameError {
    text: String,
    why: &'static str,
}

impl VariableName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for VariableName {
    type Err = VariableNameError;

    fn from_str(text: &str) -> Result<Self, VariableNameError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let digit_first = text.starts_with(|first: char| first.is_ascii_digit());
        let why = if text.is_empty() || text.len() > 128 || !text.bytes().all(good) || digit_first {
            "it is up to 128 letters, digits and `_`, not beginning with a digit"
        } else if text == "SOURCE_DATE_EPOCH" {
            "the package has this date too; give it by `--source-date-epoch` or in the environment of `placet`"
        } else if text == "PWD" {
            "the shell sets it"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(VariableNameError {
            text: visible(text).to_string(),
            why,
        })
    }
}

impl<'de> Deserialize<'de> for VariableName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
