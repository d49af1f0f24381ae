//! What gives access to a registry: credentials and certificate authorities.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_model::visible;
use serde::Deserialize;

/// Credentials and certificate authorities for one registry. Printing it shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub(crate) credentials: Credentials,
    /// PEM; the machine's own where there is none.
    pub(crate) roots: Option<Vec<u8>>,
}

/// What is shown to a registry, or to its token service.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    Anonymous,
    Password {
        name: String,
        word: String,
    },
    /// A token that the registry takes as it is.
    Bearer(String),
    /// A token that the token service gives others for.
    Identity(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Password { .. } => "Password",
            Self::Bearer(_) => "Bearer",
            Self::Identity(_) => "Identity",
        })
    }
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
        "the Docker configuration's entry for `{0}` has neither `auth`, `identitytoken` nor `username` and `password`; log in again with a program that stores them there"
    )]
    Entry(String),
    /// A file that the system does not let be read.
    #[error("failed to read `{}`: {why}", visible(&path.to_string_lossy()))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A program that keeps credentials and does not give them.
    #[error(
        "`docker-credential-{}` gives no credentials for `{host}`: {why}",
        visible(name)
    )]
    Helper {
        /// The program, without its prefix.
        name: String,
        /// The registry.
        host: String,
        /// What went wrong.
        why: String,
    },
}

/// What a configuration has for a registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Nothing,
    Credentials(Credentials),
    /// A program has them.
    Helper(String),
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct DockerConfig {
    auths: BTreeMap<String, DockerEntry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Deserialize, Default, PartialEq, Eq)]
#[serde(default)]
struct DockerEntry {
    auth: String,
    username: String,
    password: String,
    registrytoken: String,
    identitytoken: String,
}

const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const CONFIG: &str = ".dockerconfigjson";

impl Access {
    /// No credentials, and the machine's certificate authorities.
    pub fn anonymous() -> Self {
        Self {
            credentials: Credentials::Anonymous,
            roots: None,
        }
    }

    /// With a name and a password.
    #[must_use]
    pub fn with_password(self, username: &str, password: &str) -> Self {
        Self {
            credentials: Credentials::Password {
                name: username.to_owned(),
                word: password.to_owned(),
            },
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

    /// What Docker's `config.json` has for `host`; anonymous where it has nothing. No program is
    /// asked for credentials.
    ///
    /// # Errors
    ///
    /// It is not such a file, or the entry has nothing to log in with.
    pub fn from_docker_config(json: &[u8], host: &str) -> Result<Self, AccessError> {
        let credentials = match look_up(json, host)? {
            Entry::Nothing => Credentials::Anonymous,
            Entry::Credentials(credentials) => credentials,
            Entry::Helper(_) => return Err(AccessError::Entry(host.to_owned())),
        };
        Ok(Self {
            credentials,
            ..Self::anonymous()
        })
    }
}

/// What a configuration has for `host`. A helper of the registry's own comes first, then what stands
/// in the file, then the helper for all.
pub(super) fn look_up(json: &[u8], host: &str) -> Result<Entry, AccessError> {
    let config: DockerConfig =
        serde_json::from_slice(json).map_err(|error| AccessError::Config(error.line()))?;
    if let Some(helper) = of_host(&config.cred_helpers, host) {
        return Ok(Entry::Helper(helper.clone()));
    }
    let entry = of_host(&config.auths, host);
    let is_empty = entry.is_none_or(|entry| *entry == DockerEntry::default());
    match entry {
        _ if is_empty && !config.creds_store.is_empty() => Ok(Entry::Helper(config.creds_store)),
        None => Ok(Entry::Nothing),
        Some(entry) => {
            let credentials = entry.credentials();
            let credentials = credentials.ok_or_else(|| AccessError::Entry(host.to_owned()))?;
            Ok(Entry::Credentials(credentials))
        }
    }
}

/// The value of a registry; a key that is the registry's very name is better than another one.
fn of_host<'m, T>(map: &'m BTreeMap<String, T>, host: &str) -> Option<&'m T> {
    let mut all = map.iter();
    map.get(host).or_else(|| {
        all.find(|(key, _)| host_of(key) == host_of(host))
            .map(|(_, value)| value)
    })
}

impl DockerEntry {
    fn credentials(&self) -> Option<Credentials> {
        if !self.identitytoken.is_empty() {
            return Some(Credentials::Identity(self.identitytoken.clone()));
        }
        if !self.registrytoken.is_empty() {
            return Some(Credentials::Bearer(self.registrytoken.clone()));
        }
        if !self.username.is_empty() {
            let (name, word) = (self.username.clone(), self.password.clone());
            return Some(Credentials::Password { name, word });
        }
        let both = String::from_utf8(STANDARD.decode(&self.auth).ok()?).ok()?;
        let (name, word) = both.split_once(':')?;
        let (name, word) = (name.to_owned(), word.to_owned());
        Some(Credentials::Password { name, word })
    }
}

/// The host that a key of the configuration means: some have scheme and path, and one registry has
/// three names.
pub(super) fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or(rest) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(name: &str, word: &str) -> Credentials {
        let (name, word) = (name.to_owned(), word.to_owned());
        Credentials::Password { name, word }
    }

    #[test]
    fn docker_configurations_are_read_by_host() {
        let json = br#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "YW5uOnNlOmNyZXQ="},
            "r.example:5000": {"username": "bob", "password": "word"},
            "token.example": {"auth": "YW5uOg==", "identitytoken": "x"},
            "empty.example": {"auth": "!"}
        }, "credHelpers": {"own.example": "pass"}}"#;
        let of = |host| Access::from_docker_config(json, host).map(|access| access.credentials);
        assert_eq!(of("docker.io"), Ok(password("ann", "se:cret")));
        assert_eq!(of("r.example:5000"), Ok(password("bob", "word")));
        assert_eq!(of("r.example"), Ok(Credentials::Anonymous));
        let identity = Credentials::Identity("x".to_owned());
        assert_eq!(of("token.example"), Ok(identity));
        assert!(matches!(of("empty.example"), Err(AccessError::Entry(_))));
        let asks = "no program is asked on behalf of a secret";
        assert!(
            matches!(of("own.example"), Err(AccessError::Entry(_))),
            "{asks}"
        );
        let bad = Access::from_docker_config(b"{\n]", "r.example");
        assert_eq!(bad, Err(AccessError::Config(2)));
    }

    #[test]
    fn helpers_are_asked_where_the_file_has_nothing() {
        let json = br#"{"auths": {"a.example": {}, "b.example": {"auth": "YW5uOng="}},
            "credHelpers": {"c.example": "own"}, "credsStore": "all"}"#;
        let of = |host| look_up(json, host).unwrap();
        let helper = |name: &str| Entry::Helper(name.to_owned());
        assert_eq!(of("a.example"), helper("all"));
        assert_eq!(of("b.example"), Entry::Credentials(password("ann", "x")));
        assert_eq!(of("c.example"), helper("own"));
        assert_eq!(of("d.example"), helper("all"));
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
        assert_eq!(access.credentials, password("ann", "secret"));
        assert!(!format!("{access:?}").contains("secret"));
        let half = Access::from_secret(&values(&[("password", "x")]), "r.example");
        assert_eq!(half, Err(AccessError::Half("password", "username")));
    }
}
