//! What a process leaves to its successor: descriptors, and state in named, versioned formats.

use std::env;
use std::fs::File;
use std::io::{self, IoSlice, Read as _, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage};

use crate::Error;
use crate::notify::notify_with;

/// The number of the first descriptor that a process is handed.
const FIRST: RawFd = 3;

/// What state is stored under.
const STATE: &str = "state/";

/// The longest name.
const NAME_MAX: usize = 255;

/// Nobody can change what is sealed so.
const UNCHANGING: SealFlags = SealFlags::WRITE
    .union(SealFlags::GROW)
    .union(SealFlags::SHRINK);

/// What this process was handed when it started: the sockets of its package, and what its
/// predecessor stored and saved.
///
/// ```no_run
/// # fn main() -> Result<(), placet_sdk::Error> {
/// let mut handed = placet_sdk::Handed::take();
/// let listener = handed.descriptor("web").map(std::net::TcpListener::from);
/// let state = handed.state(&["session/3", "session/2"])?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Handed(Vec<(String, OwnedFd)>);

impl Handed {
    /// What was handed to this process. The second time, and where nothing was, it is empty.
    pub fn take() -> Self {
        static TAKEN: std::sync::Once = std::sync::Once::new();
        let mut taken = Self::default();
        TAKEN.call_once(|| taken = Self::from_environment().unwrap_or_default());
        taken
    }

    fn from_environment() -> Option<Self> {
        let number = |name| env::var(name).ok()?.parse::<u32>().ok();
        if number("LISTEN_PID") != Some(std::process::id()) {
            return None;
        }
        let count = RawFd::try_from(number("LISTEN_FDS")?).ok()?;
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let numbers = FIRST..FIRST.checked_add(count)?;
        let mut names = names.split(':');
        let own = |number| {
            #[expect(unsafe_code, reason = "the environment says whose these numbers are")]
            // SAFETY: `take` runs this once, so nobody else owns them.
            let file = unsafe { OwnedFd::from_raw_fd(number) };
            fcntl_setfd(&file, FdFlags::CLOEXEC).map(|()| file)
        };
        let files = numbers.map(|number| (names.next().unwrap_or_default().to_owned(), number));
        let files = files.map(|(name, number)| own(number).map(|file| (name, file)));
        files.collect::<Result<_, _>>().ok().map(Self)
    }

    /// The first descriptor of this name; each is given out once.
    pub fn descriptor(&mut self, name: &str) -> Option<OwnedFd> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// Every descriptor of this name, in the order in which they were stored.
    pub fn descriptors(&mut self, name: &str) -> Vec<OwnedFd> {
        std::iter::from_fn(|| self.descriptor(name)).collect()
    }

    /// State that the predecessor saved, in the first of these formats (`session/3`) in which it
    /// is there: the format and the bytes. `None` if there is none: the process starts without.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is not sealed, so that somebody could still change it.
    pub fn state(&mut self, formats: &[&str]) -> Result<Option<(String, Vec<u8>)>, Error> {
        for format in formats {
            if let Some(file) = self.descriptor(&format!("{STATE}{format}")) {
                let bytes = read_sealed(file).map_err(Error::State)?;
                return Ok(Some(((*format).to_owned(), bytes)));
            }
        }
        Ok(None)
    }
}

fn read_sealed(file: OwnedFd) -> io::Result<Vec<u8>> {
    if !fcntl_get_seals(&file)?.contains(UNCHANGING) {
        return Err(io::Error::other("it is not sealed"));
    }
    let mut file = File::from(file);
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Has the node daemon keep a copy of a descriptor for the successor of this process, which finds
/// it by `name` ([`Handed::descriptor`]). It is forgotten when its other end closes it. The package
/// has to allow for it (`storedDescriptors`).
///
/// # Errors
///
/// If `name` is empty, longer than 255 bytes or contains a colon, or if it cannot be sent.
pub fn store(name: &str, descriptor: impl AsFd) -> Result<(), Error> {
    check(name)?;
    send(&format!("FDSTORE=1\nFDNAME={name}"), descriptor.as_fd())
}

/// Has the node daemon forget what was stored under this name.
///
/// # Errors
///
/// As [`store`].
pub fn forget(name: &str) -> Result<(), Error> {
    check(name)?;
    crate::notify(&format!("FDSTOREREMOVE=1\nFDNAME={name}"))
}

/// Saves state for the successor of this process, in the place of what was saved in this format
/// before. `format` is a name and a version (`session/3`) that the package names in `state.saves`.
///
/// # Errors
///
/// If it is too much for the memory, or as [`store`].
pub fn save_state(format: &str, bytes: &[u8]) -> Result<(), Error> {
    let name = format!("{STATE}{format}");
    check(&name)?;
    let sealed = || -> io::Result<File> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create("placet-state", flags)?);
        file.write_all(bytes)?;
        fcntl_add_seals(&file, UNCHANGING | SealFlags::SEAL)?;
        Ok(file)
    };
    let file = sealed().map_err(Error::State)?;
    send(&format!("FDSTORE=1\nFDNAME={name}"), file.as_fd())
}

fn check(name: &str) -> Result<(), Error> {
    let plain = |byte: u8| (b' '..127).contains(&byte) && byte != b':';
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(plain) {
        return Err(Error::Name(name.to_owned()));
    }
    Ok(())
}

fn send(state: &str, file: BorrowedFd<'_>) -> Result<(), Error> {
    notify_with(|socket, address| {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [file];
        control.push(SendAncillaryMessage::ScmRights(&files));
        let parts = [IoSlice::new(state.as_bytes())];
        let flags = rustix::net::SendFlags::NOSIGNAL;
        rustix::net::sendmsg_addr(socket, address, &parts, &mut control, flags)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_anything_is_sent() {
        for bad in ["", "a:b", "a\nb", &"x".repeat(256)] {
            assert!(matches!(forget(bad), Err(Error::Name(_))), "{bad:?}");
        }
        assert!(matches!(save_state("x:1", b""), Err(Error::Name(_))));
    }

    #[test]
    fn state_that_is_not_sealed_is_not_read() {
        let file = memfd_create("x", MemfdFlags::ALLOW_SEALING).unwrap();
        let mut handed = Handed(vec![("state/session/3".to_owned(), file)]);
        assert!(handed.state(&["session/4", "session/3"]).is_err());
        assert_eq!(handed.state(&["session/3"]).unwrap(), None);
    }
}
