//! Credentials that declarations name: a Secret in the controller's namespace, or files in a folder
//! that only the controller can read.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::{fmt, fs, io};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use placet_model::visible;
use tokio::task::spawn_blocking;

use crate::admission::SECRET as WEBHOOK;
use crate::home::kubernetes::{AUTHORITY, TOKEN_PREFIX};

/// As much as an API server would keep in one Secret.
const MOST: u64 = 1 << 20;

/// Where credentials are kept.
#[derive(Clone)]
pub enum Secrets {
    /// `<folder>/<name>/<key>`, each folder with mode 0700.
    Folder(PathBuf),
    /// Secrets of one namespace.
    Kubernetes(Box<Api<Secret>>),
}

/// Why credentials cannot be read. It never repeats what they hold.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// They are named by something that is no name.
    #[error("`{0}` is not the name of a secret")]
    Name(String),
    /// They are the controller's own, and nobody else is to see what they hold.
    #[error("secret `{0}` holds keys of the controller, no credentials; name another one")]
    Own(String),
    /// There are none of this name.
    #[error("there is no secret `{name}` in {place}")]
    Absent {
        /// Their name.
        name: String,
        /// Where they would be.
        place: String,
    },
    /// Others can read them.
    #[error("`{}` can be read by others; make it private: chmod 700", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
    },
    /// They are larger than credentials are.
    #[error("secret `{0}` is larger than 1 MiB")]
    TooLarge(String),
    /// A file cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The API server does not give them.
    #[error("failed to read secret `{name}`")]
    Api {
        /// Their name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

impl Secrets {
    /// Those of `namespace`.
    pub fn kubernetes(client: &Client, namespace: &str) -> Self {
        Self::Kubernetes(Box::new(Api::namespaced(client.clone(), namespace)))
    }

    /// The values of the secret `name`, by key.
    pub async fn read(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, SecretError> {
        if !is_name(name) {
            return Err(SecretError::Name(visible(name).to_string()));
        }
        if is_own(name) {
            return Err(SecretError::Own(name.to_owned()));
        }
        match self {
            Self::Folder(folder) => {
                let (folder, name) = (folder.join(name), name.to_owned());
                let read = spawn_blocking(move || read_folder(&folder, &name));
                read.await.unwrap_or_else(|error| {
                    Err(SecretError::Read {
                        path: PathBuf::new(),
                        source: io::Error::other(error),
                    })
                })
            }
            Self::Kubernetes(api) => read_api(api, name).await,
        }
    }
}

async fn read_api(api: &Api<Secret>, name: &str) -> Result<BTreeMap<String, Vec<u8>>, SecretError> {
    let found = api.get_opt(name).await.map_err(|source| SecretError::Api {
        name: name.to_owned(),
        source: Box::new(source),
    })?;
    let found = found.ok_or_else(|| SecretError::Absent {
        name: name.to_owned(),
        place: "the controller's namespace".to_owned(),
    })?;
    let data = found.data.unwrap_or_default().into_iter();
    Ok(data.map(|(key, ByteString(value))| (key, value)).collect())
}

fn read_folder(folder: &PathBuf, name: &str) -> Result<BTreeMap<String, Vec<u8>>, SecretError> {
    let failed = |path: PathBuf| move |source| SecretError::Read { path, source };
    let metadata = match fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SecretError::Absent {
                name: name.to_owned(),
                place: format!("`{}`", folder.parent().unwrap_or(folder).display()),
            });
        }
        found => found.map_err(failed(folder.clone()))?,
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(SecretError::Open {
            path: folder.clone(),
        });
    }
    let mut values = BTreeMap::new();
    let mut left = MOST;
    for entry in fs::read_dir(folder).map_err(failed(folder.clone()))? {
        let entry = entry.map_err(failed(folder.clone()))?;
        let (path, Ok(key)) = (entry.path(), entry.file_name().into_string()) else {
            continue;
        };
        // Kubernetes' own mounts hold folders whose names begin with two dots; one is a key of secrets.
        if key.starts_with("..") || !path.is_file() {
            continue;
        }
        let mut value = Vec::new();
        fs::File::open(&path)
            .and_then(|file| file.take(left + 1).read_to_end(&mut value))
            .map_err(failed(path))?;
        left = left
            .checked_sub(value.len() as u64)
            .ok_or_else(|| SecretError::TooLarge(name.to_owned()))?;
        values.insert(key, value);
    }
    Ok(values)
}

/// The name of a Secret, and of one folder.
fn is_name(name: &str) -> bool {
    let is_fit =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    (1..=253).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_fit)
}

/// Whoever may declare a repository may not have the controller send its own keys there.
fn is_own(name: &str) -> bool {
    [AUTHORITY, WEBHOOK].contains(&name) || name.starts_with(TOKEN_PREFIX)
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => f.debug_tuple("Folder").field(folder).finish(),
            Self::Kubernetes(_) => f.write_str("Kubernetes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(mode: u32) -> (tempfile::TempDir, Secrets) {
        let state = tempfile::tempdir().unwrap();
        let of_git = state.path().join("git");
        fs::create_dir(&of_git).unwrap();
        fs::write(of_git.join("username"), "ann").unwrap();
        fs::write(of_git.join(".dockerconfigjson"), "{}").unwrap();
        fs::create_dir(of_git.join("..data")).unwrap();
        fs::set_permissions(&of_git, fs::Permissions::from_mode(mode)).unwrap();
        let secrets = Secrets::Folder(state.path().to_owned());
        (state, secrets)
    }

    #[tokio::test]
    async fn a_folder_holds_a_file_for_each_key() {
        let (_state, secrets) = folder(0o700);
        let values = secrets.read("git").await.unwrap();
        let keys: Vec<_> = values.keys().collect();
        assert_eq!(keys, [".dockerconfigjson", "username"]);
        assert_eq!(values["username"], b"ann");
    }

    #[tokio::test]
    async fn what_others_can_read_is_no_secret() {
        let (_state, secrets) = folder(0o755);
        let refused = secrets.read("git").await.unwrap_err();
        assert!(matches!(refused, SecretError::Open { .. }), "{refused}");
    }

    #[tokio::test]
    async fn a_name_does_not_lead_elsewhere() {
        let (_state, secrets) = folder(0o700);
        for name in ["../git", "..", "/etc", "", "a/b", "A"] {
            let refused = secrets.read(name).await.unwrap_err();
            assert!(matches!(refused, SecretError::Name(_)), "{name}: {refused}");
        }
        let refused = secrets.read("none").await.unwrap_err();
        assert!(matches!(refused, SecretError::Absent { .. }), "{refused}");
    }

    #[tokio::test]
    async fn the_controllers_own_keys_are_no_credentials() {
        let (_state, secrets) = folder(0o700);
        for name in ["placet-authority", "placet-webhook", "placet-join-7f3a"] {
            let refused = secrets.read(name).await.unwrap_err();
            assert!(matches!(refused, SecretError::Own(_)), "{name}: {refused}");
        }
    }
}
