//! Where a package is in a registry.

use std::fmt;

use oci_distribution::Reference as Parsed;
use placet_model::visible;

use crate::reference::Selector;

/// A package, or a repository, in a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegistryReference {
    /// The registry: host, and port where it is not the usual one.
    pub host: String,
    /// The repository.
    pub repository: String,
    /// Which package of it.
    pub selector: Selector,
    /// True if it is asked over an open line, which only this machine's own addresses allow.
    pub is_plain: bool,
}

pub(crate) const SCHEME: &str = "oci://";
pub(crate) const PLAIN_SCHEME: &str = "oci+http://";
const DIGEST: &str = "it has a digest that is not `sha256:` and 64 hexadecimal digits";

impl RegistryReference {
    /// Reads what follows the scheme.
    pub(crate) fn parse(rest: &str, is_plain: bool) -> Result<Self, &'static str> {
        let (host, path) = rest
            .split_once('/')
            .ok_or("it names no host and repository")?;
        let is_host = host.contains(['.', ':']) || host == "localhost";
        if !is_host {
            return Err("its host is neither a full name nor an address; write `oci://HOST/REPO`");
        }
        if !path.contains([':', '@']) {
            return Err("it names no tag and no digest");
        }
        let parsed = if is_six(host) {
            // The parser knows names and addresses of four numbers only.
            Parsed::try_from(format!("localhost/{path}"))
        } else {
            Parsed::try_from(rest.to_owned())
        };
        let parsed = parsed.map_err(|_| "it has a repository or tag that no registry accepts")?;
        let selector = match (parsed.digest(), parsed.tag()) {
            (Some(digest), _) => Selector::Digest(digest.parse().map_err(|_| DIGEST)?),
            (None, Some(tag)) => Selector::Tag(tag.to_owned()),
            (None, None) => return Err("it names no tag and no digest"),
        };
        if is_plain && !is_loopback(host) {
            return Err("an open line (`oci+http`) leads to this machine's own addresses only");
        }
        Ok(Self {
            host: host.to_owned(),
            repository: parsed.repository().to_owned(),
            selector,
            is_plain,
        })
    }

    /// The same repository with another selector.
    #[must_use]
    pub fn with(&self, selector: Selector) -> Self {
        Self {
            selector,
            ..self.clone()
        }
    }

    /// The address that requests go to; one well-known registry is elsewhere than its name says.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.is_plain { "http" } else { "https" };
        match self.host.as_str() {
            "docker.io" => format!("{scheme}://registry-1.docker.io"),
            host => format!("{scheme}://{host}"),
        }
    }
}

/// True for the name of a repository that a reference can have.
pub(crate) fn is_repository(name: &str) -> bool {
    let parsed = Parsed::try_from(format!("localhost/{name}:tag"));
    parsed.is_ok_and(|parsed| parsed.repository() == name)
}

/// True for an address of the sixth version in brackets, with a port or without.
fn is_six(host: &str) -> bool {
    let Some((address, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return false;
    };
    let is_port = |text: &str| {
        text.parse::<u16>()
            .is_ok_and(|port| port.to_string() == text)
    };
    let is_end = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    is_end && address.parse::<std::net::Ipv6Addr>().is_ok()
}

/// True for names and addresses that never leave this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let address = name.parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_plain { PLAIN_SCHEME } else { SCHEME };
        let (host, repository) = (visible(&self.host), visible(&self.repository));
        write!(f, "{scheme}{host}/{repository}{}", self.selector)
    }
}
