//! Reading and writing files of a layout: bounded, regular files only, complete or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use placet_model::{Digest, Hasher, visible};

use crate::error::{Outcome, Problem};

/// Names of files that are being written; what a crash leaves is removed by the next writer.
pub(crate) const TEMPORARY: &str = ".placet-tmp-";
/// Names of blobs that have come in part; whoever wants the same blob goes on there.
pub(crate) const PART: &str = ".placet-part-";

/// Opens a regular file for reading; a link, device or pipe is refused and never waited for.
pub(crate) fn open(path: &Path) -> Outcome<(File, u64)> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
        .map_err(|error| open_problem(path, error))?;
    let metadata = file.metadata().map_err(Problem::io("examine", path))?;
    if !metadata.is_file() {
        return Err(Problem::NotAFile { file: name(path) });
    }
    Ok((file, metadata.len()))
}

fn open_problem(path: &Path, error: io::Error) -> Problem {
    const LINK: i32 = nix::errno::Errno::ELOOP as i32;
    const SOCKET: i32 = nix::errno::Errno::ENXIO as i32;
    match error.raw_os_error() {
        Some(LINK | SOCKET) => Problem::NotAFile { file: name(path) },
        _ if error.kind() == io::ErrorKind::NotFound => Problem::Missing { file: name(path) },
        _ => Problem::io("open", path)(error),
    }
}

fn name(path: &Path) -> String {
    let mut parts: Vec<_> = path.components().rev().take(3).collect();
    if !path.to_string_lossy().contains("blobs") {
        parts.truncate(1);
    }
    let parts = parts
        .into_iter()
        .rev()
        .map(|part| part.as_os_str().to_string_lossy());
    visible(&parts.collect::<Vec<_>>().join("/")).to_string()
}

/// Reads a whole file of at most `most` bytes.
pub(crate) fn read(path: &Path, most: u64) -> Outcome<Vec<u8>> {
    let (file, size) = open(path)?;
    let too_large = |size| Problem::TooLarge {
        what: format!("`{}`", name(path)),
        size,
        most,
    };
    if size > most {
        return Err(too_large(size));
    }
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(Problem::io("read", path))?;
    if bytes.len() as u64 > most {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// Digest and size of what `reader` gives, which goes to `writer`.
pub(crate) fn copy(reader: &mut dyn Read, writer: &mut dyn Write) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::default();
    let mut size = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), size)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..count]);
        writer.write_all(&buffer[..count])?;
        size += count as u64;
    }
}

/// Makes `target` hold what `fill` writes, all of it or nothing, on disk when this returns.
///
/// The file is first written beside the layout's blobs, in `folder`, so that a crash leaves
/// nothing there that looks like a blob.
pub(crate) fn write<T>(
    folder: &Path,
    target: &Path,
    fill: impl FnOnce(&mut File) -> Outcome<T>,
) -> Outcome<T> {
    let failed = || Problem::io("write", target);
    let mut temporary = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(failed())?;
    let value = fill(temporary.as_file_mut())?;
    temporary.as_file().sync_all().map_err(failed())?;
    temporary
        .persist(target)
        .map_err(|error| failed()(error.error))?;
    if let Some(parent) = target.parent() {
        sync_folder(parent)?;
    }
    Ok(value)
}

/// Makes names that were given or taken in `folder` last.
pub(crate) fn sync_folder(folder: &Path) -> Outcome<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(Problem::io("write", folder))
}
