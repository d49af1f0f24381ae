//! Names and paths, checked when they are made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::serde_as_text;
use crate::visible;

/// A text that is not a name of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a {what} name; use 1 to {most} lower-case letters, digits, `-` and `.`, starting and ending with a letter or digit"
)]
pub struct NameError {
    what: &'static str,
    text: String,
    most: usize,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $most:literal, $extra:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
                let inner = |byte: &u8| edge(byte) || b"-.".contains(byte) || $extra.contains(byte);
                let bytes = text.as_bytes();
                let good = bytes.len() <= $most
                    && bytes.iter().all(inner)
                    && bytes.first().is_some_and(edge)
                    && bytes.last().is_some_and(edge);
                if good {
                    Ok(Self(text.into()))
                } else {
                    Err(NameError { what: $what, text: visible(text).to_string(), most: $most })
                }
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        serde_as_text!($name);
    };
}

name!(
    /// The name of a node: a DNS-1123 subdomain, as Kubernetes object names are.
    NodeName, "node", 253, b""
);
name!(
    /// The name of a package; `_` and `+` may occur inside it, as in Debian's names.
    PackageName, "package", 128, b"_+"
);
name!(
    /// The name by which a process is known on its node; `_` may occur inside it.
    ProcessName, "process", 64, b"_"
);

/// A path inside a generation tree: relative, normalised, unable to leave the tree.
///
/// At most 1,024 bytes of UTF-8; components of 1 to 255 bytes, none of them `.` or `..`; no
/// control characters, no backslash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModulePath(String);

/// Where a symbolic link inside a generation tree points: relative, and never out of the tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkTarget(String);

/// A path that is refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path `{path}` is refused: {why}")]
pub struct PathError {
    path: String,
    why: &'static str,
}

const PATH_MAX: usize = 1_024;
const COMPONENT_MAX: usize = 255;

fn check(text: &str, parent_allowed: bool) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > PATH_MAX {
        return Err("it is longer than 1024 bytes");
    }
    if text.starts_with('/') {
        return Err("it is absolute; paths are relative to the root of the generation");
    }
    if text
        .chars()
        .any(|character| character.is_control() || character == '\\')
    {
        return Err("it contains a control character or a backslash");
    }
    for component in text.split('/') {
        match component {
            "" => return Err("it has an empty component"),
            "." => return Err("it has a component `.`"),
            ".." if !parent_allowed => return Err("it has a component `..`"),
            long if long.len() > COMPONENT_MAX => {
                return Err("it has a component longer than 255 bytes");
            }
            _ => {}
        }
    }
    Ok(())
}

impl ModulePath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// All but the last component; empty for a file at the root.
    pub fn parent(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(parent, _)| parent)
    }

    /// The path that a symbolic link at this place with the given target names.
    ///
    /// # Errors
    ///
    /// The target leaves the tree.
    pub fn resolve(&self, target: &LinkTarget) -> Result<Self, PathError> {
        let refuse = |why| PathError {
            path: target.0.clone(),
            why,
        };
        let mut parts: Vec<&str> = self
            .parent()
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        for part in target.0.split('/') {
            if part == ".." {
                parts
                    .pop()
                    .ok_or_else(|| refuse("it points out of the generation"))?;
            } else {
                parts.push(part);
            }
        }
        parts.join("/").parse()
    }
}

impl FromStr for ModulePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        check(text, false)
            .map(|()| Self(text.to_owned()))
            .map_err(|why| PathError {
                path: visible(text).to_string(),
                why,
            })
    }
}

impl LinkTarget {
    /// The target as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LinkTarget {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        check(text, true)
            .map(|()| Self(text.to_owned()))
            .map_err(|why| PathError {
                path: visible(text).to_string(),
                why,
            })
    }
}

impl fmt::Display for ModulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for LinkTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

serde_as_text!(ModulePath, LinkTarget);

#[cfg(test)]
mod tests {
    use super::{LinkTarget, ModulePath, NodeName, PackageName};

    #[test]
    fn paths_that_could_leave_the_tree_are_refused() {
        for text in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "./a",
            "a/.",
            "a\0b",
            "a\nb",
            "a\\b",
        ] {
            assert!(text.parse::<ModulePath>().is_err(), "{text:?}");
        }
        assert!("x".repeat(256).parse::<ModulePath>().is_err());
        assert!(
            "usr/lib/x86_64-linux-gnu/libz.so.1.3"
                .parse::<ModulePath>()
                .is_ok()
        );
    }

    #[test]
    fn a_link_resolves_inside_the_tree_or_not_at_all() {
        let link: ModulePath = "usr/lib/libz.so.1".parse().unwrap();
        let target = |text: &str| text.parse::<LinkTarget>().unwrap();
        assert_eq!(
            link.resolve(&target("libz.so.1.3")).unwrap().as_str(),
            "usr/lib/libz.so.1.3"
        );
        assert_eq!(
            link.resolve(&target("../bin/z")).unwrap().as_str(),
            "usr/bin/z"
        );
        assert!(link.resolve(&target("../../../etc/shadow")).is_err());
        assert!("/etc/shadow".parse::<LinkTarget>().is_err());
    }

    #[test]
    fn names_are_lower_case_and_bounded() {
        assert!("core-1.lab".parse::<NodeName>().is_ok());
        assert!("lib_a+b".parse::<PackageName>().is_ok());
        for text in ["", "-a", "a-", "Core", "a b", "a\0", &"a".repeat(254)] {
            assert!(text.parse::<NodeName>().is_err(), "{text:?}");
        }
    }
}
