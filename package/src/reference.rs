//! How packages are named: `oci-layout:DIR:TAG` or `oci-layout:DIR@sha256:…`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use placet_model::{Digest, visible};

use crate::registry::{self, RegistryReference};

/// Where a package is to be found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// In an OCI image layout on disk.
    Layout {
        /// The folder of the layout.
        dir: PathBuf,
        /// Which package of it.
        selector: Selector,
    },
    /// In a registry.
    Registry(RegistryReference),
}

/// Which package of a layout is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// The one that carries this tag now.
    Tag(String),
    /// The one whose manifest has this digest.
    Digest(Digest),
}

/// A text that is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a package reference: {why}; write `oci-layout:DIR:TAG` or `oci://HOST/REPOSITORY:TAG`, or `@sha256:<64 hexadecimal digits>` in the place of `:TAG`"
)]
pub struct ReferenceError {
    text: String,
    why: &'static str,
}

const SCHEME: &str = "oci-layout:";
/// The kernel's limit of a path, and room for tag or digest.
const LENGTH_MAX: usize = 4_096 + 200;

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refuse = |why| ReferenceError {
            text: visible(text).to_string(),
            why,
        };
        if text.len() > LENGTH_MAX {
            return Err(refuse("it is too long"));
        }
        if text.chars().any(char::is_control) {
            return Err(refuse("it contains a control character"));
        }
        for (scheme, is_plain) in [(registry::SCHEME, false), (registry::PLAIN_SCHEME, true)] {
            if let Some(rest) = text.strip_prefix(scheme) {
                let found = RegistryReference::parse(rest, is_plain);
                return found.map(Self::Registry).map_err(refuse);
            }
        }
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| refuse("it does not begin with `oci-layout:` or `oci://`"))?;
        let (dir, selector) = if let Some((dir, digest)) = rest.rsplit_once('@') {
            let digest = digest.parse();
            let digest = digest.map_err(|_| refuse("what follows `@` is not a digest"))?;
            (dir, Selector::Digest(digest))
        } else {
            let (dir, tag) = rest
                .rsplit_once(':')
                .ok_or_else(|| refuse("it names no tag and no digest"))?;
            check_tag(tag).map_err(refuse)?;
            (dir, Selector::Tag(tag.to_owned()))
        };
        if dir.is_empty() {
            return Err(refuse("it names no folder"));
        }
        let dir = PathBuf::from(dir);
        Ok(Self::Layout { dir, selector })
    }
}

/// Accepts what the OCI distribution specification accepts as a tag.
///
/// # Errors
///
/// What is wrong with `tag`.
pub fn check_tag(tag: &str) -> Result<(), &'static str> {
    let first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let inner = |byte: u8| first(byte) || byte == b'.' || byte == b'-';
    if tag.len() > 128 {
        Err("its tag is longer than 128 characters")
    } else if tag.bytes().next().is_some_and(first) && tag.bytes().all(inner) {
        Ok(())
    } else {
        Err("its tag is not letters, digits, `_`, `.` and `-`, beginning with none of the last two")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout { dir, selector } => {
                write!(f, "{SCHEME}{}{selector}", visible(&dir.to_string_lossy()))
            }
            Self::Registry(reference) => reference.fmt(f),
        }
    }
}

impl fmt::Display for Selector {
    /// With the separator before it, as it stands in a reference.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, ":{}", visible(tag)),
            Self::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Reference, Selector};

    #[test]
    fn a_reference_reads_what_it_writes() {
        let digest = placet_model::Digest::of(b"x");
        for text in [
            "oci-layout:packages/greet:1.0.0".to_owned(),
            "oci-layout:/srv/a:b:1.0.0_build".to_owned(),
            format!("oci-layout:p@{digest}"),
            "oci://r.example/a/b:1.0.0".to_owned(),
            format!("oci://r.example:5000/chat@{digest}"),
            "oci+http://127.0.0.1:5000/chat:1".to_owned(),
            "oci+http://[::1]:5000/chat:1".to_owned(),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
        }
        let Reference::Layout { dir, selector } = "oci-layout:/srv/a:b:1".parse().unwrap() else {
            panic!("it is in a layout");
        };
        assert_eq!(dir.to_str(), Some("/srv/a:b"));
        assert_eq!(selector, Selector::Tag("1".to_owned()));
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        for (text, why) in [
            ("", "does not begin with"),
            ("oci://host/repo:1", "neither a full name nor an address"),
            ("oci://r.example:1", "no host and repository"),
            ("oci://r.example/repo", "no tag and no digest"),
            ("oci://r.example/Repo:1", "no registry accepts"),
            ("oci://r.example/repo@sha256:12", "no registry accepts"),
            ("oci://r.example/../x:1", "no registry accepts"),
            ("oci+http://r.example/repo:1", "own addresses only"),
            ("oci-layout:packages", "no tag and no digest"),
            ("oci-layout::1.0", "no folder"),
            ("oci-layout:p:", "tag is not letters"),
            ("oci-layout:p:.a", "tag is not letters"),
            ("oci-layout:p:a/b", "tag is not letters"),
            ("oci-layout:p@sha256:12", "not a digest"),
            ("oci-layout:p\0:1", "control character"),
            (&format!("oci-layout:p:{}", "a".repeat(129)), "128"),
            (&format!("oci-layout:{}:1", "a".repeat(5000)), "too long"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
            assert!(!error.contains('\0'));
        }
    }
}
