//! Where a repository is: a path on this machine, an ssh server or a web server.

use std::fmt;
use std::path::PathBuf;

use placet_model::visible;
use reqwest::Url;

use super::FetchError;

const HTTP: &str = "http is neither encrypted nor authenticated; use https, ssh or a path";
const GIT: &str =
    "the git protocol is neither encrypted nor authenticated; use https, ssh or a path";
const UNKNOWN: &str = "it is neither `https://host/path`, `ssh://user@host/path`, `user@host:path`, `file:///path` nor an absolute path";
const WEB: &str = "it is not of the form `https://host/path`";
const LOGIN: &str =
    "it holds a user name or password; put them into a secret, and name it in `secretRef`";
const PASSWORD: &str = "it holds a password; use a key, and name its secret in `secretRef`";
const USER: &str = "the user name may hold letters, digits, `.`, `_` and `-`, and no `-` first";
const HOST: &str =
    "the host name may hold letters, digits, `.`, `_`, `-` and `:` in brackets, and no `-` first";
const PORT: &str = "the port is not a number from 1 to 65535";
const PATH: &str = "the path is empty, starts with `-`, or holds a control character";
const FILE: &str = "a file URL names no host and an absolute path: `file:///path`";

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// On this machine.
    Local(PathBuf),
    /// Behind ssh.
    Ssh(SshAddress),
    /// Behind https.
    Https(HttpsAddress),
}

/// A repository on a web server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HttpsAddress(Url);

/// A repository behind ssh, fit for a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SshAddress {
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) path: String,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, FetchError> {
        let parsed = match url.split_once("://") {
            Some(("ssh", rest)) => ssh_url(rest).map(Self::Ssh),
            Some(("file", rest)) => file_url(rest).map(Self::Local),
            Some(("https", _)) => web(url).map(Self::Https),
            Some(("http", _)) => Err(HTTP),
            Some(("git", _)) => Err(GIT),
            None if url.starts_with('/') => local(url).map(Self::Local),
            None => short(url).map(Self::Ssh),
            Some(_) => Err(UNKNOWN),
        };
        parsed.map_err(|why| FetchError::Address {
            url: visible(&without_password(url)).to_string(),
            why,
        })
    }
}

/// `https://host[:port]/path`.
fn web(url: &str) -> Result<HttpsAddress, &'static str> {
    let parsed = Url::parse(url).map_err(|_| WEB)?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(LOGIN);
    }
    let has_more = parsed.query().is_some() || parsed.fragment().is_some();
    let has_path = parsed.path().chars().any(|it| it != '/');
    if !has_path || has_more || url.chars().any(char::is_control) {
        return Err(WEB);
    }
    Ok(HttpsAddress(parsed))
}

impl HttpsAddress {
    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for HttpsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", visible(self.0.as_str()))
    }
}

/// `file:///path`.
fn file_url(rest: &str) -> Result<PathBuf, &'static str> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    local(&decoded(path).ok_or(FILE)?)
}

fn local(path: &str) -> Result<PathBuf, &'static str> {
    if !path.starts_with('/') {
        return Err(FILE);
    }
    if path.chars().any(char::is_control) {
        return Err(PATH);
    }
    Ok(PathBuf::from(path))
}

/// `[user@]host[:port]/path`, where `/~user/path` means `~user/path`.
fn ssh_url(rest: &str) -> Result<SshAddress, &'static str> {
    let slash = rest.find('/').ok_or(PATH)?;
    let (authority, path) = rest.split_at(slash);
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, authority),
    };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (place, None),
    };
    let port = port.map(|port| port.parse().ok().filter(|port| *port > 0).ok_or(PORT));
    let path = decoded(path).ok_or(PATH)?;
    let path = if path.starts_with("/~") {
        &path[1..]
    } else {
        &path
    };
    checked(user, host, port.transpose()?, path)
}

/// `user@host:path`.
fn short(url: &str) -> Result<SshAddress, &'static str> {
    let (user, rest) = url.split_once('@').ok_or(UNKNOWN)?;
    let (host, path) = match rest.strip_prefix('[').and_then(|_| rest.split_once("]:")) {
        Some((host, path)) => (&rest[..=host.len()], path),
        None => rest.split_once(':').ok_or(UNKNOWN)?,
    };
    checked(Some(user), host, None, path)
}

fn checked(
    user: Option<&str>,
    host: &str,
    port: Option<u16>,
    path: &str,
) -> Result<SshAddress, &'static str> {
    if user.is_some_and(|user| user.contains(':')) {
        return Err(PASSWORD);
    }
    if user.is_some_and(|user| !is_word(user, b"._-")) {
        return Err(USER);
    }
    let numeric = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let good = match numeric {
        Some(numeric) => is_word(numeric, b":.") || numeric.starts_with("::"),
        None => is_word(host, b"._-"),
    };
    if !good {
        return Err(HOST);
    }
    if path.is_empty() || path.starts_with('-') || path.chars().any(char::is_control) {
        return Err(PATH);
    }
    Ok(SshAddress {
        user: user.map(str::to_owned),
        host: numeric.unwrap_or(host).to_owned(),
        port,
        path: path.to_owned(),
    })
}

/// Letters, digits and `others`, starting with a letter, a digit or `_`.
fn is_word(text: &str, others: &[u8]) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
    text.bytes().all(good)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
}

/// With `%41` and the like replaced by what they mean.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

/// A password that somebody wrote into an address is not repeated in errors.
fn without_password(url: &str) -> String {
    let hide = || {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (user, place) = rest[..end].rsplit_once('@')?;
        let (user, _) = user.split_once(':')?;
        Some(format!("{scheme}://{user}:…@{place}{}", &rest[end..]))
    };
    hide().unwrap_or_else(|| url.to_owned())
}

impl SshAddress {
    /// The argument of `ssh` that names user and host.
    pub(super) fn destination(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        }
    }

    /// The command for the server's shell.
    pub(super) fn command(&self) -> String {
        format!("git-upload-pack '{}'", self.path.replace('\'', r"'\''"))
    }
}

impl fmt::Display for SshAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination())?;
        if let Some(port) = self.port {
            write!(f, " port {port}")?;
        }
        write!(f, ":{}", visible(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, SshAddress};

    fn ssh(url: &str) -> SshAddress {
        match Address::parse(url) {
            Ok(Address::Ssh(address)) => address,
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn both_forms_of_ssh_addresses_are_read() {
        let long = ssh("ssh://git@host.example:2222/srv/fleet%20one.git");
        assert_eq!(long.destination(), "git@host.example");
        assert_eq!(long.port, Some(2222));
        assert_eq!(long.command(), "git-upload-pack '/srv/fleet one.git'");
        assert_eq!(ssh("ssh://host/~ann/fleet").path, "~ann/fleet");
        assert_eq!(ssh("ssh://git@[::1]:22/x").host, "::1");
        assert_eq!(ssh("git@host:fleet.git").path, "fleet.git");
        assert_eq!(ssh("git@[fe80:0::2]:fleet.git").host, "fe80:0::2");
    }

    #[test]
    fn no_path_leaves_its_quotes() {
        let command = ssh("git@host:a'; touch b '\\''").command();
        assert_eq!(command, r"git-upload-pack 'a'\''; touch b '\''\'\'''\'''");
    }

    #[test]
    fn paths_and_file_urls_are_read() {
        let path = |url| Address::parse(url).unwrap();
        assert_eq!(path("/srv/a b"), Address::Local("/srv/a b".into()));
        assert_eq!(path("file:///srv/a%20b"), path("/srv/a b"));
        assert_eq!(path("file://localhost/srv/x"), path("/srv/x"));
    }

    #[track_caller]
    fn refused(url: &str, because: &str) {
        let error = Address::parse(url).unwrap_err().to_string();
        assert!(error.contains(because), "{url}: {error}");
        assert!(!error.contains('\0'), "{error:?}");
    }

    #[test]
    fn what_could_be_taken_for_an_option_is_refused() {
        refused("ssh://-oProxyCommand=touch/x", "host name");
        refused("ssh://-l@host/x", "user name");
        refused("-l@host:x", "user name");
        refused("git@-oProxyCommand=x:y", "host name");
        refused("git@host:-x", "path");
        refused("ssh://host", "path");
        refused("ssh://host/%00", "path");
        refused("ssh://host/a%0ab", "path");
        refused("ssh://host/%zz", "path");
        refused("git@ho st:x", "host name");
        refused("git@$(x):y", "host name");
        refused("ssh://host:0/x", "port");
        refused("ssh://host:99999/x", "port");
    }

    #[test]
    fn other_transports_are_refused_with_what_to_use() {
        refused("http://host/x", "neither encrypted nor authenticated");
        refused("git://host/x", "neither encrypted nor authenticated");
        refused("ext::sh -c touch", "neither");
        refused("relative/path", "neither");
        refused("file://host/x", "file:///path");
        refused("file:///%", "file:///path");
        refused("svn://host/x", "neither");
    }

    #[test]
    fn web_addresses_name_a_host_and_a_path_and_nothing_else() {
        let good = Address::parse("https://git.example:8443/team/fleet.git").unwrap();
        let Address::Https(good) = good else {
            panic!("{good:?}");
        };
        assert_eq!(good.to_string(), "https://git.example:8443/team/fleet.git");
        refused("https://git.example/", "https://host/path");
        refused("https:///x", "https://host/path");
        refused("https://git.example/x?y=1", "https://host/path");
        refused("https://git.example/x#y", "https://host/path");
        refused("https://git.example:99999/x", "https://host/path");
        refused("https://ann:sesame@git.example/x", "secretRef");
        refused("https://ann@git.example/x", "secretRef");
        let error = Address::parse("https://ann:sesame@git.example/x").unwrap_err();
        assert!(!error.to_string().contains("sesame"), "{error}");
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        let error = Address::parse("ssh://ann:sesame@host/x").unwrap_err();
        assert!(error.to_string().contains("password"));
        assert!(!error.to_string().contains("sesame"));
    }
}
