//! The credentials that the user of this machine has for a registry.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::access::{Access, AccessError, Credentials, Entry, look_up};
use super::helper;

impl Access {
    /// What Docker, Podman and their like have left for `host` in the files of this user, or what
    /// the programs say that those name; anonymous where nothing is left.
    ///
    /// `REGISTRY_AUTH_FILE` names the file, or `DOCKER_CONFIG` its folder; otherwise they are
    /// `~/.docker/config.json` and Podman's `containers/auth.json`.
    ///
    /// # Errors
    ///
    /// A file, or what a program says, cannot be read.
    pub async fn of_user(host: &str) -> Result<Self, AccessError> {
        for file in files() {
            let json = match fs::read(&file) {
                Ok(json) => json,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    let (path, why) = (file, error.to_string());
                    return Err(AccessError::Unreadable { path, why });
                }
            };
            let found = match look_up(&json, host)? {
                Entry::Nothing => None,
                Entry::Credentials(credentials) => Some(credentials),
                Entry::Helper(name) => helper::ask(&name, host).await?,
            };
            if let Some(credentials) = found {
                return Ok(Self {
                    credentials,
                    ..Self::anonymous()
                });
            }
        }
        let credentials = Credentials::Anonymous;
        Ok(Self {
            credentials,
            ..Self::anonymous()
        })
    }
}

/// Where credentials are looked for, in this order.
fn files() -> Vec<PathBuf> {
    let named = |name| {
        let value = env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    if let Some(file) = named("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    if let Some(folder) = named("DOCKER_CONFIG") {
        return vec![folder.join("config.json")];
    }
    let home = named("HOME");
    let docker = home.as_ref().map(|home| home.join(".docker/config.json"));
    let running = named("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json"));
    let kept = home.map(|home| home.join(".config/containers/auth.json"));
    docker.into_iter().chain(running).chain(kept).collect()
}
