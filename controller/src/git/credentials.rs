//! What a secret gives access with.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::FetchError;

/// The values of a secret, or none.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    name: Option<String>,
    values: Arc<BTreeMap<String, Vec<u8>>>,
}

/// How to say who we are.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    Basic { user: String, password: String },
    Bearer(String),
}

impl Credentials {
    pub(super) fn new(name: &str, values: BTreeMap<String, Vec<u8>>) -> Self {
        Self {
            name: Some(name.to_owned()),
            values: Arc::new(values),
        }
    }

    /// The name of the secret, if there is one.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key).map(Vec::as_slice)
    }

    /// The value of `key` as one line, as people end files with a line end.
    fn line(&self, key: &str) -> Result<Option<String>, FetchError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let line = std::str::from_utf8(value).map(str::trim_end).ok();
        let line = line.filter(|line| !line.is_empty() && !line.contains(char::is_control));
        line.map(|line| Some(line.to_owned()))
            .ok_or_else(|| self.unfit(format!("`{key}` is not one line of text")))
    }

    /// Authorities in place of the system's.
    pub(super) fn ca(&self) -> Option<&[u8]> {
        self.get("ca.crt")
    }

    pub(super) fn login(&self) -> Result<Option<Login>, FetchError> {
        let token = self.line("bearerToken")?;
        match (self.line("username")?, self.line("password")?, token) {
            (None, None, Some(token)) => Ok(Some(Login::Bearer(token))),
            (Some(user), Some(password), None) => Ok(Some(Login::Basic { user, password })),
            (None, None, None) if self.name.is_none() || self.ca().is_some() => Ok(None),
            (_, _, Some(_)) => Err(self.unfit(
                "it holds `bearerToken` and `username` or `password`; keep one or the other"
                    .to_owned(),
            )),
            _ => Err(self.unfit(
                "for https it holds `username` and `password`, or `bearerToken`, or `ca.crt` alone"
                    .to_owned(),
            )),
        }
    }

    pub(super) fn unfit(&self, why: String) -> FetchError {
        FetchError::Secret {
            name: self.name.clone().unwrap_or_default(),
            why,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.name).finish()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic",
            Self::Bearer(_) => "Bearer",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Credentials, Login};

    fn credentials(values: &[(&str, &str)]) -> Credentials {
        let values = values.iter();
        let values = values.map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
        Credentials::new("access", values.collect())
    }

    #[test]
    fn user_and_password_or_a_token() {
        let basic = credentials(&[("username", "ann\n"), ("password", "sesame\n")]);
        let expected = Login::Basic {
            user: "ann".to_owned(),
            password: "sesame".to_owned(),
        };
        assert_eq!(basic.login().unwrap(), Some(expected));
        let token = credentials(&[("bearerToken", "t")]).login().unwrap();
        assert_eq!(token, Some(Login::Bearer("t".to_owned())));
        assert_eq!(credentials(&[("ca.crt", "x")]).login().unwrap(), None);
        assert_eq!(Credentials::default().login().unwrap(), None);
    }

    #[test]
    fn half_a_login_is_refused_and_nothing_is_repeated() {
        for values in [
            &[("username", "ann")][..],
            &[("password", "sesame")],
            &[("identity", "sesame")],
            &[("bearerToken", "sesame"), ("username", "ann")],
            &[("bearerToken", "ses\name")],
            &[("bearerToken", "")],
        ] {
            let credentials = credentials(values);
            let text = credentials.login().unwrap_err().to_string();
            assert!(!text.contains("ses"), "{text}");
            assert!(!format!("{credentials:?}").contains("ses"));
        }
    }
}
