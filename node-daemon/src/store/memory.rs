//! The part of a store that is in memory: for changes of which nothing may be stored (C-D2).
//!
//! It is a store of its own in a folder of a file system without a disk, with
//!
//! ```text
//! life        the life of the keeper whose processes run from it
//! test.json   what runs in place of the committed generation, and until when
//! ```
//!
//! besides. Modules that the other part has are copied, so that a power cut, or any other end of
//! the keeper, brings back what is committed by taking nothing away.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::time::{ClockId, clock_gettime};
use placet_model::Digest;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, files};

/// The other file system without a disk (`linux/magic.h`).
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// What runs in place of the committed generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Test {
    pub(crate) generation: u64,
    /// What is committed meanwhile; the test is void if that changes.
    pub(crate) stored: u64,
    /// The roll-out that brought it, and its change.
    pub(crate) rollout: String,
    pub(crate) change_digest: Digest,
    /// When it ends by itself, by [`since_boot`].
    pub(crate) ends: Option<Duration>,
}

/// A test that ended with the processes that ran in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) generation: u64,
    pub(crate) manifest: Digest,
    /// True if it was to end by itself too: what has no end is only not stored.
    pub(crate) was_limited: bool,
}

/// The time since the machine was started, which nobody sets; sleep counts.
pub(crate) fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

impl Store {
    /// The store with a part in the folder `root`. What is there belongs to the processes of the
    /// keeper's `life`; that of another life is removed, and what ran then returned.
    pub(crate) fn with_memory(
        mut self,
        root: &Path,
        life: &str,
    ) -> Result<(Self, Option<Ended>), StoreError> {
        let note = root.join("life");
        let is_ours = files::read(&note)?.is_some_and(|found| found == life.as_bytes());
        let mut ended = None;
        if !is_ours && root.exists() {
            ended = self.part(root).ended();
            self.disk.remove_tree(root)?;
        }
        let part = Self::open(root, self.disk.clone())?;
        if !is_ours {
            part.disk.write(&note, life.as_bytes())?;
        }
        self.memory = Some(Arc::new(self.part(root)));
        Ok((self, ended))
    }

    fn part(&self, root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            disk: self.disk.clone(),
            allowance: super::Allowance::default(),
            memory: None,
            source: Some(Arc::new(self.clone())),
        }
    }

    /// The part in memory.
    ///
    /// # Errors
    ///
    /// There is none, or its folder is on a disk.
    pub(crate) fn memory(&self) -> Result<Self, StoreError> {
        let memory = self.memory.as_ref().ok_or(StoreError::NoMemory)?;
        let root = &memory.root;
        let found = statfs(root).map(|found| found.filesystem_type());
        if found.is_ok_and(|found| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&found)) {
            Ok(Self::clone(memory))
        } else {
            Err(StoreError::OnDisk { root: root.clone() })
        }
    }

    /// The part that has a generation.
    pub(crate) fn owner(&self, number: u64) -> &Self {
        let has = |part: &Self| part.generations().join(number.to_string()).exists();
        let others = self.others();
        let mut parts = std::iter::once(self).chain(others);
        parts.find(|part| has(part)).unwrap_or(self)
    }

    /// The other part.
    pub(super) fn others(&self) -> impl Iterator<Item = &Self> {
        self.memory.iter().chain(&self.source).map(Arc::as_ref)
    }

    /// What runs in place of the committed generation.
    pub(crate) fn test(&self) -> Option<Test> {
        let test = self.memory.as_ref()?.own_test()?;
        let committed = self.committed_number().ok()?;
        (test.stored == committed).then_some(test)
    }

    fn own_test(&self) -> Option<Test> {
        self.get("test.json").ok().flatten()
    }

    fn ended(&self) -> Option<Ended> {
        let test = self.own_test()?;
        Some(Ended {
            generation: test.generation,
            manifest: self.load(test.generation).ok()?.digest,
            was_limited: test.ends.is_some(),
        })
    }

    /// Has the generation of `test` run in place of the committed one: the point of no return.
    pub(crate) fn begin_test(&self, test: &Test) -> Result<(), StoreError> {
        let memory = self.memory.as_ref().ok_or(StoreError::NoMemory)?;
        memory.put("test.json", Some(test))
    }

    /// Has the committed generation run again.
    pub(crate) fn end_test(&self) -> Result<(), StoreError> {
        let memory = self.memory.iter();
        let mut in_test = memory.filter(|part| part.own_test().is_some());
        in_test.try_for_each(|part| part.put::<Test>("test.json", None))
    }
}
