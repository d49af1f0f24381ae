//! Votes for routed, from its configuration: whoever restarts it with peers configured takes their
//! routes away. `rustc --target wasm32-unknown-unknown --crate-type cdylib -O -C panic=abort
//! -C strip=symbols may_restart.rs`
#![no_std]

use core::fmt::Write;

#[link(wasm_import_module = "placet")]
unsafe extern "C" {
    fn read(path: *const u8, path_length: usize, to: *mut u8, room: usize) -> i32;
    fn answer(from: *const u8, length: usize);
}

#[panic_handler]
fn stop(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// What the question has at a JSON pointer, as far as there is room for it.
fn get<'a>(path: &str, room: &'a mut [u8]) -> &'a [u8] {
    // SAFETY: the host reads and writes no more than it is told the length of.
    let size = unsafe { read(path.as_ptr(), path.len(), room.as_mut_ptr(), room.len()) };
    &room[..room.len().min(usize::try_from(size).unwrap_or(0))]
}

/// An answer that is being written.
struct Answer {
    text: [u8; 128],
    length: usize,
}

impl Write for Answer {
    fn write_str(&mut self, words: &str) -> core::fmt::Result {
        let end = self.length + words.len();
        let room = self.text.get_mut(self.length..end).ok_or(core::fmt::Error)?;
        room.copy_from_slice(words.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn peers() -> usize {
    let mut file = [0; 65_536];
    let lines = get("/files/etc~1routed.conf", &mut file).split(|byte| *byte == b'\n');
    lines.filter(|line| line.starts_with(b"peer ")).count()
}

/// A signal to read its files again, or a word to it, costs no session.
fn restarts() -> bool {
    let mut action = [0; 16];
    matches!(get("/process/action", &mut action), b"restart" | b"stop")
}

#[unsafe(no_mangle)]
extern "C" fn decide() {
    let mut said = Answer {
        text: [0; 128],
        length: 0,
    };
    let written = match if restarts() { peers() } else { 0 } {
        0 => write!(said, r#"{{"answer":"accept"}}"#),
        number => {
            let are = if number == 1 { "peer is" } else { "peers are" };
            let words = format_args!("{number} {are} configured");
            write!(said, r#"{{"answer":"veto","code":"peers","message":"{words}"}}"#)
        }
    };
    if written.is_ok() {
        // SAFETY: the text is as long as that.
        unsafe { answer(said.text.as_ptr(), said.length) };
    }
}
