//! What is going on, written down before it begins, so that after a crash the node can say what
//! it was about and finish it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use placet_model::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, Test, files};

/// More generations than anybody asks to be kept.
const BEFORE_MAX: usize = 256;

/// A generation is being fetched and laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Staging {
    pub(crate) rollout: String,
    pub(crate) manifest: Digest,
}

/// A generation is taking the place of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Activating {
    pub(crate) rollout: String,
    pub(crate) change_digest: Digest,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Why it is being given back, if it is.
    pub(crate) gives_back: Option<String>,
    /// For how long what it touches has to run well before it counts as made.
    #[serde(default)]
    pub(crate) soak_seconds: u64,
    /// True while that is watched.
    #[serde(default)]
    pub(crate) soaks: bool,
    /// The test in which `from` ran, if it was one.
    #[serde(default)]
    pub(crate) from_test: Option<Test>,
}

/// The node is about to be restarted for its boot image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Booting {
    /// The manifest whose image was installed.
    pub(crate) manifest: Digest,
    /// The boot in which it was.
    pub(crate) boot_id: String,
}

/// What was going on when the daemon ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Journal {
    pub(crate) staging: Option<Staging>,
    pub(crate) activating: Option<Activating>,
    pub(crate) booting: Option<Booting>,
}

impl Store {
    pub(crate) fn journal(&self) -> Result<Journal, StoreError> {
        Ok(Journal {
            staging: self.get("journal/staging.json")?,
            activating: self.get("journal/activating.json")?,
            booting: self.get("journal/booting.json")?,
        })
    }

    /// Notes that staging begins, or has ended.
    pub(crate) fn note_staging(&self, staging: Option<&Staging>) -> Result<(), StoreError> {
        self.put("journal/staging.json", staging)
    }

    /// Notes that an activation begins, turns back, or has ended.
    pub(crate) fn note_activating(
        &self,
        activating: Option<&Activating>,
    ) -> Result<(), StoreError> {
        self.put("journal/activating.json", activating)
    }

    /// Notes that the node is about to be restarted for its boot image, or runs it.
    pub(crate) fn note_booting(&self, booting: Option<&Booting>) -> Result<(), StoreError> {
        self.put("journal/booting.json", booting)
    }

    /// The manifests that failed on this node, and why.
    pub(crate) fn failed(&self) -> Result<BTreeMap<Digest, String>, StoreError> {
        Ok(self.get("failed.json")?.unwrap_or_default())
    }

    pub(crate) fn note_failed(&self, failed: &BTreeMap<Digest, String>) -> Result<(), StoreError> {
        self.put("failed.json", Some(failed))
    }

    /// The highest epoch of a controller that this node has obeyed.
    pub(crate) fn epoch(&self) -> Result<u64, StoreError> {
        Ok(self.get("epoch.json")?.unwrap_or(0))
    }

    pub(crate) fn note_epoch(&self, epoch: u64) -> Result<(), StoreError> {
        self.put("epoch.json", Some(&epoch))
    }

    /// The numbers of the generations that were committed before, the newest first.
    pub(crate) fn before(&self) -> Vec<u64> {
        self.get("before.json").ok().flatten().unwrap_or_default()
    }

    /// Notes what is committed now, before `next` takes its place.
    pub(super) fn note_before(&self, next: u64) -> Result<(), StoreError> {
        let now = self.committed_number()?;
        if now == next || now == 0 {
            return Ok(());
        }
        let mut before = self.before();
        before.retain(|number| *number != next && *number != now);
        before.insert(0, now);
        before.truncate(BEFORE_MAX);
        self.put("before.json", Some(&before))
    }

    pub(super) fn get<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>, StoreError> {
        let path: PathBuf = self.root.join(file);
        let Some(content) = files::read(&path)? else {
            return Ok(None);
        };
        match serde_json::from_slice(&content) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                // Each of these files can be done without; a node that does not start cannot.
                let aside = path.with_extension("damaged");
                tracing::error!(
                    "`{}` is damaged ({error}): it is kept as `{}`, and the node goes on without it",
                    path.display(),
                    aside.display()
                );
                let _ = self.disk.rename(&path, &aside);
                Ok(None)
            }
        }
    }

    pub(super) fn put<T: Serialize>(
        &self,
        file: &str,
        value: Option<&T>,
    ) -> Result<(), StoreError> {
        let path = self.root.join(file);
        match value {
            Some(value) => {
                let text = serde_json::to_vec(value).expect("store types serialise to JSON");
                self.disk.write(&path, &text)
            }
            None => self.disk.remove_for_good(&path),
        }
    }
}
