//! Who is whose child, as the kernel tells it.

use nix::unistd::Pid;

/// The parent of a process, while there is one.
pub(crate) fn parent(pid: Pid) -> Option<Pid> {
    parent_and_group(pid).map(|(parent, _)| parent)
}

/// The parent and the process group of a process.
pub(crate) fn parent_and_group(pid: Pid) -> Option<(Pid, Pid)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; after it come the state, the parent and the group.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut numbers = rest.split_whitespace().skip(1);
    let mut next = || Some(Pid::from_raw(numbers.next()?.parse().ok()?));
    Some((next()?, next()?))
}
