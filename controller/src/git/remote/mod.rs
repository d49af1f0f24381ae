//! Repositories elsewhere: behind ssh, with the system's own `ssh` program, so that known hosts,
//! keys, agents and configuration work as people expect of it; and behind https.

mod advertisement;
mod https;
mod runner;
mod ssh;
mod transport;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use git2::{Oid, Repository};
use placet_model::visible;

use super::address::{HttpsAddress, SshAddress};
use super::credentials::Credentials;
use super::followed::Followed;
use super::{FetchError, Limits};

pub(super) use runner::Runner;
pub(super) use ssh::Keys;

/// One look at, or one fetch from, one server.
#[derive(Debug)]
pub(super) struct Session {
    server: Server,
    limits: Limits,
    followed: Followed,
    /// Where what is followed stands, once the server said so.
    commit: Mutex<Option<Oid>>,
    /// Why the connection failed. libgit2 hands texts through, and not all of them.
    failure: Mutex<Option<FetchError>>,
}

#[derive(Debug)]
enum Server {
    Ssh(SshAddress, Keys),
    Https(Arc<https::Server>),
}

/// What reads what a server says, within limits.
trait Incoming {
    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), FetchError>;

    /// The error for an answer that no git server should give.
    fn refuse(&self, why: String) -> FetchError;
}

impl Session {
    /// A session that reaches the server by ssh with `keys`, or with what its user has.
    pub(super) fn ssh(
        address: SshAddress,
        keys: Keys,
        limits: &Limits,
        followed: &Followed,
    ) -> Self {
        Self::new(Server::Ssh(address, keys), limits, followed)
    }

    /// A session that reaches the server by https.
    pub(super) fn https(
        address: &HttpsAddress,
        credentials: &Credentials,
        limits: &Limits,
        followed: &Followed,
    ) -> Result<Self, FetchError> {
        let server = https::Server::new(address, credentials, limits)?;
        Ok(Self::new(Server::Https(Arc::new(server)), limits, followed))
    }

    fn new(server: Server, limits: &Limits, followed: &Followed) -> Self {
        Self {
            server,
            limits: limits.clone(),
            followed: followed.clone(),
            commit: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    /// The server and path, for people.
    pub(super) fn address(&self) -> String {
        match &self.server {
            Server::Ssh(address, _) => address.to_string(),
            Server::Https(server) => server.address().to_owned(),
        }
    }

    /// Where every branch and tag of the server stands; nothing is fetched.
    pub(super) fn names(&self) -> Result<BTreeMap<String, Oid>, FetchError> {
        match &self.server {
            Server::Ssh(address, keys) => {
                let mut connection = ssh::Connection::open(address, keys, &self.limits)?;
                let names = advertisement::read(&mut connection)?.names;
                // The server is told that nothing is wanted. Whether it hears that matters to
                // nobody.
                let _ = connection.write(b"0000");
                Ok(names)
            }
            Server::Https(server) => Ok(https::advertisement(server)?.names),
        }
    }

    /// Where what is followed stands; nothing is fetched.
    pub(super) fn look(&self) -> Result<Oid, FetchError> {
        self.find(&self.names()?)?
            .ok_or_else(|| FetchError::NotACommit {
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

    /// Where what is followed stands among the `names` of the server.
    fn find(&self, names: &BTreeMap<String, Oid>) -> Result<Option<Oid>, FetchError> {
        if self.followed.full_name().is_none() {
            return Ok(None);
        }
        let found = self.followed.commit_among(names);
        found.map(Some).ok_or_else(|| {
            let names = names.keys().map(String::as_str);
            self.followed.missing(&self.address(), names)
        })
    }
}

/// More than may come.
fn too_much(address: &str, limits: &Limits) -> FetchError {
    FetchError::TooLarge {
        what: format!("what comes from `{}`", visible(address)),
        most: format!("{} bytes", limits.fetch_bytes),
        advice: "; move large files out of the repository and its history",
    }
}
