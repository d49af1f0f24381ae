//! Giving memory back while nothing happens.
//!
//! Most of what a daemon has in memory is its own program, pages of which were only needed to start
//! or to make a change. The kernel keeps them until it is short of memory, which on a small node is
//! when it hurts; they are as well read again when something happens.

use std::fs;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::mman::{MmapAdvise, madvise};

/// For how long nothing has to happen.
const QUIET: Duration = Duration::from_secs(5);

/// When a program rests: once, some time after the last thing that happened.
#[derive(Debug)]
pub(crate) struct Rest {
    due: Option<Instant>,
}

impl Rest {
    /// Something happened.
    pub(crate) fn after(now: Instant) -> Self {
        Self {
            due: Some(now + QUIET),
        }
    }

    /// When it is time, unless something happens before.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Gives memory back if it is time.
    pub(crate) fn take(&mut self, now: Instant) {
        if self.due.take_if(|due| *due <= now).is_some() {
            give_back();
        }
    }
}

/// Gives back what the program has in memory and can have again.
fn give_back() {
    #[expect(
        unsafe_code,
        reason = "a function of the C library without arguments to get wrong"
    )]
    // SAFETY: it may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, length) in maps.lines().filter_map(unwritten) {
        #[expect(
            unsafe_code,
            reason = "pages that were never written to are read again from their file, which holds the same"
        )]
        // SAFETY: the range is a whole mapping of this process, of a file and never writable.
        let _ = unsafe { madvise(start, length, MmapAdvise::MADV_DONTNEED) };
    }
}

/// The range of a mapping that shows a file as it is: its program, or the beginning of it, where no
/// address is ever put in.
fn unwritten(line: &str) -> Option<(NonNull<libc::c_void>, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, mode, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let is_file = fields.nth(2).is_some_and(|path| path.starts_with('/'));
    let is_begin = mode == "r--p" && offset.bytes().all(|digit| digit == b'0');
    if !is_file || !(mode == "r-xp" || is_begin) {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    let address = NonNull::without_provenance(NonZeroUsize::new(start)?);
    Some((address, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_shows_a_file_as_it_is_can_be_had_again() {
        let range = |line| unwritten(line).map(|(start, length)| (start.addr().get(), length));
        let text = "5000-7000 r-xp 00001000 fe:00 12 /usr/sbin/placetd";
        assert_eq!(range(text), Some((0x5000, 0x2000)));
        let begin = "4000-5000 r--p 00000000 fe:00 12 /usr/lib/libc.so.6";
        assert_eq!(range(begin), Some((0x4000, 0x1000)));
        for other in [
            "7000-8000 r--p 00003000 fe:00 12 /usr/sbin/placetd",
            "8000-9000 rw-p 00004000 fe:00 12 /usr/sbin/placetd",
            "9000-a000 rw-p 00000000 00:00 0 [heap]",
            "b000-c000 r-xp 00000000 00:00 0 [vdso]",
            "c000-d000 r-xp 00000000 00:00 0",
            "nonsense",
        ] {
            assert_eq!(range(other), None, "{other}");
        }
    }

    #[test]
    fn the_program_goes_on_after_it_has_rested() {
        let now = Instant::now();
        let mut rest = Rest::after(now);
        rest.take(now);
        assert!(rest.due().is_some(), "it is too early");
        rest.take(now + QUIET);
        assert_eq!(rest.due(), None, "it rests once");
        assert_eq!(format!("{:?}", [1, 2]), "[1, 2]");
    }
}
