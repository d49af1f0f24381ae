//! What was fetched from registries: a layout on disk that may be deleted at any time.
//!
//! A blob appears in it whole, compared with its digest and on disk, or not at all, so that neither
//! `kill -9` nor a full disk leaves anything that has to be put right. Before a blob is handed out
//! that this process did not fetch, it is compared again.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use placet_model::{Digest, Hasher};
use placet_package::{Layout, Package, PackageError};

#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    /// Old modules make room for new ones beyond so many bytes.
    most: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Blobs that were compared with their digest, and the file that they were in.
    checked: BTreeMap<Digest, Stamp>,
    /// The digest that each tag had when it was looked up last; read when it is needed first.
    tags: Option<BTreeMap<String, Digest>>,
}

/// A file that has not been written to since is the same file.
type Stamp = (u64, u64, i64, i64);

/// Tags that are remembered.
const TAGS_MOST: usize = 4_096;
/// Nobody goes on with a download that was broken off so long ago.
const PART_AGE: Duration = Duration::from_hours(24);
const TAGS: &str = "tags.json";
const PART: &str = ".placet-part-";

impl Cache {
    pub(super) fn new(folder: &Path, most: u64) -> Self {
        remove_old_parts(folder);
        Self {
            folder: folder.to_owned(),
            most,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each insertion stands for itself: a panic in between leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The layout; made anew where somebody deleted it.
    pub(super) fn layout(&self) -> Result<Layout, PackageError> {
        Layout::open(&self.folder.join("layout"))
            .or_else(|_| Layout::create(&self.folder.join("layout")))
    }

    /// The metadata of a package, if they are here.
    pub(super) fn metadata(&self, digest: &Digest) -> Option<Package> {
        self.layout().ok()?.metadata(digest).ok()
    }

    /// True if the blob is here with the bytes of its digest. One with others is removed.
    pub(super) fn has(&self, digest: &Digest, size: u64) -> bool {
        let Some((path, stamp)) = self.stamp(digest, size) else {
            return false;
        };
        if self.state().checked.get(digest) == Some(&stamp) {
            touch(&path);
            return true;
        }
        let is_good = digest_of(&path).is_ok_and(|found| found == *digest);
        if is_good {
            self.state().checked.insert(*digest, stamp);
            touch(&path);
        } else {
            tracing::warn!("module {digest} is damaged in the cache and is fetched again");
            // What cannot be removed is replaced.
            let _ = fs::remove_file(&path);
        }
        is_good
    }

    /// The blob was just fetched, and compared.
    pub(super) fn note(&self, digest: &Digest, size: u64) {
        if let Some((_, stamp)) = self.stamp(digest, size) {
            self.state().checked.insert(*digest, stamp);
        }
    }

    fn stamp(&self, digest: &Digest, size: u64) -> Option<(PathBuf, Stamp)> {
        let path = self.layout().ok()?.blob_path(digest);
        let found = fs::symlink_metadata(&path).ok()?;
        let stamp = (found.ino(), found.len(), found.mtime(), found.mtime_nsec());
        (found.is_file() && found.len() == size).then_some((path, stamp))
    }

    /// Removes what was not used for longest, until `bytes` more fit. Whoever reads it meanwhile
    /// reads it to its end.
    pub(super) fn make_room(&self, bytes: u64) {
        self.shrink(self.most.saturating_sub(bytes));
    }

    /// Removes twice as much as `bytes`, so that the disk has room for them; false if nothing could
    /// be removed.
    pub(super) fn clear(&self, bytes: u64) -> bool {
        let all: u64 = self.blobs().iter().map(|blob| blob.size).sum();
        self.shrink(all.saturating_sub(bytes.saturating_mul(2)))
    }

    fn shrink(&self, most: u64) -> bool {
        let mut blobs = self.blobs();
        let mut all: u64 = blobs.iter().map(|blob| blob.size).sum();
        blobs.sort_by_key(|blob| blob.used);
        let mut is_smaller = false;
        for blob in blobs {
            if all <= most {
                break;
            }
            if fs::remove_file(&blob.path).is_ok() {
                all -= blob.size;
                is_smaller = true;
            }
        }
        is_smaller
    }

    fn blobs(&self) -> Vec<Kept> {
        let folder = self.folder.join("layout/blobs/sha256");
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let kept = entries.filter_map(|entry| {
            let found = entry.metadata().ok()?;
            Some(Kept {
                path: entry.path(),
                size: found.len(),
                used: found.accessed().ok()?,
            })
        });
        kept.collect()
    }

    /// The digest that a tag had when it was looked up last.
    pub(super) fn tag(&self, reference: &str) -> Option<Digest> {
        let mut state = self.state();
        self.tags(&mut state).get(reference).copied()
    }

    /// Remembers it, beyond the end of this process.
    pub(super) fn note_tag(&self, reference: &str, digest: Digest) {
        let mut state = self.state();
        let tags = self.tags(&mut state);
        if tags.get(reference) == Some(&digest) {
            return;
        }
        if tags.len() >= TAGS_MOST {
            tags.clear();
        }
        tags.insert(reference.to_owned(), digest);
        let text = placet_model::canonical_json(tags);
        let beside = self.folder.join(".tags");
        let written =
            fs::write(&beside, text).and_then(|()| fs::rename(&beside, self.folder.join(TAGS)));
        if let Err(error) = written {
            tracing::warn!("failed to remember what tags mean: {error}");
        }
    }

    fn tags<'s>(&self, state: &'s mut State) -> &'s mut BTreeMap<String, Digest> {
        state.tags.get_or_insert_with(|| {
            let text = fs::read(self.folder.join(TAGS)).unwrap_or_default();
            // What cannot be read is looked up again.
            serde_json::from_slice(&text).unwrap_or_default()
        })
    }
}

struct Kept {
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Notes that a file was used, also where the system does not.
fn touch(path: &Path) {
    let times = FileTimes::new().set_accessed(SystemTime::now());
    // It would only be removed earlier.
    let _ = File::open(path).and_then(|file| file.set_times(times));
}

fn remove_old_parts(folder: &Path) {
    let entries = fs::read_dir(folder.join("layout")).into_iter().flatten();
    for entry in entries.flatten() {
        let is_part = entry.file_name().to_string_lossy().starts_with(PART);
        let age = entry.metadata().and_then(|found| found.modified());
        let age = age.ok().and_then(|time| time.elapsed().ok());
        if is_part && age.is_some_and(|age| age > PART_AGE) {
            // What cannot be removed does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path(), 1_000);
        let layout = cache.layout().unwrap();
        let blobs = [300, 301, 302].map(|size: u64| {
            let bytes = vec![0; usize::try_from(size).unwrap()];
            let digest = Digest::of(&bytes);
            fs::write(layout.blob_path(&digest), bytes).unwrap();
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(size);
            let file = File::open(layout.blob_path(&digest)).unwrap();
            file.set_times(FileTimes::new().set_accessed(used)).unwrap();
            (digest, size)
        });
        let here = || blobs.map(|(digest, _)| layout.blob_path(&digest).exists());
        cache.make_room(97);
        assert_eq!(here(), [true; 3], "all fit");
        // Being asked for is a use.
        assert!(cache.has(&blobs[0].0, blobs[0].1));
        cache.make_room(98);
        assert_eq!(here(), [true, false, true]);
        cache.make_room(5_000);
        assert_eq!(here(), [false; 3], "one that never fits takes all there is");
    }
}
