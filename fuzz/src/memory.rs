//! Memory that a reader takes, counted as it is taken.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Far more than files of the size that are tried can be worth.
const MOST: usize = 256 << 20;

thread_local! {
    /// Bytes that the thread has and has not given back. Another thread may give them back.
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Runs `read`, and panics if it had more than [`MOST`] bytes at once.
pub(crate) fn bounded(read: impl FnOnce()) {
    let before = TAKEN.get();
    PEAK.set(before);
    read();
    let most = usize::try_from(PEAK.get() - before).unwrap_or(0);
    assert!(most <= MOST, "{most} bytes of memory were taken at once");
}

fn count(taken: usize, given: usize) {
    let now = TAKEN.get() + taken.cast_signed() - given.cast_signed();
    TAKEN.set(now);
    PEAK.set(PEAK.get().max(now));
}

struct Counting;

#[expect(
    unsafe_code,
    reason = "an allocator is by nature; it passes everything on"
)]
// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
