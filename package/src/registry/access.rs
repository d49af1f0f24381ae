//! What gives access to a registry: credentials and certificate authorities.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_distribution::secrets::RegistryAuth;
use serde::Deserialize;

/// Credentials and certificate authorities for one registry. Printing it shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub(crate) credentials: RegistryAuth,
    /// PEM; the machine's own where there is none.
    pub(crate) roots: Option<Vec<u8>>,
}

/// Credentials that cannot be read. It never repeats what they hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Not text.
    #[error("`{0}` is not UTF-8 text")]
    NotText(&'static str),
    /// One without the other.
    #[error("`{0}` is there and `{1}` is not; credentials are both")]
    Half(&'static str, &'static str),
    /// No Docker configuration.
    #[error("the Docker configuration is not JSON with `auths`, at line {0}")]
    Config(usize),
    /// An entry of it that has nothing to log in with.
    #[error(
        "the Docker configuration's entry for `{0}` has neither `auth` nor `username` and `password`; log in again with a program that stores them there"
    )]
    Entry(String),
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerEntry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerEntry {
    auth: String,
    username: String,
    password: String,
    registrytoken: String,
}

const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const CONFIG: &str = ".dockerconfigjson";

impl Access {
    /// No credentials, and the machine's certificate authorities.
    pub fn anonymous() -> Self {
        Self {
            credentials: RegistryAuth::Anonymous,
            roots: None,
        }
    }

    /// With a name and a password.
    #[must_use]
    pub fn with_password(self, username: &str, password: &str) -> Self {
        Self {
            credentials: RegistryAuth::Basic(username.to_owned(), password.to_owned()),
            ..self
        }
    }

    /// With these certificate authorities, PEM, in the place of the machine's.
    #[must_use]
    pub fn with_roots(self, pem: Vec<u8>) -> Self {
        Self {
            roots: Some(pem),
            ..self
        }
    }

    /// From a secret's values: `username` and `password`, or `.dockerconfigjson`, and `ca.crt`.
    ///
    /// # Errors
    ///
    /// What cannot be read.
    pub fn from_secret(
        values: &BTreeMap<String, Vec<u8>>,
        host: &str,
    ) -> Result<Self, AccessError> {
        let text = |key: &'static str| {
            let value = values.get(key).map(|value| str::from_utf8(value));
            let value = value.transpose().map_err(|_| AccessError::NotText(key))?;
            Ok(value.map(|value| value.trim_end_matches(['\r', '\n'])))
        };
        let access = match (text(USERNAME)?, text(PASSWORD)?, values.get(CONFIG)) {
            (Some(username), Some(password), _) => {
                Self::anonymous().with_password(username, password)
            }
            (Some(_), None, _) => return Err(AccessError::Half(USERNAME, PASSWORD)),
            (None, Some(_), _) => return Err(AccessError::Half(PASSWORD, USERNAME)),
            (None, None, Some(config)) => Self::from_docker_config(config, host)?,
            (None, None, None) => Self::anonymous(),
        };
        Ok(Self {
            roots: values.get("ca.crt").cloned(),
            ..access
        })
    }

    /// What Docker's `config.json` has for `host`; anonymous where it has nothing.
    ///
    /// # Errors
    ///
    /// It is not such a file, or the entry has nothing to log in with.
    pub fn from_docker_config(json: &[u8], host: &str) -> Result<Self, AccessError> {
        let config: DockerConfig =
            serde_json::from_slice(json).map_err(|error| AccessError::Config(error.line()))?;
        let mut entries = config.auths.iter();
        let Some((_, entry)) = entries.find(|(key, _)| host_of(key) == host_of(host)) else {
            return Ok(Self::anonymous());
        };
        let credentials = entry.credentials();
        let credentials = credentials.ok_or_else(|| AccessError::Entry(host.to_owned()))?;
        Ok(Self {
            credentials,
            ..Self::anonymous()
        })
    }
}

impl DockerEntry {
    fn credentials(&self) -> Option<RegistryAuth> {
        if !self.registrytoken.is_empty() {
            return Some(RegistryAuth::Bearer(self.registrytoken.clone()));
        }
        if !self.username.is_empty() {
            let (name, word) = (self.username.clone(), self.password.clone());
            return Some(RegistryAuth::Basic(name, word));
        }
        let both = String::from_utf8(STANDARD.decode(&self.auth).ok()?).ok()?;
        let (name, word) = both.split_once(':')?;
        Some(RegistryAuth::Basic(name.to_owned(), word.to_owned()))
    }
}

/// The host that a key of the configuration means: some have scheme and path, and one registry has
/// three names.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or(rest) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_configurations_are_read_by_host() {
        let json = br#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "YW5uOnNlOmNyZXQ="},
            "r.example:5000": {"username": "bob", "password": "word"},
            "empty.example": {"identitytoken": "x"}
        }, "credsStore": "none"}"#;
        let of = |host| Access::from_docker_config(json, host).map(|access| access.credentials);
        let basic = |name: &str, word: &str| RegistryAuth::Basic(name.into(), word.into());
        assert_eq!(of("docker.io"), Ok(basic("ann", "se:cret")));
        assert_eq!(of("r.example:5000"), Ok(basic("bob", "word")));
        assert_eq!(of("r.example"), Ok(RegistryAuth::Anonymous));
        assert!(matches!(of("empty.example"), Err(AccessError::Entry(_))));
        let bad = Access::from_docker_config(b"{\n]", "r.example");
        assert_eq!(bad, Err(AccessError::Config(2)));
    }

    #[test]
    fn a_secret_has_both_or_none_and_is_never_printed() {
        let values = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
                .collect()
        };
        let both = values(&[("username", "ann\n"), ("password", "secret\n")]);
        let access = Access::from_secret(&both, "r.example").unwrap();
        assert_eq!(
            access.credentials,
            RegistryAuth::Basic("ann".into(), "secret".into())
        );
        assert!(!format!("{access:?}").contains("secret"));
        let half = Access::from_secret(&values(&[("password", "x")]), "r.example");
        assert_eq!(half, Err(AccessError::Half("password", "username")));
    }
}
