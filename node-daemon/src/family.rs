//! Who is whose child, as the kernel tells it.

use nix::unistd::Pid;

/// The parent of a process, while there is one.
pub(crate) fn parent(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; after it come the state and the parent.
    let (_, rest) = stat.rsplit_once(')')?;
    let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
    Some(Pid::from_raw(parent))
}
