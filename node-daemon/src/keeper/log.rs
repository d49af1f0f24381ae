//! What processes write: from their pipes into `log/<process>.log`, the last lines kept at hand.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use placet_model::ProcessName;

/// A log file that has grown to this size becomes `<process>.log.1` and a new one begins.
const ROTATE_AT: u64 = 4 << 20;

/// Lines kept for the report when a process ends.
const LINES: usize = 20;

/// Bytes kept of each of them.
const LINE_MAX: usize = 500;

/// Bytes read from one pipe before the others get their turn.
const TURN: usize = 64 << 10;

pub(super) struct Logs {
    folder: PathBuf,
    pipes: BTreeMap<u64, Pipe>,
    files: BTreeMap<ProcessName, Output>,
    next: u64,
}

struct Pipe {
    process: ProcessName,
    /// None once nobody can write to it any more.
    reader: Option<PipeReader>,
    tail: Tail,
    /// True once the process has ended; those that it left behind may still write.
    reported: bool,
}

impl Pipe {
    fn new(process: ProcessName, reader: PipeReader) -> Self {
        Self {
            process,
            reader: Some(reader),
            tail: Tail::default(),
            reported: false,
        }
    }
}

/// A log file that is open.
struct Output {
    file: File,
    size: u64,
}

impl Logs {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            pipes: BTreeMap::new(),
            files: BTreeMap::new(),
            next: 0,
        }
    }

    /// A pipe for a process to write to, and the number by which it is known here.
    pub(super) fn open(&mut self, process: &ProcessName) -> io::Result<(u64, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let id = self.next;
        self.next += 1;
        self.pipes.insert(id, Pipe::new(process.clone(), reader));
        Ok((id, writer))
    }

    /// The pipes that are open, for a successor: number, process, and where it is read.
    pub(super) fn open_pipes(&self) -> impl Iterator<Item = (u64, &ProcessName, &PipeReader)> {
        let pipes = self.pipes.iter();
        pipes.filter_map(|(id, pipe)| Some((*id, &pipe.process, pipe.reader.as_ref()?)))
    }

    /// Takes over a pipe of a predecessor.
    pub(super) fn adopt(&mut self, id: u64, process: ProcessName, reader: PipeReader) {
        self.pipes.insert(id, Pipe::new(process, reader));
        self.next = self.next.max(id + 1);
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        let pipes = self.pipes.iter();
        pipes.filter_map(|(id, pipe)| Some((*id, pipe.reader.as_ref()?.as_fd())))
    }

    /// Takes what has been written; closes the pipe when nobody can write to it any more.
    pub(super) fn read(&mut self, id: u64) {
        let Some(pipe) = self.pipes.get_mut(&id) else {
            return;
        };
        let Some(reader) = &mut pipe.reader else {
            return;
        };
        let mut buffer = vec![0; TURN];
        match reader.read(&mut buffer) {
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Ok(0) | Err(_) => {
                pipe.reader = None;
                self.forget_if_over(id);
            }
            Ok(count) => {
                pipe.tail.add(&buffer[..count]);
                let process = pipe.process.clone();
                self.write(&process, &buffer[..count]);
            }
        }
    }

    /// The last lines of a process that has ended, or that could not be started.
    pub(super) fn last_lines(&mut self, id: u64) -> Vec<String> {
        // A pipe holds no more than one turn, so this is everything the process wrote itself.
        self.read(id);
        let Some(pipe) = self.pipes.get_mut(&id) else {
            return Vec::new();
        };
        pipe.reported = true;
        let lines = pipe.tail.lines();
        self.forget_if_over(id);
        lines
    }

    fn forget_if_over(&mut self, id: u64) {
        let over = |pipe: &Pipe| pipe.reader.is_none() && pipe.reported;
        if self.pipes.get(&id).is_some_and(over) {
            self.pipes.remove(&id);
        }
    }

    fn write(&mut self, process: &ProcessName, bytes: &[u8]) {
        if let Err(error) = self.try_write(process, bytes) {
            self.files.remove(process);
            tracing::debug!(%process, "failed to write its log: {error}");
        }
    }

    fn try_write(&mut self, process: &ProcessName, bytes: &[u8]) -> io::Result<()> {
        let path = self.folder.join(format!("{process}.log"));
        if self
            .files
            .get(process)
            .is_some_and(|output| output.size >= ROTATE_AT)
        {
            self.files.remove(process);
            fs::rename(&path, self.folder.join(format!("{process}.log.1")))?;
        }
        if !self.files.contains_key(process) {
            // What processes write is for the daemon's user alone.
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.folder)?;
            let file = File::options().append(true).create(true).open(&path)?;
            let size = file.metadata()?.len();
            self.files.insert(process.clone(), Output { file, size });
        }
        let output = self.files.get_mut(process).expect("it was inserted above");
        output.file.write_all(bytes)?;
        output.size += bytes.len() as u64;
        Ok(())
    }
}

/// The last lines of a stream.
#[derive(Default)]
struct Tail {
    lines: VecDeque<Vec<u8>>,
    /// The line that has not ended yet.
    open: Vec<u8>,
}

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.lines.push_back(std::mem::take(&mut self.open));
                if self.lines.len() > LINES {
                    self.lines.pop_front();
                }
            } else if self.open.len() < LINE_MAX {
                self.open.push(byte);
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        let open = (!self.open.is_empty()).then_some(&self.open);
        let lines = self.lines.iter().chain(open);
        lines
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> ProcessName {
        "talker".parse().unwrap()
    }

    #[test]
    fn the_tail_keeps_the_last_lines_and_cuts_long_ones() {
        let mut tail = Tail::default();
        (0..LINES + 5).for_each(|number| tail.add(format!("{number}\n").as_bytes()));
        tail.add(&[b'x'; 2 * LINE_MAX]);
        let lines = tail.lines();
        assert_eq!(lines.len(), LINES + 1);
        assert_eq!(lines[0], "5");
        assert_eq!(lines[LINES].len(), LINE_MAX);
    }

    #[test]
    fn a_full_log_makes_room_for_a_new_one_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let mut logs = Logs::new(folder.path().join("log"));
        let (id, mut writer) = logs.open(&name()).unwrap();
        let block = vec![b'a'; 32 << 10];
        let blocks = ROTATE_AT / (32 << 10) + 1;
        for _ in 0..blocks {
            writer.write_all(&block).unwrap();
            logs.read(id);
        }
        drop(writer);
        logs.read(id);
        assert_eq!(logs.fds().count(), 0);
        // The end of the pipe may be seen before the end of the process.
        assert_eq!(logs.last_lines(id).len(), 1);
        assert!(logs.pipes.is_empty());
        let size = |file: &str| {
            fs::metadata(folder.path().join("log").join(file))
                .unwrap()
                .len()
        };
        assert_eq!(size("talker.log.1"), ROTATE_AT);
        assert_eq!(size("talker.log"), 32 << 10);
    }
}
