//! Whether there is room for a generation, decided before anything of it is fetched.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use placet_model::NodeManifest;

use super::disk::Context as _;
use super::{Generation, Store, StoreError};

/// Left free of a large disk unless told otherwise, so that logs and journals go on.
const RESERVE: u64 = 64 << 20;

/// The part of a smaller disk that is left free, of bytes and of files.
const RESERVE_PART: u64 = 50;

/// Files that are left free of many.
const RESERVE_FILES: u64 = 1000;

/// What a file or folder takes besides its content, and what is rounded up to.
pub(super) const BLOCK: u64 = 4096;

/// Journal, epoch and the like.
const SMALL_FILES: u64 = 8;

/// What the store may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Bytes to leave free on the disk.
    pub(crate) reserve: Option<u64>,
    /// Bytes that the whole state folder may take.
    pub(crate) quota: Option<u64>,
    /// How many generations are kept of those that were committed before.
    pub(crate) kept: usize,
}

/// What a generation needs that is not there yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    /// Bytes of the disk, and those that are free.
    size: u64,
    free: u64,
    /// Files that the disk can hold, and how many more; `None` where that has no bound.
    files: Option<(u64, u64)>,
    /// Bytes that the state folder takes; not looked at without a quota.
    used: u64,
}

/// Why there is no room, and for how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Shortage {
    #[error(
        "it needs {} and {} are free, {} of them kept as a reserve: free {} more, or lower --disk-reserve",
        Bytes(*needs), Bytes(*free), Bytes(*reserve), Bytes(*lacking)
    )]
    Disk {
        needs: u64,
        free: u64,
        reserve: u64,
        lacking: u64,
    },
    #[error(
        "it needs {} and of the quota of {}, {} are in use: raise --quota by {}",
        Bytes(*needs), Bytes(*quota), Bytes(*used), Bytes(*lacking)
    )]
    Quota {
        needs: u64,
        quota: u64,
        used: u64,
        lacking: u64,
    },
    #[error(
        "it needs {needs} files (inodes) and the disk can take {free} more, {reserve} of them kept as a reserve: remove files from it, or give the state folder another disk"
    )]
    Files { needs: u64, free: u64, reserve: u64 },
}

/// Bytes as people write them; rounded up, so that what is said suffices.
struct Bytes(u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            bytes if bytes >= 10 << 20 => write!(f, "{} MiB", bytes.div_ceil(1 << 20)),
            bytes if bytes >= 10 << 10 => write!(f, "{} KiB", bytes.div_ceil(1 << 10)),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

fn shortage(need: Need, room: Room, allowance: Allowance) -> Option<Shortage> {
    let least = RESERVE.min(room.size / RESERVE_PART);
    let reserve = allowance.reserve.unwrap_or(least);
    let lacking = (need.bytes + reserve).saturating_sub(room.free);
    if lacking > 0 {
        return Some(Shortage::Disk {
            needs: need.bytes,
            free: room.free,
            reserve,
            lacking,
        });
    }
    if let Some(quota) = allowance.quota {
        let lacking = (need.bytes + room.used).saturating_sub(quota);
        if lacking > 0 {
            return Some(Shortage::Quota {
                needs: need.bytes,
                quota,
                used: room.used,
                lacking,
            });
        }
    }
    let (files, free) = room.files?;
    let reserve = RESERVE_FILES.min(files / RESERVE_PART);
    (need.files + reserve > free).then_some(Shortage::Files {
        needs: need.files,
        free,
        reserve,
    })
}

impl Store {
    /// Refuses `manifest` if there is no room for it.
    pub(crate) fn check_room(
        &self,
        manifest: &NodeManifest,
        base: &Generation,
    ) -> Result<(), StoreError> {
        let need = self.need(manifest, base)?;
        self.check_need(manifest, need)
    }

    /// Refuses `manifest` if there is no room for what is needed of it.
    pub(super) fn check_need(&self, manifest: &NodeManifest, need: Need) -> Result<(), StoreError> {
        let room = self.room()?;
        match shortage(need, room, self.allowance) {
            None => Ok(()),
            Some(source) => Err(StoreError::NoRoom {
                digest: manifest.digest(),
                root: self.root.clone(),
                source,
            }),
        }
    }

    /// What fetching and laying out `manifest` will take, if anything a little less.
    fn need(&self, manifest: &NodeManifest, base: &Generation) -> Result<Need, StoreError> {
        let (mut folders, mut blobs) = (BTreeSet::new(), BTreeSet::new());
        let mut need = Need {
            bytes: SMALL_FILES * BLOCK,
            files: SMALL_FILES,
        };
        for module in manifest.stored_modules() {
            let path = Path::new(module.path.as_str());
            folders.extend(path.ancestors().skip(1));
            if module.link.is_some() {
                need.files += 1;
                continue;
            }
            let blob = self.variant_path(self.held(module, base), module)?;
            if blob.exists() || blobs.contains(&blob) {
                continue;
            }
            need.files += 1;
            need.bytes += module.size.next_multiple_of(BLOCK);
            if let Some(folder) = blob.parent().filter(|folder| !folder.exists()) {
                folders_of(&mut blobs, folder, &mut need);
            }
            blobs.insert(blob);
        }
        let lists = placet_model::canonical_json(manifest).len() as u64;
        need.files += folders.len() as u64;
        need.bytes += folders.len() as u64 * BLOCK + lists.next_multiple_of(BLOCK);
        for missing in self.missing(manifest, base) {
            let there = self.partial(missing.digest).metadata();
            let there = there.map_or(0, |there| there.blocks() * 512);
            need.bytes = need.bytes.saturating_sub(there);
        }
        Ok(need)
    }

    fn room(&self) -> Result<Room, StoreError> {
        let disk = statvfs(&self.root).map_err(std::io::Error::from);
        let disk = disk.on("look at the disk of", &self.root)?;
        let used = match self.allowance.quota {
            Some(_) => used(&self.root),
            None => 0,
        };
        Ok(Room {
            size: disk.blocks() * disk.fragment_size(),
            free: disk.blocks_available() * disk.fragment_size(),
            files: (disk.files() > 0).then(|| (disk.files(), disk.files_available())),
            used,
        })
    }
}

/// Counts a folder of the store that is not there yet, once.
fn folders_of(blobs: &mut BTreeSet<PathBuf>, folder: &Path, need: &mut Need) {
    if blobs.insert(folder.to_owned()) {
        need.files += 1;
        need.bytes += BLOCK;
    }
}

/// The bytes that a folder takes on the disk, each file once. What vanishes meanwhile takes none.
fn used(root: &Path) -> u64 {
    let mut seen = BTreeSet::new();
    let mut bytes = 0;
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(found) = fs::symlink_metadata(&path) else {
            continue;
        };
        if found.nlink() > 1 && !seen.insert(found.ino()) {
            continue;
        }
        bytes += found.blocks() * 512;
        if found.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            open.extend(entries.map(|entry| entry.path()));
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(need: (u64, u64), room: Room, allowance: Allowance, expected: &str) {
        let (bytes, files) = need;
        let found = shortage(Need { bytes, files }, room, allowance);
        let said = found.map_or_else(|| "there is room".to_owned(), |found| found.to_string());
        assert_eq!(said, expected);
    }

    const ROOM: Room = Room {
        size: 10 << 30,
        free: 100 << 20,
        files: Some((1_000_000, 5_000)),
        used: 50 << 20,
    };

    #[test]
    fn there_is_room_as_long_as_the_reserve_and_the_quota_are_kept() {
        let usual = Allowance::default();
        check((36 << 20, 4_000), ROOM, usual, "there is room");
        check(
            ((36 << 20) + 1, 1),
            ROOM,
            usual,
            "it needs 37 MiB and 100 MiB are free, 64 MiB of them kept as a reserve: free 1 bytes more, or lower --disk-reserve",
        );
        let none = Allowance {
            reserve: Some(0),
            ..usual
        };
        check((100 << 20, 1), ROOM, none, "there is room");
        let quota = Allowance {
            quota: Some(60 << 20),
            ..usual
        };
        check((10 << 20, 1), ROOM, quota, "there is room");
        check(
            (12 << 20, 1),
            ROOM,
            quota,
            "it needs 12 MiB and of the quota of 60 MiB, 50 MiB are in use: raise --quota by 2048 KiB",
        );
        check(
            (0, 4_001),
            ROOM,
            usual,
            "it needs 4001 files (inodes) and the disk can take 5000 more, 1000 of them kept as a reserve: remove files from it, or give the state folder another disk",
        );
        let unbounded = Room {
            files: None,
            ..ROOM
        };
        check((0, 1 << 40), unbounded, usual, "there is room");
        // A small disk: a fiftieth is kept.
        let small = Room {
            size: 100 << 20,
            free: 4 << 20,
            ..unbounded
        };
        check((2 << 20, 0), small, usual, "there is room");
    }
}
