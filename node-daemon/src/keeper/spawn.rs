//! Starting a child that dies with the keeper.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getppid;

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
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != keeper {
            // The keeper died before the kernel was asked: nobody would end this process.
            return Err(io::Error::other("the keeper is gone"));
        }
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
