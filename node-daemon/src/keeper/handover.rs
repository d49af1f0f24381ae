//! How a keeper is updated: it hands what it holds to its successor, which is the program now at
//! its path, executed in the same process. Children stay children, and descriptors stay open.
//!
//! What is handed over travels as JSON in a memfd; descriptors by their numbers.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, PipeReader, Seek as _, Write as _};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Pid, execv};
use placet_model::{Digest, ListenSocket, ProcessName};
use serde::{Deserialize, Serialize};

use super::Keeper;
use super::held::{Held, Stored};
use super::process::{Process, Watch};
use crate::arguments::Reexec;
use crate::link::{Exit, Start};

/// The version of what is handed over.
const FORMAT: u32 = 1;

/// A successor that needs longer to say that it understands is not one.
const CHECK_WITHIN: Duration = Duration::from_secs(5);

/// The keeper stays as it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandoverError {
    #[error("failed to write down what is to be handed over")]
    Write(#[source] io::Error),
    #[error("`{program}` does not take over: {why}")]
    Refused { program: String, why: String },
    #[error("failed to execute `{program}`")]
    Execute { program: String, source: io::Error },
    #[error("failed to read what was handed over")]
    Read(#[source] io::Error),
    #[error(
        "what was handed over has format {0}, and this version knows {FORMAT} only: update in smaller steps"
    )]
    Format(u32),
}

/// All that a keeper holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    format: u32,
    pub(super) life: String,
    /// Lock files.
    pub(super) locks: Vec<RawFd>,
    processes: Vec<ProcessState>,
    held: Vec<HeldState>,
    notify: Vec<(ProcessName, RawFd)>,
    /// Log pipes.
    pipes: Vec<(u64, ProcessName, RawFd)>,
    /// Soft and hard limit of open files, before the keeper raised its own.
    pub(super) open_files: (u64, u64),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState {
    start: Start,
    pid: i32,
    main: i32,
    is_first: bool,
    log: u64,
    handled: (u64, Digest),
    /// Milliseconds for which it runs.
    age: u64,
    ready: bool,
    exit: Option<Exit>,
    /// Microseconds between signs of life, and until the next one is due.
    watch: (u64, Option<u64>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeldState {
    process: ProcessName,
    listening: Vec<(ListenSocket, RawFd)>,
    /// Name, descriptor, and whether it goes with its other end.
    stored: Vec<(String, RawFd, bool)>,
}

impl State {
    /// What `keeper` holds now.
    pub(super) fn of(keeper: &Keeper) -> Self {
        let table = &keeper.table;
        let pipes = keeper.logs.open_pipes();
        let notify = table.notify.fds();
        Self {
            format: FORMAT,
            life: table.life.clone(),
            locks: keeper.locks.iter().map(AsRawFd::as_raw_fd).collect(),
            processes: table.processes.values().map(ProcessState::of).collect(),
            held: table.held.iter().map(HeldState::of).collect(),
            notify: notify
                .map(|(process, socket)| (process.clone(), socket.as_raw_fd()))
                .collect(),
            pipes: pipes
                .map(|(id, process, reader)| (id, process.clone(), reader.as_raw_fd()))
                .collect(),
            open_files: table.open_files,
        }
    }

    /// Reads what a predecessor wrote.
    pub(super) fn read(mut file: File) -> Result<Self, HandoverError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        file.rewind().map_err(HandoverError::Read)?;
        let text = io::read_to_string(file).map_err(HandoverError::Read)?;
        let unreadable = |error: serde_json::Error| HandoverError::Read(error.into());
        let Head { format } = serde_json::from_str(&text).map_err(unreadable)?;
        if format != FORMAT {
            return Err(HandoverError::Format(format));
        }
        serde_json::from_str(&text).map_err(unreadable)
    }

    /// Puts what was handed over into `keeper`, which holds nothing yet.
    pub(super) fn take_over(self, keeper: &mut Keeper) -> io::Result<()> {
        let table = &mut keeper.table;
        for (process, socket) in self.notify {
            table
                .notify
                .add(process, UnixDatagram::from(own(socket)?))?;
        }
        for (id, process, reader) in self.pipes {
            keeper
                .logs
                .adopt(id, process, PipeReader::from(own(reader)?));
        }
        for held in self.held {
            let (process, held) = held.own()?;
            table.held.insert(process, held);
        }
        for state in self.processes {
            table
                .processes
                .insert(state.start.process.clone(), state.process());
        }
        Ok(())
    }

    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let listening = self.held.iter().flat_map(|held| &held.listening);
        let stored = self.held.iter().flat_map(|held| &held.stored);
        let notify = self.notify.iter().map(|(_, socket)| *socket);
        let pipes = self.pipes.iter().map(|(_, _, reader)| *reader);
        self.locks
            .iter()
            .copied()
            .chain(listening.map(|(_, file)| *file))
            .chain(stored.map(|(_, file, _)| *file))
            .chain(notify)
            .chain(pipes)
    }
}

impl ProcessState {
    fn of(process: &Process) -> Self {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let Watch { every, due, .. } = process.watch;
        let due = due.map(|due| micros(due.saturating_duration_since(Instant::now())));
        Self {
            start: process.start.clone(),
            pid: process.pid.as_raw(),
            main: process.main.as_raw(),
            is_first: process.is_first,
            log: process.log,
            handled: process.handled,
            age: process.entry().age,
            ready: process.ready,
            exit: process.exit.clone(),
            watch: (micros(every), due),
        }
    }

    fn process(self) -> Process {
        let now = Instant::now();
        let (every, due) = self.watch;
        let age = Duration::from_millis(self.age);
        let mut process = Process::new(Pid::from_raw(self.pid), self.start, self.log);
        process.main = Pid::from_raw(self.main);
        process.is_first = self.is_first;
        process.handled = self.handled;
        process.since = now.checked_sub(age).unwrap_or(now);
        process.ready = self.ready;
        process.exit = self.exit;
        process.watch.every = Duration::from_micros(every);
        process.watch.due = due.map(|due| now + Duration::from_micros(due));
        process
    }
}

impl HeldState {
    fn of((process, held): (&ProcessName, &Held)) -> Self {
        let (listening, stored) = held.parts();
        let listening = listening.into_iter();
        let stored = stored.iter();
        Self {
            process: process.clone(),
            listening: listening
                .map(|(socket, file)| (socket.clone(), file.as_raw_fd()))
                .collect(),
            stored: stored
                .map(|it| (it.name.clone(), it.file.as_raw_fd(), it.watched))
                .collect(),
        }
    }

    fn own(self) -> io::Result<(ProcessName, Held)> {
        let listening = self.listening.into_iter();
        let listening = listening.map(|(socket, file)| Ok((socket, own(file)?)));
        let stored = self.stored.into_iter();
        let stored = stored.map(|(name, file, watched)| {
            let file = own(file)?;
            Ok(Stored {
                name,
                file,
                watched,
            })
        });
        let listening: Vec<_> = listening.collect::<io::Result<_>>()?;
        let stored: Vec<_> = stored.collect::<io::Result<_>>()?;
        Ok((self.process, Held::of(listening, stored)))
    }
}

/// Takes a descriptor over by its number; it is closed again when a program is executed.
pub(super) fn own(number: RawFd) -> io::Result<OwnedFd> {
    set_inherited(number, false)?;
    #[expect(
        unsafe_code,
        reason = "the predecessor says that this number is its own"
    )]
    // SAFETY: the call before has failed if it is not open; each number is taken over once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether a program that is executed gets this descriptor.
fn set_inherited(number: RawFd, inherited: bool) -> io::Result<()> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flag = if inherited {
        FdFlag::empty()
    } else {
        FdFlag::FD_CLOEXEC
    };
    #[expect(unsafe_code, reason = "only a flag of the number is set")]
    // SAFETY: the number is not closed meanwhile, since this process has one thread.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(descriptor, FcntlArg::F_SETFD(flag))?;
    Ok(())
}

/// Executes `program` in this process with all that `state` names.
///
/// # Errors
///
/// The successor was not executed; everything is as it was.
pub(super) fn hand_over(
    state: &State,
    program: &Path,
    reexec: &Reexec,
) -> Result<std::convert::Infallible, HandoverError> {
    let mut file: File = memfd_create(c"placetd-handover", MFdFlags::MFD_CLOEXEC)
        .map_err(|error| HandoverError::Write(error.into()))?
        .into();
    let text = serde_json::to_vec(state).expect("what is handed over serialises to JSON");
    file.write_all(&text).map_err(HandoverError::Write)?;
    check(program, reexec, &file)?;
    let all: Vec<_> = state.descriptors().chain([file.as_raw_fd()]).collect();
    let failed = |source: io::Error| HandoverError::Execute {
        program: program.display().to_string(),
        source,
    };
    let result = all
        .iter()
        .try_for_each(|number| set_inherited(*number, true))
        .and_then(|()| execute(program, reexec, file.as_raw_fd()));
    for number in all {
        let _ = set_inherited(number, false);
    }
    result.map_err(failed)
}

fn execute(program: &Path, reexec: &Reexec, file: RawFd) -> io::Result<std::convert::Infallible> {
    let text = |text: std::ffi::OsString| CString::new(text.into_vec()).map_err(io::Error::other);
    let path = text(program.as_os_str().to_owned())?;
    let own = ["--handover".into(), file.to_string().into()];
    let arguments = [program.as_os_str().to_owned()]
        .into_iter()
        .chain(reexec.arguments.iter().cloned())
        .chain(own);
    let arguments: Vec<_> = arguments.map(text).collect::<io::Result<_>>()?;
    // Not through the standard library, which would unblock signals: one that comes now has to
    // wait for the successor.
    Ok(execv(&path, &arguments)?)
}

/// Asks the successor whether it understands what it will be handed, in a process of its own.
fn check(program: &Path, reexec: &Reexec, file: &File) -> Result<(), HandoverError> {
    let refused = |why: String| HandoverError::Refused {
        program: program.display().to_string(),
        why,
    };
    let stdin = file.try_clone().map_err(HandoverError::Write)?;
    let mut child = Command::new(program)
        .args(&reexec.arguments)
        .arg("--check-handover")
        .stdin(Stdio::from(stdin))
        .spawn()
        .map_err(|error| refused(error.to_string()))?;
    let until = Instant::now() + CHECK_WITHIN;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(refused(format!("it ended with {status}"))),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(refused(format!("it said nothing within {CHECK_WITHIN:?}")));
            }
            Err(error) => return Err(refused(error.to_string())),
        }
    }
}
