//! What a node keeps on disk: modules by digest, generations made of them, and which one is
//! committed.
//!
//! ```text
//! store/<digest>/<mode>[-<uid>-<gid>]   one module; hard-linked into the generations
//! partial/<digest>                      one that is being fetched
//! generations/<N>/manifest.json         canonical JSON: its SHA-256 is the manifest's digest
//! generations/<N>/held.json             digests held where they are not the manifest's
//! generations/<N>/sealed.json           what its files were when it was sealed
//! generations/<N>/tree/                 what processes see
//! committed -> generations/<N>          what runs, and what starts when the node starts
//! before.json                           generations committed before, the newest first
//! format                                the number of this layout
//! journal/                              what is going on
//! ```
//!
//! **Invariant:** whatever stands under a final name is complete and was flushed before it got
//! that name. A crash leaves at most files under temporary names, which [`Store::open`] removes.
//! That is also why no error path tidies up: an error and a crash leave the same behind.

mod blob;
mod check;
mod disk;
mod files;
mod generation;
mod image;
mod journal;
mod memory;
mod repair;
mod space;
mod verify;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use placet_model::{Digest, ModulePath, PathError, ProcessName};

pub(crate) use blob::{Incoming, Missing};
pub(crate) use disk::Disk;
pub(crate) use generation::Generation;
pub(crate) use journal::{Activating, Booting, Staging};
pub(crate) use memory::{Test, since_boot};
pub(crate) use space::Allowance;
pub(crate) use verify::{Depth, Difference, Drift};

/// The layout above. It is raised when an older daemon could do harm to what a newer one wrote.
const FORMAT: u32 = 1;

/// What the store could not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("failed to {what} `{path}`")]
    File {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("`{path}` does not hold what it should: {why}; remove it to let the node start anew")]
    Damaged { path: PathBuf, why: String },
    #[error(
        "`{root}` was written by a newer placetd (format {found}; this one knows {FORMAT}): start the newer one again, or give this one a state folder of its own with --state"
    )]
    Newer { root: PathBuf, found: u32 },
    #[error("manifest {digest} has {count} modules; a node takes up to {most}")]
    TooMany {
        digest: Digest,
        count: usize,
        most: usize,
    },
    #[error("manifest {digest} names `{path}` twice, or not in order")]
    Order { digest: Digest, path: ModulePath },
    #[error("manifest {digest} has `{path}` both as a module and as the folder of another")]
    Folder { digest: Digest, path: ModulePath },
    #[error("manifest {digest} has a symbolic link that is refused")]
    Link { digest: Digest, source: PathError },
    #[error(
        "manifest {digest} has a symbolic link `{path}` whose target has `..` after a name; write it with `..` first"
    )]
    LinkShape { digest: Digest, path: ModulePath },
    #[error("manifest {digest} runs a process from `{path}`, which cannot be executed: {why}")]
    NotExecutable {
        digest: Digest,
        path: ModulePath,
        why: &'static str,
    },
    #[error("manifest {digest} cannot be run")]
    Process {
        digest: Digest,
        source: placet_model::ProcessFault,
    },
    #[error("manifest {digest} has two processes with the name `{process}`")]
    SameProcess {
        digest: Digest,
        process: ProcessName,
    },
    #[error("module `{path}` belongs to {what} `{name}`, which this node does not have")]
    Owner {
        path: ModulePath,
        what: &'static str,
        name: String,
    },
    #[error(
        "module {digest} has more than the {size} bytes that its manifest says; what arrived is thrown away"
    )]
    TooLong { digest: Digest, size: u64 },
    #[error("module {digest} ended after {received} of {size} bytes")]
    TooShort {
        digest: Digest,
        received: u64,
        size: u64,
    },
    #[error(
        "the bytes that arrived for module {digest} have the digest {found}; they are thrown away"
    )]
    WrongDigest { digest: Digest, found: Digest },
    #[error("module {digest} for `{path}` is not in the store")]
    Lacking { digest: Digest, path: ModulePath },
    #[error("this node runs nothing from memory only: its folder for that could not be made")]
    NoMemory,
    #[error(
        "`{root}` is on a disk, so that nothing can run from memory only; name a folder of a tmpfs with --memory"
    )]
    OnDisk { root: PathBuf },
    #[error("there is no room for manifest {digest} in `{root}`")]
    NoRoom {
        digest: Digest,
        root: PathBuf,
        source: space::Shortage,
    },
    #[error("failed to {what} `{path}`: the disk is full; free space on it and try again")]
    Full {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "failed to {what} `{path}`: the disk can only be read; look for errors of the disk in the kernel's log, then mount it for writing"
    )]
    ReadOnly {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// The store of one node. Clones are the same store.
///
/// Its methods block; they are fast except for [`Store::lay_out`] and [`Store::collect`].
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
    disk: Disk,
    allowance: Allowance,
    /// The part in memory, of the part on the disk.
    memory: Option<Arc<Self>>,
    /// The part on the disk, of the part in memory.
    source: Option<Arc<Self>>,
}

impl Store {
    /// Opens the store at `root`, makes it if there is none, and removes what a crash left under
    /// temporary names.
    pub(crate) fn open(root: &Path, disk: Disk) -> Result<Self, StoreError> {
        let store = Self {
            root: root.to_owned(),
            disk,
            allowance: Allowance::default(),
            memory: None,
            source: None,
        };
        store.disk.make_folder(&store.root)?;
        store.check_format()?;
        for folder in ["store", "partial", "generations", "journal"] {
            store.disk.make_folder(&store.root.join(folder))?;
        }
        // Processes run as users of their own, each from the tree of its generation.
        store.disk.let_pass(&store.generations())?;
        store.disk.flush(&store.root)?;
        if let Err(error) = generation::tidy(&store) {
            // It is only in the way of space.
            tracing::warn!("{}", crate::Chain(&error));
        }
        Ok(store)
    }

    /// Refuses what a newer daemon wrote, and says for later ones what this one writes.
    fn check_format(&self) -> Result<(), StoreError> {
        let path = self.root.join("format");
        let found = files::read(&path)?;
        let found = found.and_then(|text| String::from_utf8(text).ok()?.trim().parse::<u32>().ok());
        match found {
            Some(found) if found > FORMAT => Err(StoreError::Newer {
                root: self.root.clone(),
                found,
            }),
            Some(_) => Ok(()),
            None => self.disk.write(&path, format!("{FORMAT}\n").as_bytes()),
        }
    }

    /// The store with a bound to what it takes.
    pub(crate) fn within(mut self, allowance: Allowance) -> Self {
        self.allowance = allowance;
        self
    }

    /// Removes every generation that is neither in `keep` nor one of the last that were committed,
    /// and every module that no generation has and that is not in `wanted`.
    pub(crate) fn collect(
        &self,
        keep: &BTreeSet<u64>,
        wanted: &BTreeSet<Digest>,
    ) -> Result<Vec<u64>, StoreError> {
        let mut keep = keep.clone();
        keep.extend(self.before().into_iter().take(self.allowance.kept));
        let removed = generation::collect(self, &keep)?;
        blob::collect(self, wanted)?;
        if let Some(memory) = &self.memory {
            memory.collect_images(&keep)?;
            memory.collect(&keep, wanted)?;
        }
        Ok(removed)
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("store")
    }

    fn generations(&self) -> PathBuf {
        self.root.join("generations")
    }
}

#[cfg(test)]
mod tests;
