//! Fetching a blob into a layout: resumed after an interruption, whole and verified or not there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::fcntl::{Flock, FlockArg};
use placet_model::{Digest, Hasher};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tokio::task::spawn_blocking;

use super::client::{Registry, slow};
use super::error::{Fault, Outcome, RegistryError};
use super::token::Scope;
use super::{Progress, RegistryReference, answer};
use crate::files::{self, PART};
use crate::layout::Layout;

/// A blob that is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) repository: &'a str,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// What has come of a blob so far. It lies beside the layout's blobs, so that nobody takes it for
/// one, and is locked, so that two who fetch the same take turns.
struct Part {
    path: PathBuf,
    file: Flock<File>,
    hasher: Hasher,
    size: u64,
}

/// A blob that comes in pieces may take so many times as long as one that comes at once.
const TIMES: u32 = 4;
/// Bytes that are handed to the disk at once.
const BUFFER: usize = 256 << 10;

impl Registry {
    /// Fetches a blob of a repository into `layout`, unless it is there; returns the bytes that
    /// travelled.
    ///
    /// # Guarantees
    ///
    /// Afterwards the layout holds the blob with exactly the bytes of its digest, on disk. What came
    /// before an interruption, `kill -9` included, is not fetched again. Bytes that turn out wrong
    /// are thrown away and fetched once more from the beginning.
    ///
    /// # Errors
    ///
    /// The registry cannot be reached, does not have it, or sends something else; or the disk is
    /// full.
    pub async fn fetch(
        &self,
        reference: &RegistryReference,
        (digest, size): (Digest, u64),
        layout: &Layout,
        progress: &dyn Progress,
    ) -> Result<u64, RegistryError> {
        let wanted = Wanted {
            repository: &reference.repository,
            digest,
            size,
        };
        let fetched = self.fetch_blob(wanted, layout, progress).await;
        fetched.map_err(|fault| RegistryError::new(reference, fault))
    }

    pub(crate) async fn fetch_blob(
        &self,
        wanted: Wanted<'_>,
        layout: &Layout,
        progress: &dyn Progress,
    ) -> Outcome<u64> {
        let Wanted { digest, size, .. } = wanted;
        if has(layout, digest, size).await? {
            progress.present(size);
            return Ok(0);
        }
        let mut part = Part::open(layout, digest, size).await?;
        // Somebody else may have fetched it while this one waited for its turn.
        if has(layout, digest, size).await? {
            part.remove();
            progress.present(size);
            return Ok(0);
        }
        progress.present(part.size);
        let mut is_resumed = part.size > 0;
        let mut travelled = 0;
        loop {
            travelled += self.receive(wanted, &mut part, progress).await?;
            match part.finish(layout, wanted).await {
                Err((again, Fault::WrongDigest { .. })) if is_resumed => {
                    is_resumed = false;
                    part = again;
                    part.clear()?;
                }
                Err((wrong, fault)) => {
                    wrong.remove();
                    return Err(fault);
                }
                Ok(()) => return Ok(travelled),
            }
        }
    }

    /// Reads until the blob is as long as it should be. Progress earns new patience.
    async fn receive(
        &self,
        wanted: Wanted<'_>,
        part: &mut Part,
        progress: &dyn Progress,
    ) -> Outcome<u64> {
        let (what, mut travelled, mut attempts) = (what(&wanted), 0, 0);
        let mut is_fresh = part.size == 0;
        let (begun, mut best) = (Instant::now(), part.size);
        let patience = self.limits.time_for(wanted.size) * TIMES;
        while part.size < wanted.size {
            let before = part.size;
            let response = self.ask_from(wanted, part.size, &what).await?;
            if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                // What came earlier may be the end of something else; what came now is not.
                part.clear()?;
                if std::mem::replace(&mut is_fresh, true) {
                    return Err(Fault::answer(&what, "it has fewer bytes than announced"));
                }
                continue;
            }
            let starts = starts_at(&response, part.size, &what)?;
            if starts == 0 {
                part.clear()?;
            }
            let time = self.limits.time_for(wanted.size - part.size);
            let copied = part.fill(response, &wanted, progress);
            let copied = tokio::time::timeout(time, copied).await;
            let copied = copied.unwrap_or_else(|_| Err(slow(&what, time)));
            part.save().await?;
            travelled += part.size.saturating_sub(before);
            match copied {
                Err(fault) if !fault.may_pass() => {
                    part.clear()?;
                    return Err(fault);
                }
                Err(fault @ Fault::Slow { .. }) => return Err(fault),
                _ if part.size > best => attempts = 0,
                _ => attempts += 1,
            }
            best = best.max(part.size);
            let is_whole = part.size == wanted.size;
            let is_hopeless = attempts >= self.limits.attempts || begun.elapsed() > patience;
            if is_hopeless && !is_whole {
                return Err(Fault::CutOff {
                    what,
                    wanted: wanted.size,
                    found: part.size,
                    attempts,
                });
            }
        }
        Ok(travelled)
    }

    pub(super) async fn ask_from(
        &self,
        wanted: Wanted<'_>,
        offset: u64,
        what: &str,
    ) -> Outcome<Response> {
        let url = self.url(wanted.repository, &format!("blobs/{}", wanted.digest))?;
        let scope = Scope::pull(wanted.repository);
        let answer = self
            .ask(&scope, what, |http| {
                let request = http.get(url.clone());
                if offset == 0 {
                    request
                } else {
                    request.header(RANGE, format!("bytes={offset}-"))
                }
            })
            .await?;
        let fit = [
            StatusCode::OK,
            StatusCode::PARTIAL_CONTENT,
            StatusCode::RANGE_NOT_SATISFIABLE,
        ];
        answer::expect(answer, &fit, what).await
    }
}

pub(super) fn what(wanted: &Wanted<'_>) -> String {
    format!("blob {}", wanted.digest)
}

/// Where in the blob the body begins: at its beginning, or where it was asked from.
fn starts_at(response: &Response, offset: u64, what: &str) -> Outcome<u64> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(0);
    }
    let range = response.headers().get(CONTENT_RANGE);
    let range = range
        .and_then(|range| range.to_str().ok())
        .unwrap_or_default();
    let start = range
        .strip_prefix("bytes ")
        .and_then(|rest| rest.split('-').next());
    match start.and_then(|start| start.parse::<u64>().ok()) {
        Some(start) if start == offset => Ok(offset),
        _ => Err(Fault::answer(what, "it begins in another place than asked")),
    }
}

/// True if the layout holds the blob, with these bytes and no others.
pub(super) async fn has(layout: &Layout, digest: Digest, size: u64) -> Outcome<bool> {
    let layout = layout.clone();
    let looked = spawn_blocking(move || {
        let Ok(mut file) = layout.open_sized(&digest, size) else {
            return false;
        };
        files::copy(&mut file, &mut io::sink()).is_ok_and(|(found, _)| found == digest)
    });
    looked.await.map_err(stopped)
}

fn stopped(error: tokio::task::JoinError) -> Fault {
    Fault::keep("a blob")(io::Error::other(error))
}

impl Part {
    async fn open(layout: &Layout, digest: Digest, size: u64) -> Outcome<Self> {
        let folder = layout.dir().to_owned();
        let opened = spawn_blocking(move || Self::open_blocking(&folder, digest, size));
        let opened = opened.await.map_err(stopped)?;
        opened.map_err(Fault::keep("what has come of a blob so far"))
    }

    fn open_blocking(folder: &Path, digest: Digest, most: u64) -> io::Result<Self> {
        let path = folder.join(format!("{PART}{}", digest.hex()));
        let file = loop {
            let mut options = File::options();
            let options = options.create(true).truncate(false).read(true).append(true);
            let file = Flock::lock(options.open(&path)?, FlockArg::LockExclusive);
            let file = file.map_err(|(_, error)| io::Error::from(error))?;
            // Whoever held it before may have finished, and then this is no file of the folder.
            if is_same(&file, &path) {
                break file;
            }
        };
        let mut reader = &*file;
        let mut hashing = Hashing(Hasher::default());
        let size = io::copy(&mut reader, &mut hashing)?;
        let mut part = Self {
            path,
            file,
            hasher: hashing.0,
            size,
        };
        if part.size > most {
            part.reset()?;
        }
        Ok(part)
    }

    fn reset(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.hasher = Hasher::default();
        self.size = 0;
        Ok(())
    }

    /// Throws away what has come.
    fn clear(&mut self) -> Outcome<()> {
        if self.size == 0 {
            return Ok(());
        }
        self.reset().map_err(Fault::keep("a blob"))
    }

    async fn fill(
        &mut self,
        mut response: Response,
        wanted: &Wanted<'_>,
        progress: &dyn Progress,
    ) -> Outcome<()> {
        let what = what(wanted);
        let file = self.file.try_clone().map_err(Fault::keep(&what))?;
        let mut writer =
            tokio::io::BufWriter::with_capacity(BUFFER, tokio::fs::File::from_std(file));
        let copied = loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break Ok(()),
                Err(error) => break Err(Fault::Unreachable(error.without_url())),
            };
            let count = chunk.len() as u64;
            if self.size + count > wanted.size {
                break Err(Fault::TooLarge {
                    what,
                    most: wanted.size,
                });
            }
            writer.write_all(&chunk).await.map_err(Fault::keep(&what))?;
            self.hasher.update(&chunk);
            self.size += count;
            progress.moved(count);
        };
        writer.flush().await.map_err(Fault::keep("a blob"))?;
        copied
    }

    /// Makes what the hasher has seen and what the file holds the same again, after a copy that was
    /// cut off in the middle of a write.
    async fn save(&mut self) -> Outcome<()> {
        let found = self.file.metadata().map_err(Fault::keep("a blob"))?.len();
        if found == self.size {
            return Ok(());
        }
        let file = self.file.try_clone().map_err(Fault::keep("a blob"))?;
        let read = spawn_blocking(move || {
            let mut hashing = Hashing(Hasher::default());
            io::Seek::rewind(&mut &file)?;
            let size = io::copy(&mut &file, &mut hashing)?;
            io::Result::Ok((hashing.0, size))
        });
        let read = read.await.map_err(stopped)?;
        (self.hasher, self.size) = read.map_err(Fault::keep("a blob"))?;
        Ok(())
    }

    /// Gives the blob its name, if it is the one that was wanted.
    async fn finish(self, layout: &Layout, wanted: Wanted<'_>) -> Result<(), (Self, Fault)> {
        let found = self.hasher.clone().finish();
        if found != wanted.digest {
            let fault = Fault::WrongDigest {
                what: what(&wanted),
                wanted: wanted.digest,
                found,
            };
            return Err((self, fault));
        }
        let target = layout.blob_path(&wanted.digest);
        let named = spawn_blocking(move || {
            let named = self.name(&target);
            (self, named)
        });
        match named.await {
            Ok((part, Err(error))) => Err((part, Fault::keep("a blob")(error))),
            // Where the runtime ends in between, nobody is there to be told.
            Ok((_, Ok(()))) | Err(_) => Ok(()),
        }
    }

    fn name(&self, target: &Path) -> io::Result<()> {
        let folder = target.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        self.file.sync_all()?;
        fs::rename(&self.path, target)?;
        File::open(folder)?.sync_all()
    }

    fn remove(self) {
        // What cannot be removed is found again, and checked.
        let _ = fs::remove_file(&self.path);
    }
}

fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(open), Ok(named)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

struct Hashing(Hasher);

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
