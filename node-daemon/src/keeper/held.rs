//! What is held for a process while it restarts: its listening sockets, the descriptors that it
//! has stored (`FDSTORE=1`), and its saved state, which are descriptors of sealed memory (C-S6).

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use placet_model::{ListenSocket, StateFormat, visible};

use super::sockets::{self, FileId, SocketError};
use crate::link::Start;

/// A stored descriptor whose name begins so is saved state: `state/session/3`.
const STATE: &str = "state/";

/// How much saved state a process may leave behind: pieces, and bytes of each.
const STATES_MAX: usize = 16;
const STATE_BYTES_MAX: u64 = 64 << 20;

/// The longest name of a stored descriptor, as systemd has it.
const NAME_MAX: usize = 255;

/// The name of a descriptor that was stored without one, as systemd has it.
const UNNAMED: &str = "stored";

#[derive(Debug, Default)]
pub(super) struct Held {
    listening: Vec<Listening>,
    stored: Vec<Stored>,
}

#[derive(Debug)]
struct Listening {
    socket: ListenSocket,
    file: OwnedFd,
    /// The file at its path, if it has one; not known of what an earlier keeper opened.
    at: Option<FileId>,
}

#[derive(Debug)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) file: OwnedFd,
    /// True if it goes when its other end does (`FDPOLL=0` forbids it).
    pub(super) watched: bool,
}

/// A descriptor that is not stored, and why.
pub(super) type Refused = String;

impl Held {
    /// Opens the sockets that the process is to have, keeps those that are open, and closes those
    /// that it no longer has, or that nobody reaches any more since their path was taken away.
    pub(super) fn open(&mut self, start: &Start) -> Result<(), SocketError> {
        let old = std::mem::take(&mut self.listening);
        let (kept, gone): (Vec<_>, Vec<_>) = old
            .into_iter()
            .partition(|held| start.sockets.contains(&held.socket) && held.is_reached(start));
        for held in gone {
            held.close(&start.directory);
        }
        self.listening = kept;
        for socket in &start.sockets {
            if !self.listening.iter().any(|held| held.socket == *socket) {
                let file = sockets::open(socket, start)?;
                let path = sockets::path(socket, &start.directory);
                let at = path.and_then(|path| sockets::file_at(&path));
                let socket = socket.clone();
                self.listening.push(Listening { socket, file, at });
            }
        }
        Ok(())
    }

    /// Closes everything.
    pub(super) fn close(self, directory: &Path) {
        for held in self.listening {
            held.close(directory);
        }
    }

    /// What a process that starts is handed, each with its name: its sockets in their order, then
    /// what was stored. Saved state of a format that it cannot restore is thrown away.
    pub(super) fn handed_over(&mut self, start: &Start) -> Vec<(String, BorrowedFd<'_>)> {
        self.stored.retain(|stored| {
            let format = format_of(&stored.name);
            format.is_none_or(|format| start.state.restores.contains(&format))
        });
        let in_order = start.sockets.iter().filter_map(|socket| {
            let held = self.listening.iter().find(|held| held.socket == *socket)?;
            Some((socket.name.to_string(), held.file.as_fd()))
        });
        let stored = self
            .stored
            .iter()
            .map(|stored| (stored.name.clone(), stored.file.as_fd()));
        in_order.chain(stored).collect()
    }

    /// Stores descriptors under a name.
    ///
    /// # Errors
    ///
    /// The process has stored too much, or this is not what it may store.
    pub(super) fn store(
        &mut self,
        name: Option<&str>,
        files: Vec<OwnedFd>,
        watched: bool,
        start: &Start,
    ) -> Result<(), Refused> {
        let name = name.unwrap_or(UNNAMED);
        check_name(name)?;
        if name.starts_with(STATE) {
            return self.save(name, files, start);
        }
        for file in files {
            let is_state = |stored: &&Stored| stored.name.starts_with(STATE);
            let count = self
                .stored
                .iter()
                .filter(|stored| !is_state(stored))
                .count();
            let most = start.stored_descriptors;
            if u32::try_from(count).unwrap_or(u32::MAX) >= most {
                return Err(format!(
                    "it may store {most} descriptors (`storedDescriptors` of its package)"
                ));
            }
            let name = name.to_owned();
            self.stored.push(Stored {
                name,
                file,
                watched,
            });
        }
        Ok(())
    }

    /// Takes a piece of state in the place of an earlier one of the same format.
    fn save(&mut self, name: &str, files: Vec<OwnedFd>, start: &Start) -> Result<(), Refused> {
        let declared = format_of(name).is_some_and(|format| start.state.saves.contains(&format));
        if !declared {
            return Err(format!(
                "its package does not name `{name}` in `state.saves`"
            ));
        }
        let Ok([file]) = <[OwnedFd; 1]>::try_from(files) else {
            return Err(format!("`{name}` is not one descriptor"));
        };
        check_state(&file)?;
        self.remove(name);
        let states = self
            .stored
            .iter()
            .filter(|stored| stored.name.starts_with(STATE))
            .count();
        if states >= STATES_MAX {
            return Err(format!("it has saved {STATES_MAX} pieces of state already"));
        }
        let name = name.to_owned();
        self.stored.push(Stored {
            name,
            file,
            watched: false,
        });
        Ok(())
    }

    /// Forgets what was stored under this name.
    pub(super) fn remove(&mut self, name: &str) {
        self.stored.retain(|stored| stored.name != name);
    }

    /// Stored descriptors that go when their other end does, each with its place.
    pub(super) fn watched(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let stored = self.stored.iter().enumerate();
        stored
            .filter(|(_, stored)| stored.watched)
            .map(|(at, stored)| (at, stored.file.as_fd()))
    }

    /// Forgets the stored descriptors at these places.
    pub(super) fn drop_at(&mut self, places: &[usize]) {
        let mut at = 0..;
        self.stored
            .retain(|_| at.next().is_none_or(|at| !places.contains(&at)));
    }

    pub(super) fn parts(&self) -> (Vec<(&ListenSocket, &OwnedFd)>, &[Stored]) {
        let listening = self.listening.iter();
        let listening = listening.map(|held| (&held.socket, &held.file)).collect();
        (listening, &self.stored)
    }

    pub(super) fn of(listening: Vec<(ListenSocket, OwnedFd)>, stored: Vec<Stored>) -> Self {
        let listening = listening
            .into_iter()
            .map(|(socket, file)| Listening {
                socket,
                file,
                at: None,
            })
            .collect();
        Self { listening, stored }
    }
}

impl Listening {
    fn close(self, directory: &Path) {
        let path = sockets::path(&self.socket, directory);
        if let Some(path) = path.filter(|path| self.is_at(path)) {
            let _ = std::fs::remove_file(path);
        }
    }

    /// False if somebody removed its path, or put something else there.
    fn is_reached(&self, start: &Start) -> bool {
        let path = sockets::path(&self.socket, &start.directory);
        let is_reached = path.as_ref().is_none_or(|path| self.is_at(path));
        if !is_reached {
            let (process, name) = (&start.process, &self.socket.name);
            tracing::warn!(%process, "somebody took away `{}`, where socket `{name}` of {process} is: it is opened anew", self.socket.address);
        }
        is_reached
    }

    fn is_at(&self, path: &Path) -> bool {
        self.at.is_none() || self.at == sockets::file_at(path)
    }
}

fn format_of(name: &str) -> Option<StateFormat> {
    name.strip_prefix(STATE)?.parse().ok()
}

fn check_name(name: &str) -> Result<(), Refused> {
    let plain = |byte: u8| (b' '..127).contains(&byte) && byte != b':';
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(plain) {
        let name = visible(name);
        return Err(format!("`{name}` is no name for a stored descriptor"));
    }
    Ok(())
}

/// Saved state has to be memory that nobody can change any more, the process that saved it
/// included: its successor reads it without looking twice.
fn check_state(file: &OwnedFd) -> Result<(), Refused> {
    let sealed = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK;
    let seals = fcntl(file, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_truncate);
    if !seals.is_ok_and(|seals| seals.contains(sealed)) {
        return Err("saved state has to be a memfd that is sealed against changes".to_owned());
    }
    let size = file
        .try_clone()
        .and_then(|file| File::from(file).metadata())
        .map_or(u64::MAX, |metadata| metadata.len());
    if size > STATE_BYTES_MAX {
        return Err(format!(
            "saved state has {size} bytes; at most {STATE_BYTES_MAX} are kept"
        ));
    }
    Ok(())
}
