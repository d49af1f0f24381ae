//! What processes have mapped, as the kernel tells it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Take};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use nix::sys::stat::makedev;
use nix::unistd::Pid;

use crate::elf::ElfHead;
use crate::family::parent_and_group;

/// A file that a process has mapped to execute what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapped {
    /// Device and inode.
    pub(super) file: (u64, u64),
    pub(super) path: String,
    /// True if no name leads to the file any more.
    pub(super) is_deleted: bool,
    /// Where its first bytes are in the memory of the process, if they are.
    pub(super) start: Option<u64>,
}

/// Headers and notes stand at the beginning of a file.
const HEAD: usize = 64 << 10;

/// Programs of Go and Java have some thousand lines; more are not looked at.
const MAPS_MAX: u64 = 16 << 20;

/// `PT_NOTE`.
const NOTE: u32 = 4;
/// `NT_GNU_BUILD_ID`.
const BUILD_ID: u64 = 3;

/// The files from which a process executes; none if it is gone.
pub(super) fn of_process(pid: u32) -> Vec<Mapped> {
    let mut text = Vec::new();
    let maps = File::open(format!("/proc/{pid}/maps")).map(|file| file.take(MAPS_MAX));
    match maps.and_then(|mut maps: Take<File>| maps.read_to_end(&mut text)) {
        Ok(_) => parse(&String::from_utf8_lossy(&text)),
        Err(_) => Vec::new(),
    }
}

/// True if this is the program of the process, and no library.
pub(super) fn is_program(pid: u32, mapped: &Mapped) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe"));
    let is_its = |path: &str| path.strip_suffix(DELETED).unwrap_or(path) == mapped.path;
    program.is_ok_and(|path| path.to_str().is_some_and(is_its))
}

fn parse(maps: &str) -> Vec<Mapped> {
    let mut found: BTreeMap<_, Part<'_>> = BTreeMap::new();
    for part in maps.lines().filter_map(parse_line) {
        let key = (part.file, part.path);
        let whole = found.entry(key).or_insert_with(|| part.clone());
        whole.executes |= part.executes;
        whole.start = whole.start.or(part.start);
    }
    let executed = found.into_values().filter(|part| part.executes);
    executed.map(Part::whole).collect()
}

const DELETED: &str = " (deleted)";

/// One line of `maps`: a part of a file.
#[derive(Debug, Clone)]
struct Part<'a> {
    file: (u64, u64),
    path: &'a str,
    executes: bool,
    start: Option<u64>,
}

impl Part<'_> {
    fn whole(self) -> Mapped {
        let path = self.path.strip_suffix(DELETED);
        Mapped {
            file: self.file,
            path: path.unwrap_or(self.path).to_owned(),
            is_deleted: path.is_some(),
            start: self.start,
        }
    }
}

fn parse_line(line: &str) -> Option<Part<'_>> {
    let mut fields = line.splitn(6, ' ');
    let (addresses, rights) = (fields.next()?, fields.next()?);
    let (offset, device, inode) = (fields.next()?, fields.next()?, fields.next()?);
    let path = fields.next()?.trim_start();
    // Anything else is no file, or one of memory alone.
    if !path.starts_with('/') || path.starts_with("/memfd:") || path.starts_with("/SYSV") {
        return None;
    }
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (major, minor) = device.split_once(':')?;
    let (start, _) = addresses.split_once('-')?;
    Some(Part {
        file: (makedev(hex(major)?, hex(minor)?), inode.parse().ok()?),
        path,
        executes: rights.contains('x'),
        start: (hex(offset)? == 0).then_some(hex(start)?),
    })
}

/// The build id of what a process has mapped, from its memory: that stays when the file goes.
pub(super) fn build_id_in(pid: u32, mapped: &Mapped) -> Option<String> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut head = vec![0; HEAD];
    // The mapping may end before: what is there is returned.
    let length = memory.read_at(&mut head, mapped.start?).ok()?;
    build_id(&head[..length])
}

/// The build id of a file.
pub(super) fn build_id_of(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    let file = File::open(path).ok()?;
    file.take(HEAD as u64).read_to_end(&mut head).ok()?;
    build_id(&head)
}

/// The parent and the process group of everything that runs.
pub(super) fn kin() -> BTreeMap<u32, (u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let number = |pid: Pid| u32::try_from(pid.as_raw()).ok();
    pids.filter_map(|pid: i32| {
        let pid = Pid::from_raw(pid);
        let (parent, group) = parent_and_group(pid)?;
        Some((number(pid)?, (number(parent)?, number(group)?)))
    })
    .collect()
}

/// The GNU build id in the first bytes of an ELF file, in lower-case hexadecimal.
fn build_id(head: &[u8]) -> Option<String> {
    let elf = ElfHead::new(head)?;
    elf.segments(NOTE).find_map(|notes| noted(elf, notes))
}

/// The build id among the notes of one segment.
fn noted(elf: ElfHead<'_>, mut notes: &[u8]) -> Option<String> {
    loop {
        let length = |at| usize::try_from(elf.number_in(notes, at, 4)?).ok();
        let (name, descriptor) = (length(0)?, length(4)?);
        let from = 12usize.checked_add(name.checked_next_multiple_of(4)?)?;
        let bytes = notes.get(from..from.checked_add(descriptor)?)?;
        let is_gnu = notes.get(12..16) == Some(b"GNU\0") && name == 4;
        if is_gnu && elf.number_in(notes, 8, 4)? == BUILD_ID {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            return Some(digits.collect::<Vec<_>>().concat());
        }
        notes = notes.get(from.checked_add(descriptor.checked_next_multiple_of(4)?)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn files_are_found_once_with_where_they_begin() {
        let maps = "\
5000-6000 r--p 00000000 08:01 12                         /g/1/tree/bin/my tool (deleted)
6000-7000 r-xp 00001000 08:01 12                         /g/1/tree/bin/my tool (deleted)
7000-8000 r--p 00000000 08:01 13                         /etc/passwd
8000-9000 r-xp 00002000 fe:10 14                         /usr/lib/libx.so
9000-a000 rwxp 00000000 00:00 0
a000-b000 r-xp 00000000 00:00 0                          [vdso]
b000-c000 r-xp 00000000 00:01 9                          /memfd:jit (deleted)
broken
";
        let expected = [
            Mapped {
                file: (makedev(8, 1), 12),
                path: "/g/1/tree/bin/my tool".to_owned(),
                is_deleted: true,
                start: Some(0x5000),
            },
            Mapped {
                file: (makedev(0xfe, 0x10), 14),
                path: "/usr/lib/libx.so".to_owned(),
                is_deleted: false,
                start: None,
            },
        ];
        assert_eq!(parse(maps), expected);
    }

    #[test]
    fn memory_and_file_have_one_build_id() {
        let own = std::process::id();
        let program = fs::read_link("/proc/self/exe").unwrap();
        let meta = fs::metadata(&program).unwrap();
        let mapped = of_process(own);
        let path = program.to_str().unwrap();
        let mapped = mapped.iter().find(|mapped| mapped.path == path).unwrap();
        assert_eq!(mapped.file.1, meta.ino());
        let in_file = build_id_of(&program);
        assert_eq!(build_id_in(own, mapped), in_file);
        let known = placet_package::read_elf(&fs::read(&program).unwrap()).unwrap();
        assert_eq!(in_file, known.unwrap().build_id);
        assert!(in_file.is_some(), "the linker gave this test no build id");
    }

    #[test]
    fn what_is_cut_or_no_elf_file_has_no_build_id() {
        let own = fs::read("/proc/self/exe").unwrap();
        for length in 0..2_000 {
            let _ = build_id(&own[..length]);
        }
        assert_eq!(build_id(&own[..64]), None);
        assert_eq!(build_id(b"#!/bin/sh\n"), None);
        assert_eq!(noted(ElfHead::new(&own).unwrap(), &[0xff; 64]), None);
    }

    #[test]
    fn everything_that_runs_has_a_parent() {
        let own = std::process::id();
        assert_eq!(kin()[&own].0, std::os::unix::process::parent_id());
    }
}
