//! Keys and known hosts of a source, as files for `ssh`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::git::FetchError;
use crate::git::credentials::Credentials;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Files that `ssh` uses instead of its user's own; they are gone when this is.
#[derive(Debug, Default)]
pub(in crate::git) struct Keys {
    folder: Option<PathBuf>,
    identity: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
}

impl Keys {
    /// `identity` and `known_hosts` of `credentials`, at least one of them, in a folder of their
    /// own below `folder`, which nobody else can read. Without credentials, what the user has.
    pub(in crate::git) fn new(
        credentials: &Credentials,
        folder: &Path,
    ) -> Result<Self, FetchError> {
        let Some(secret) = credentials.name() else {
            return Ok(Self::default());
        };
        let unfit = |why: String| FetchError::Secret {
            name: secret.to_owned(),
            why,
        };
        let [identity, known_hosts] = ["identity", "known_hosts"].map(|key| credentials.get(key));
        if identity.is_none() && known_hosts.is_none() {
            return Err(unfit(
                "it holds neither `identity` (a private key) nor `known_hosts`; put at least one there"
                    .to_owned(),
            ));
        }
        // `ssh` splits and expands the values of its options; a folder whose name it would take
        // apart is refused rather than quoted.
        let is_plain = |path: &Path| {
            path.to_str()
                .is_some_and(|text| !text.contains(['"', '$', '\\', '%']))
        };
        if !is_plain(folder) {
            return Err(unfit(
                "the path of the state folder holds one of `\"$\\%`, which `ssh` would take apart; move the state folder".to_owned(),
            ));
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let own = folder.join(number.to_string());
        let mut keys = Self {
            folder: Some(own.clone()),
            identity: None,
            known_hosts: None,
        };
        let failed = |error: io::Error| {
            unfit(format!(
                "failed to lay it out for `ssh` in `{}`: {error}",
                own.display()
            ))
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&own).map_err(failed)?;
        let lay_out = |name: &str, value: Option<&[u8]>| {
            let lay_out = |value| private_file(&own.join(name), value);
            value.map(lay_out).transpose().map_err(failed)
        };
        keys.identity = lay_out("identity", identity)?;
        keys.known_hosts = lay_out("known_hosts", known_hosts)?;
        Ok(keys)
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

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // Whatever stays is removed at the next start.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn private_file(path: &Path, value: &[u8]) -> io::Result<PathBuf> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(value)?;
    // A key without its last line end, as web forms leave it, is none for `ssh`.
    if !value.ends_with(b"\n") {
        file.write_all(b"\n")?;
    }
    Ok(path.to_owned())
}
