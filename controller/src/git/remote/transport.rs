//! The transport by which libgit2 fetches through a [`Session`].
//!
//! libgit2 knows transports by the scheme of a URL and nothing else: a fetch registers its session
//! under a number, and fetches from `placet-git://<number>/`.

use std::collections::BTreeMap;
use std::io;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use git2::{AutotagOption, FetchOptions, Oid, Remote, RemoteCallbacks, RemoteRedirect, Repository};

use super::https::{self, Exchange};
use super::ssh::Connection;
use super::{FetchError, Server, Session, advertisement};
use crate::git::error::plain;

const SCHEME: &str = "placet-git";

/// More objects than any repository of declarations has; libgit2 keeps something of each in memory.
const OBJECTS_MAX: usize = 5_000_000;

static SESSIONS: Mutex<BTreeMap<u64, Arc<Session>>> = Mutex::new(BTreeMap::new());

static NEXT: AtomicU64 = AtomicU64::new(0);

static REGISTERED: LazyLock<Result<(), String>> = LazyLock::new(register);

pub(super) fn fetch(
    session: Session,
    mirror: &Repository,
    refspecs: &[String],
) -> Result<Option<Oid>, FetchError> {
    let failed = |why: String| FetchError::Connection {
        address: session.address(),
        why,
    };
    REGISTERED.clone().map_err(failed)?;
    let session = Arc::new(session);
    let ticket = Ticket::of(&session);
    let mut callbacks = RemoteCallbacks::new();
    callbacks.transfer_progress(|progress| progress.total_objects() <= OBJECTS_MAX);
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(callbacks)
        .download_tags(AutotagOption::None)
        .follow_redirects(RemoteRedirect::None)
        .update_fetchhead(false);
    let result = mirror
        .remote_anonymous(&ticket.url())
        .and_then(|mut remote| remote.fetch(refspecs, Some(&mut options), None));
    let failure = locked(&session.failure).take();
    match (result, failure) {
        // After a good end, a farewell may fail: the server need not have waited for it.
        (Ok(()), _) => Ok(*locked(&session.commit)),
        (Err(_), Some(failure)) => Err(failure),
        (Err(error), None) => Err(FetchError::Read {
            what: format!("what `{}` sent", session.address()),
            why: plain(&error),
        }),
    }
}

/// Makes a session known under a number for as long as it lives.
struct Ticket(u64);

impl Ticket {
    fn of(session: &Arc<Session>) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        locked(&SESSIONS).insert(number, Arc::clone(session));
        Self(number)
    }

    fn url(&self) -> String {
        format!("{SCHEME}://{}/", self.0)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        locked(&SESSIONS).remove(&self.0);
    }
}

#[expect(
    unsafe_code,
    reason = "registering is not synchronised by libgit2; it happens once, before the first use of a transport in this process, inside a lock"
)]
fn register() -> Result<(), String> {
    // SAFETY: no other code of this process registers transports, and every use of one comes after
    // this has run.
    let registered = unsafe { git2::transport::register(SCHEME, transport) };
    registered.map_err(|error| plain(&error))
}

fn transport(remote: &Remote<'_>) -> Result<Transport, git2::Error> {
    let number = remote
        .url()?
        .strip_prefix(SCHEME)
        .and_then(|rest| rest.strip_prefix("://")?.strip_suffix('/')?.parse().ok());
    let session = number.and_then(|number: u64| locked(&SESSIONS).get(&number).cloned());
    let session = session.ok_or_else(|| git2::Error::from_str("there is no such session"))?;
    let asks_and_answers = matches!(session.server, Server::Https(_));
    Transport::smart(remote, asks_and_answers, Subtransport(session))
}

struct Subtransport(Arc<Session>);

impl SmartSubtransport for Subtransport {
    fn action(
        &self,
        _url: &str,
        action: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let session = &self.0;
        let stream = match (action, &session.server) {
            (Service::UploadPackLs, _) => session.begin(),
            (Service::UploadPack, Server::Https(server)) => Ok(Stream {
                session: Arc::clone(session),
                again: io::Cursor::default(),
                line: Line::Https(Exchange::new(server)),
            }),
            _ => return Err(git2::Error::from_str("nothing but fetching is done here")),
        };
        let stream = stream.map_err(|error| session.fail(error))?;
        Ok(Box::new(stream))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

impl Session {
    /// Hears what the server tells first, and notes where what is followed stands.
    fn begin(self: &Arc<Self>) -> Result<Stream, FetchError> {
        let (read, line) = match &self.server {
            Server::Ssh(address, keys) => {
                let mut connection = Connection::open(address, keys, &self.limits)?;
                let read = advertisement::read(&mut connection)?;
                (read, Line::Ssh(Box::new(connection)))
            }
            Server::Https(server) => {
                let read = https::advertisement(server)?;
                (read, Line::Https(Exchange::new(server)))
            }
        };
        *locked(&self.commit) = self.find(&read.names)?;
        Ok(Stream {
            session: Arc::clone(self),
            again: io::Cursor::new(read.bytes),
            line,
        })
    }

    /// Keeps the error for the caller, and gives libgit2 something in its place.
    fn fail(&self, error: FetchError) -> git2::Error {
        *locked(&self.failure) = Some(error);
        git2::Error::from_str("the connection failed")
    }
}

struct Stream {
    session: Arc<Session>,
    /// What was read before libgit2 asked.
    again: io::Cursor<Vec<u8>>,
    line: Line,
}

enum Line {
    Ssh(Box<Connection>),
    Https(Exchange),
}

impl Stream {
    fn failed(&self, error: FetchError) -> io::Error {
        io::Error::other(self.session.fail(error))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.again.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        let read = match &mut self.line {
            Line::Ssh(connection) => connection.read(buffer),
            // The list of names is an answer by itself.
            Line::Https(_) if !self.again.get_ref().is_empty() => Ok(0),
            Line::Https(exchange) => exchange.read(buffer),
        };
        read.map_err(|error| self.failed(error))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.line {
            Line::Ssh(connection) => connection.write(bytes),
            Line::Https(exchange) => exchange.write(bytes),
        };
        match written {
            Ok(()) => Ok(bytes.len()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
