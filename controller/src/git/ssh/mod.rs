//! Repositories behind ssh, with the system's own `ssh` program: known hosts, keys, agents and
//! configuration work as people expect of it.

mod advertisement;
mod connection;
mod secret;
mod transport;

use std::collections::BTreeMap;
use std::sync::Mutex;

use git2::{Oid, Repository};

use super::address::SshAddress;
use super::followed::Followed;
use super::{FetchError, Limits};

use connection::Connection;

pub(super) use secret::Secret;

/// One look at, or one fetch from, one server.
#[derive(Debug)]
pub(super) struct Session {
    address: SshAddress,
    secret: Secret,
    limits: Limits,
    followed: Followed,
    /// Where what is followed stands, once the server said so.
    commit: Mutex<Option<Oid>>,
    /// Why the connection failed. libgit2 hands texts through, and not all of them.
    failure: Mutex<Option<FetchError>>,
}

impl Session {
    pub(super) fn new(
        address: SshAddress,
        secret: Secret,
        limits: Limits,
        followed: Followed,
    ) -> Self {
        Self {
            address,
            secret,
            limits,
            followed,
            commit: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    /// The server and path, for people.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Where what is followed stands; nothing is fetched.
    pub(super) fn look(&self) -> Result<Oid, FetchError> {
        let mut connection = self.connect()?;
        let names = advertisement::read(&mut connection)?.names;
        // The server is told that nothing is wanted. Whether it hears that matters to nobody.
        let _ = connection.write(b"0000");
        self.find(&names)?.ok_or_else(|| FetchError::NotACommit {
            followed: self.followed.to_string(),
            why: "its place is not known before it is fetched".to_owned(),
        })
    }

    /// Fetches `refspecs` into `mirror`, and says where what is followed stands, if it has a name.
    pub(super) fn fetch(
        self,
        mirror: &Repository,
        refspecs: &[String],
    ) -> Result<Option<Oid>, FetchError> {
        transport::fetch(self, mirror, refspecs)
    }

    fn connect(&self) -> Result<Connection, FetchError> {
        Connection::open(&self.address, &self.secret, &self.limits)
    }

    /// Where what is followed stands among the `names` of the server.
    fn find(&self, names: &BTreeMap<String, Oid>) -> Result<Option<Oid>, FetchError> {
        let Some(name) = self.followed.full_name() else {
            return Ok(None);
        };
        // An annotated tag is told twice: the tag itself, and the commit that it names.
        let found = names.get(&format!("{name}^{{}}")).or(names.get(&name));
        found.copied().map(Some).ok_or_else(|| {
            let names = names.keys().map(String::as_str);
            self.followed.missing(&self.address(), names)
        })
    }
}
