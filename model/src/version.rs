//! Versions of packages, each ordered as its format orders them, and what is required of them.

mod debian;
mod requirement;
mod rpm;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::serde_as_text;
use crate::visible;

pub use debian::DebianVersion;
pub use requirement::{VersionBounds, VersionRequirement, VersionRequirementError};
pub use rpm::RpmVersion;

/// Written before versions and requirements by Debian's rules.
const DEBIAN: &str = "deb:";
/// Written before versions and requirements by RPM's rules.
const RPM: &str = "rpm:";

/// Registries refuse longer tags.
const TAG_MAX: usize = 128;

/// The version of a package: semantic (`1.2.3-rc.1+build.5`), or with its scheme before it,
/// Debian's (`deb:1:2.3-4~bpo1`) or RPM's (`rpm:1:2.3-4.el9`).
///
/// The order is total: by the rules of the scheme, then by the text, so that two spellings of what
/// is the same by the rules differ (`deb:1.0` and `deb:1.00`). Versions of different schemes say
/// nothing of each other; semantic ones come first and RPM's last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// By the rules of Semantic Versioning 2.0.0.
    Semantic(semver::Version),
    /// By the rules of Debian's policy manual, section 5.6.12.
    Debian(DebianVersion),
    /// By the rules of RPM.
    Rpm(RpmVersion),
}

/// A text that is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a version: {why}; write one like `1.2.3`, `deb:1:2.3-4` or `rpm:1:2.3-4.el9`"
)]
pub struct VersionError {
    text: String,
    why: String,
}

impl Version {
    /// A semantic version of three numbers.
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self::Semantic(semver::Version::new(major, minor, patch))
    }

    /// The name of the scheme by whose rules it is ordered, for people.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Semantic(_) => "semantic",
            Self::Debian(_) => "Debian",
            Self::Rpm(_) => "RPM",
        }
    }

    /// The tag under which a package of this version is found in a registry.
    ///
    /// # Guarantees
    ///
    /// Two versions that differ have two tags. A tag may hold letters, digits, `_`, `.` and `-`
    /// alone: the `+` of a semantic version, which has no `_`, becomes `_`; in the others, `_`
    /// begins the two characters that stand for one.
    pub fn tag(&self) -> String {
        match self {
            Self::Semantic(version) => version.to_string().replace('+', "_"),
            Self::Debian(version) => format!("deb-{}", escaped(version.as_str())),
            Self::Rpm(version) => format!("rpm-{}", escaped(version.as_str())),
        }
    }
}

fn escaped(text: &str) -> String {
    let mut tag = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '~' => tag.push_str("__"),
            ':' => tag.push_str("_."),
            '+' => tag.push_str("_-"),
            '_' => tag.push_str("_u"),
            '^' => tag.push_str("_c"),
            plain => tag.push(plain),
        }
    }
    tag
}

impl From<semver::Version> for Version {
    fn from(version: semver::Version) -> Self {
        Self::Semantic(version)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let parsed = if let Some(rest) = text.strip_prefix(DEBIAN) {
            DebianVersion::parse(rest).map(Self::Debian)
        } else if let Some(rest) = text.strip_prefix(RPM) {
            RpmVersion::parse(rest).map(Self::Rpm)
        } else {
            let parsed = text.parse().map(Self::Semantic);
            parsed.map_err(|error: semver::Error| error.to_string())
        };
        let is_short =
            |version: &Self| matches!(version, Self::Semantic(_)) || version.tag().len() <= TAG_MAX;
        parsed
            .and_then(|version| {
                let too_long = || "it is too long for the tag of a registry".to_owned();
                Some(version).filter(is_short).ok_or_else(too_long)
            })
            .map_err(|why| VersionError {
                text: visible(text).to_string(),
                why,
            })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Semantic(version) => version.fmt(f),
            Self::Debian(version) => f.pad(&format!("{DEBIAN}{}", version.as_str())),
            Self::Rpm(version) => f.pad(&format!("{RPM}{}", version.as_str())),
        }
    }
}

serde_as_text!(Version);

/// The number before the colon, 0 where there is none, and what follows.
fn split_epoch(text: &str) -> Result<(u32, &str), String> {
    let Some((epoch, rest)) = text.split_once(':') else {
        return Ok((0, text));
    };
    let is_number = !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit());
    match epoch.parse::<u32>() {
        // Both tools keep it in a signed number.
        Ok(number) if is_number && i32::try_from(number).is_ok() => Ok((number, rest)),
        _ => Err("its epoch, before the `:`, is not a number below 2147483648".to_owned()),
    }
}

/// That `part` has a character, and none but letters, digits and `extra`.
fn check_part(part: &str, what: &str, extra: &str) -> Result<(), String> {
    if part.is_empty() {
        return Err(format!("its {what} is empty"));
    }
    let is_allowed =
        |character: &char| character.is_ascii_alphanumeric() || extra.contains(*character);
    match part.chars().find(|character| !is_allowed(character)) {
        Some(odd) => {
            let odd = odd.to_string();
            Err(format!("its {what} contains `{}`", visible(&odd)))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{TAG_MAX, Version};

    fn version(text: &str) -> Version {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Asserts that each version comes before the next one.
    fn assert_ascending(versions: &[&str]) {
        for (index, one) in versions.iter().enumerate() {
            for other in &versions[index + 1..] {
                assert!(version(one) < version(other), "{one} < {other}");
            }
        }
    }

    #[test]
    fn each_scheme_has_its_own_order() {
        assert_ascending(&["1.0.0-rc.1", "1.0.0", "1.0.0+1", "1.9.0", "1.10.0"]);
        assert_ascending(&[
            "deb:1.0~~",
            "deb:1.0~rc1-1",
            "deb:1.0",
            "deb:1.0-1",
            "deb:1.0-1+b1",
            "deb:1.0a",
            "deb:1.0+dfsg-1",
            "deb:1.9",
            "deb:1.10",
            "deb:1:0.1",
        ]);
        assert_ascending(&[
            "rpm:1.0~rc1-1",
            "rpm:1.0",
            "rpm:1.0-1",
            "rpm:1.0-1.el9",
            "rpm:1.0^git1-1",
            "rpm:1.0a-1",
            "rpm:1.0.1-1",
            "rpm:1.10-1",
            "rpm:1:0.1-1",
        ]);
        assert_ascending(&["9.0.0", "deb:1", "rpm:0"]);
    }

    #[test]
    fn what_is_equal_by_the_rules_is_still_two_texts() {
        for (one, other) in [
            ("deb:1.0", "deb:1.00"),
            ("deb:1", "deb:0:1"),
            ("rpm:1.0", "rpm:1_0"),
        ] {
            assert_ne!(version(one), version(other));
            assert_ne!(version(one).cmp(&version(other)), std::cmp::Ordering::Equal);
        }
    }

    #[test]
    fn a_text_that_is_no_version_is_refused_with_the_reason() {
        for (text, why) in [
            ("1.2", "unexpected end of input"),
            ("deb:", "its upstream version is empty"),
            ("deb:1-", "its revision is empty"),
            ("deb:x:1", "its epoch"),
            ("deb:4294967296:1", "its epoch"),
            ("deb::1", "its epoch"),
            ("deb:+1:1", "its epoch"),
            ("deb:1_0", "contains `_`"),
            ("deb:1 0", "contains ` `"),
            ("deb:-1", "its upstream version is empty"),
            ("rpm:1-2-3", "contains `-`"),
            ("rpm:1:2-", "its release is empty"),
            ("rpm:1\u{1b}", "contains `\\u{1b}`"),
            (&format!("deb:1{}", "~".repeat(63)), "too long"),
        ] {
            let error = text.parse::<Version>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn tags_are_valid_and_readable() {
        for (text, tag) in [
            ("1.2.3-rc.1+build.5", "1.2.3-rc.1_build.5"),
            ("deb:3.0.20-1~deb12u1", "deb-3.0.20-1__deb12u1"),
            ("deb:1:2.3+dfsg-4", "deb-1_.2.3_-dfsg-4"),
            ("rpm:2:1.0^git_1-4.el9", "rpm-2_.1.0_cgit_u1-4.el9"),
        ] {
            assert_eq!(version(text).tag(), tag);
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[01]\\.[01]\\.[01](-[a1]{1,2})?(\\+[a1]{1,2})?",
            "deb:([01]:)?[01a.+~]{1,5}(-[01a+~.]{1,3})?",
            "rpm:([01]:)?[01a._+~^]{1,5}(-[01a._~^]{1,3})?",
        ]
    }

    proptest! {
        #[test]
        fn the_order_is_total_and_the_text_stays(texts in proptest::collection::vec(texts(), 3)) {
            let versions: Vec<Version> = texts.iter().filter_map(|it| it.parse().ok()).collect();
            for one in &versions {
                prop_assert_eq!(&version(&one.to_string()), one);
                for other in &versions {
                    prop_assert_eq!(one.cmp(other), other.cmp(one).reverse());
                    prop_assert_eq!(one == other, one.cmp(other).is_eq());
                    for third in &versions {
                        prop_assert!(!(one <= other && other <= third) || one <= third);
                    }
                }
            }
        }

        #[test]
        fn no_two_versions_share_a_tag(texts in proptest::collection::vec(texts(), 12)) {
            let mut tags = BTreeMap::new();
            for version in texts.iter().filter_map(|it| it.parse::<Version>().ok()) {
                let tag = version.tag();
                prop_assert!(tag.len() <= TAG_MAX);
                prop_assert!(tag.bytes().all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it)));
                let known = tags.insert(tag, version.clone());
                prop_assert!(known.is_none_or(|known| known == version));
            }
        }

        #[test]
        fn no_text_is_too_strange(text in "(deb:|rpm:)?\\PC{0,40}") {
            let _ = text.parse::<Version>();
        }
    }
}
