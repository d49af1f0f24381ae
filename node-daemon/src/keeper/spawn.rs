//! Starting children that die with the keeper.
//!
//! Supervised processes are forked here and not by the standard library, since what they are handed
//! (`LISTEN_PID`, descriptors from number 3 on, another user) can only be put in place between fork
//! and exec.

use std::ffi::{CString, NulError};
use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, rlim_t, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{ForkResult, Gid, Pid, chdir, fork, getppid, setpgid};

use crate::link::Account;

/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// Starts `command` in a process group of its own, with no signal blocked, and so that the kernel
/// kills it when the keeper ends.
///
/// # Errors
///
/// It cannot be executed; the child is gone then.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    let keeper = nix::unistd::getpid();
    command.process_group(0);
    let in_child = move || {
        die_with(keeper)?;
        SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    #[expect(
        unsafe_code,
        reason = "the closure runs between fork and exec of a single-threaded process and makes only system calls; on its success path it does not allocate"
    )]
    // SAFETY: as above.
    unsafe {
        command.pre_exec(in_child);
    }
    command.spawn()
}

fn die_with(keeper: Pid) -> nix::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == keeper {
        Ok(())
    } else {
        // The keeper died before the kernel was asked: nobody would end this process.
        Err(Errno::ESRCH)
    }
}

/// A program to execute with all that it is handed.
#[derive(Debug, Default)]
pub(super) struct Program<'a> {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    directory: CString,
    /// Standard input.
    pub(super) input: Option<BorrowedFd<'a>>,
    /// Standard output and standard error.
    pub(super) output: Option<BorrowedFd<'a>>,
    /// Handed over from number 3 on.
    pub(super) descriptors: Vec<BorrowedFd<'a>>,
    pub(super) account: Option<&'a Account>,
    pub(super) limits: Vec<(Resource, rlim_t, rlim_t)>,
    /// Files `cgroup.procs`, open for writing, of the groups that it joins.
    pub(super) groups: Vec<OwnedFd>,
}

/// What the child was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Doing {
    Joining,
    Limiting,
    Becoming,
    Entering,
    Handing,
    Executing,
}

impl Doing {
    const ALL: [Self; 6] = [
        Self::Joining,
        Self::Limiting,
        Self::Becoming,
        Self::Entering,
        Self::Handing,
        Self::Executing,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Joining => "join its control group",
            Self::Limiting => "set its limits",
            Self::Becoming => "become its user",
            Self::Entering => "enter its working directory",
            Self::Handing => "take over its descriptors",
            Self::Executing => "execute its program",
        }
    }
}

/// A process could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpawnError {
    #[error("failed to {doing}")]
    InChild {
        doing: &'static str,
        source: io::Error,
    },
    #[error("failed to make a process{}", advice(.0))]
    Fork(#[source] io::Error),
    #[error("an argument or variable contains a NUL byte")]
    Nul(#[source] NulError),
}

/// What to do where the system makes no process, in words that follow what failed.
pub(super) fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => {
            "; as many run as may: see `pids.max` of placetd's control group (`TasksMax=` under systemd), `ulimit -u` and `kernel.pid_max`"
        }
        Some(libc::ENOMEM) => {
            "; memory is short: see `memory.max` of placetd's control group, and what is free"
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "; as many files are open as may: see `ulimit -n` of placetd and `fs.file-max`"
        }
        _ => "",
    }
}

impl SpawnError {
    /// The kernel's answer if the program itself could not be executed.
    pub(super) fn of_execution(&self) -> Option<&io::Error> {
        match self {
            Self::InChild { doing, source } => {
                (*doing == Doing::Executing.text()).then_some(source)
            }
            _ => None,
        }
    }
}

impl Program<'_> {
    pub(super) fn new(path: &Path, directory: &Path) -> Result<Self, SpawnError> {
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(SpawnError::Nul);
        Ok(Self {
            path: text(path)?,
            arguments: vec![text(path)?],
            directory: text(directory)?,
            ..Self::default()
        })
    }

    pub(super) fn argument(&mut self, argument: &str) -> Result<(), SpawnError> {
        self.arguments
            .push(CString::new(argument).map_err(SpawnError::Nul)?);
        Ok(())
    }

    pub(super) fn variable(&mut self, name: &str, value: &str) -> Result<(), SpawnError> {
        let variable = CString::new(format!("{name}={value}")).map_err(SpawnError::Nul)?;
        self.environment.push(variable);
        Ok(())
    }

    /// Starts it; returns when it was executed.
    ///
    /// # Errors
    ///
    /// What could not be done; the child is gone then.
    pub(super) fn start(&self) -> Result<Pid, SpawnError> {
        let (mut reader, writer) = io::pipe().map_err(SpawnError::Fork)?;
        let ready = Ready::new(self, writer.as_raw_fd());
        let keeper = nix::unistd::getpid();
        #[expect(
            unsafe_code,
            reason = "the keeper has one thread, and until exec the child makes only system calls on memory that was prepared before: it does not allocate"
        )]
        // SAFETY: as above.
        let forked = unsafe { fork() };
        match forked.map_err(|error| SpawnError::Fork(error.into()))? {
            ForkResult::Child => ready.run(keeper),
            ForkResult::Parent { child } => {
                drop(writer);
                outcome(&mut reader, child)
            }
        }
    }
}

/// What the child says before it is executed; nothing if all went well.
fn outcome(reader: &mut PipeReader, child: Pid) -> Result<Pid, SpawnError> {
    let mut said = [0; 5];
    if reader.read_exact(&mut said).is_err() {
        return Ok(child);
    }
    let _ = nix::sys::wait::waitpid(child, None);
    let [doing, error @ ..] = said;
    let doing = Doing::ALL
        .get(usize::from(doing))
        .map_or("start", |doing| doing.text());
    let source = io::Error::from_raw_os_error(i32::from_ne_bytes(error));
    Err(SpawnError::InChild { doing, source })
}

/// Everything that the child needs, so that it need not allocate.
struct Ready<'a> {
    program: &'a Program<'a>,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    /// `LISTEN_PID=`, with room for the number.
    listen_pid: Vec<u8>,
    descriptors: Vec<RawFd>,
    groups: Vec<Gid>,
    writer: RawFd,
}

impl<'a> Ready<'a> {
    fn new(program: &'a Program<'a>, writer: RawFd) -> Self {
        let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect();
        let mut arguments: Vec<_> = pointers(&program.arguments);
        arguments.push(std::ptr::null());
        let mut listen_pid = b"LISTEN_PID=".to_vec();
        listen_pid.resize(listen_pid.len() + 12, 0);
        let mut environment: Vec<_> = pointers(&program.environment);
        if !program.descriptors.is_empty() {
            environment.push(listen_pid.as_ptr().cast());
        }
        environment.push(std::ptr::null());
        Self {
            program,
            arguments,
            environment,
            listen_pid,
            descriptors: program.descriptors.iter().map(AsRawFd::as_raw_fd).collect(),
            groups: program.account.map(Account::gids).unwrap_or_default(),
            writer,
        }
    }

    fn run(mut self, keeper: Pid) -> ! {
        let failed = match self.prepare(keeper) {
            Ok(()) => (Doing::Executing, self.execute()),
            Err(failed) => failed,
        };
        let (doing, error) = failed;
        let [one, two, three, four] = (error as i32).to_ne_bytes();
        let said = [doing as u8, one, two, three, four];
        #[expect(
            unsafe_code,
            reason = "in the child of a fork only system calls are allowed"
        )]
        // SAFETY: the buffer lives, and the process ends without running anything else.
        unsafe {
            libc::write(self.writer, said.as_ptr().cast(), said.len());
            libc::_exit(127)
        }
    }

    /// Everything before the program is executed.
    fn prepare(&mut self, keeper: Pid) -> Result<(), (Doing, Errno)> {
        let at = |doing| move |error| (doing, error);
        setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(at(Doing::Joining))?;
        for group in &self.program.groups {
            nix::unistd::write(group, b"0").map_err(at(Doing::Joining))?;
        }
        for (resource, soft, hard) in &self.program.limits {
            setrlimit(*resource, *soft, *hard).map_err(at(Doing::Limiting))?;
        }
        umask(Mode::from_bits_truncate(0o022));
        self.hand_over().map_err(at(Doing::Handing))?;
        self.become_user().map_err(at(Doing::Becoming))?;
        // After the change of user, which makes the kernel forget it.
        die_with(keeper).map_err(at(Doing::Becoming))?;
        SigSet::empty()
            .thread_set_mask()
            .map_err(at(Doing::Becoming))?;
        chdir(self.program.directory.as_c_str()).map_err(at(Doing::Entering))
    }

    fn become_user(&self) -> nix::Result<()> {
        let Some(account) = self.program.account else {
            return Ok(());
        };
        account.assume(&self.groups)
    }

    /// Puts descriptors where the program expects them: 0 to 2, and from 3 on.
    fn hand_over(&mut self) -> nix::Result<()> {
        let count = RawFd::try_from(self.descriptors.len()).unwrap_or(RawFd::MAX);
        let above = FIRST.saturating_add(count).saturating_add(1);
        // Out of the way first: a number that is still needed could be one that is given away.
        self.writer = raise(self.writer, above)?;
        for descriptor in &mut self.descriptors {
            *descriptor = raise(*descriptor, above)?;
        }
        let Program { input, output, .. } = self.program;
        for (number, descriptor) in [(0, input), (1, output), (2, output)] {
            if let Some(descriptor) = descriptor {
                place(raise(descriptor.as_raw_fd(), above)?, number)?;
            }
        }
        for (number, descriptor) in (FIRST..).zip(&self.descriptors) {
            place(*descriptor, number)?;
        }
        Ok(())
    }

    fn execute(&mut self) -> Errno {
        write_number(&mut self.listen_pid, std::process::id());
        #[expect(unsafe_code, reason = "the vectors were prepared before the fork")]
        // SAFETY: both end with a null pointer, and the strings live.
        unsafe {
            libc::execve(
                self.program.path.as_ptr(),
                self.arguments.as_ptr(),
                self.environment.as_ptr(),
            );
        }
        Errno::last()
    }
}

/// A copy of a descriptor with a number from `above` on, which is closed when a program is executed.
fn raise(descriptor: RawFd, above: RawFd) -> nix::Result<RawFd> {
    #[expect(
        unsafe_code,
        reason = "plain numbers, as what is copied may be no one's"
    )]
    // SAFETY: the call takes any number.
    let raised = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, above) };
    Errno::result(raised)
}

/// Gives a descriptor this number; it stays open when a program is executed.
fn place(descriptor: RawFd, number: RawFd) -> nix::Result<()> {
    #[expect(
        unsafe_code,
        reason = "plain numbers, as what is replaced may be no one's"
    )]
    // SAFETY: the call takes any number.
    let placed = unsafe { libc::dup2(descriptor, number) };
    Errno::result(placed).map(drop)
}

/// Writes a number behind the `=`, without allocating.
fn write_number(text: &mut [u8], mut number: u32) {
    let mut digits = [0_u8; 10];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    let start = text.iter().position(|byte| *byte == b'=').unwrap_or(0) + 1;
    let digits = &digits[first..];
    text[start..start + digits.len()].copy_from_slice(digits);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for (number, expected) in [(0, "P=0"), (7, "P=7"), (4_194_304, "P=4194304")] {
            let mut text = b"P=".to_vec();
            text.resize(14, 0);
            write_number(&mut text, number);
            let end = text.iter().position(|byte| *byte == 0).unwrap();
            assert_eq!(std::str::from_utf8(&text[..end]).unwrap(), expected);
        }
    }
}
