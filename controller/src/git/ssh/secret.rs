//! Keys and known hosts of a source.

use std::path::{Path, PathBuf};

use super::FetchError;

/// Files that `ssh` uses instead of its user's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::git) struct Secret {
    identity: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
}

impl Secret {
    /// `identity` and `known_hosts` of `folder`, at least one of them.
    pub(in crate::git) fn in_folder(folder: &Path) -> Result<Self, FetchError> {
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let secret = Self {
            identity: file("identity"),
            known_hosts: file("known_hosts"),
        };
        // `ssh` splits and expands the values of its options; a folder whose name it would take
        // apart is refused rather than quoted.
        let plain = |path: &Path| {
            path.to_str()
                .is_some_and(|text| !text.contains(['"', '$', '\\', '%']))
        };
        let why = if !plain(folder) {
            "its path holds one of `\"$\\%`, which `ssh` would take apart; move the state folder"
        } else if secret == Self::default() {
            "it holds neither `identity` (a private key) nor `known_hosts`; put at least one there"
        } else {
            return Ok(secret);
        };
        Err(FetchError::Secret {
            path: folder.to_owned(),
            why,
        })
    }

    /// The options of `ssh` that say so.
    pub(super) fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        if let Some(path) = &self.identity {
            options.push(format!("IdentityFile=\"{}\"", path.display()));
            options.push("IdentitiesOnly=yes".to_owned());
        }
        if let Some(path) = &self.known_hosts {
            options.push(format!("UserKnownHostsFile=\"{}\"", path.display()));
            options.push("GlobalKnownHostsFile=/dev/null".to_owned());
        }
        options
    }
}
