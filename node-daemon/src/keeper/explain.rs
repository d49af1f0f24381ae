//! Why a program could not be executed, where the kernel's answer misleads.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};
use placet_model::visible;

use crate::elf::ElfHead;

/// Enough for the headers of a program, and for the first line of a script.
const HEAD: u64 = 4_096;

/// `PT_INTERP`.
const INTERPRETER: u32 = 3;

/// A sentence about `program` and the error with which executing it failed.
pub(super) fn explain(program: &Path, error: &io::Error) -> String {
    let mut head = Vec::new();
    let read = File::open(program).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    let shown = program.display();
    if let Err(error) = read {
        return format!("`{shown}` cannot be read: {error}");
    }
    match error.kind() {
        io::ErrorKind::NotFound => match interpreter(&head) {
            Some(interpreter) => format!(
                "`{shown}` is run by `{}`, which this node does not have; install it, or bring it in a package",
                visible(&interpreter)
            ),
            None => format!("`{shown}`: {error}"),
        },
        io::ErrorKind::PermissionDenied => {
            let run_by = interpreter(&head);
            let others = run_by.iter().map(Path::new);
            let mut asked = [program].into_iter().chain(others);
            let why = asked.find_map(forbids);
            let why = why.unwrap_or_else(|| {
                format!("`{shown}` may not be executed by its user; give it another mode in its package, or the process another `user`")
            });
            format!("{why}: {error}")
        }
        io::ErrorKind::WouldBlock => format!(
            "`{shown}` is not executed since its user has as many processes as it may: see `ulimit -u` of placetd and /etc/security/limits.conf: {error}"
        ),
        _ => match machine(&head) {
            Some(machine) if Some(machine) != own_machine() => format!(
                "`{shown}` is for another processor architecture (ELF machine {machine}) than this node's ({}); choose a package that was built for it",
                std::env::consts::ARCH
            ),
            Some(_) => format!("`{shown}`: {error}"),
            None => format!(
                "`{shown}` is no program, and no script, which begins with `#!` and the path of what runs it: {error}"
            ),
        },
    }
}

/// Why nobody may execute a file, if that is so.
fn forbids(program: &Path) -> Option<String> {
    let shown = program.display();
    let mode = program.metadata().ok()?.permissions().mode() & 0o7777;
    if mode & 0o111 == 0 {
        return Some(format!(
            "`{shown}` has mode {mode:04o}, by which nobody may execute it; give it one such as 0755"
        ));
    }
    let system = statvfs(program).ok()?;
    system.flags().contains(FsFlags::ST_NOEXEC).then(|| {
        format!("`{shown}` is on a file system from which nothing may be executed; mount it without `noexec`, or keep the node's state elsewhere")
    })
}

/// The ELF machine number of a program; `None` for what is no ELF file.
fn machine(head: &[u8]) -> Option<u16> {
    ElfHead::new(head)?.machine()
}

fn own_machine() -> Option<u16> {
    let mut head = Vec::new();
    let file = File::open("/proc/self/exe").ok()?;
    file.take(64).read_to_end(&mut head).ok()?;
    machine(&head)
}

/// What runs a script or a dynamic program.
fn interpreter(head: &[u8]) -> Option<String> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        let line = String::from_utf8_lossy(line);
        return line.split_whitespace().next().map(str::to_owned);
    }
    let path = ElfHead::new(head)?.segments(INTERPRETER).next()?;
    let path = path.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(path).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_of_programs_and_scripts_is_found() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let found = interpreter(&own[..4_096]).unwrap();
        assert!(found.starts_with("/lib"), "{found}");
        assert_eq!(interpreter(b"#!/bin/sh -e\n").as_deref(), Some("/bin/sh"));
        assert_eq!(interpreter(b"nothing"), None);
    }

    #[test]
    fn cut_and_senseless_headers_are_no_reason_to_panic() {
        let mut own = std::fs::read("/proc/self/exe").unwrap();
        own.truncate(4_096);
        for at in 0..200 {
            let mut head = own.clone();
            head[at] = 0xff;
            interpreter(&head);
            interpreter(&own[..at]);
        }
    }
}
