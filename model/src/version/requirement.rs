//! What is required of a version, in the words of its scheme.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{DEBIAN, DebianVersion, RPM, RpmVersion, Version};
use crate::digest::serde_as_text;
use crate::visible;

/// Which versions satisfy, all of one scheme: semantic ones (`>=1.2, <2`, `*`), or with its scheme
/// before it, Debian's (`deb:>= 3.0.20-1~deb12u1, << 4`, `deb:*`) or RPM's (`rpm:>= 1:2.3, < 3`).
///
/// A version of another scheme never satisfies, not even `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionRequirement {
    /// As Cargo writes it.
    Semantic(semver::VersionReq),
    /// With the operators of Debian: `<<`, `<=`, `=`, `>=`, `>>`.
    Debian(VersionBounds<DebianVersion>),
    /// With the operators of RPM: `<`, `<=`, `=`, `>=`, `>`. A bound without a release says nothing
    /// of releases: `= 1.0` covers `1.0-1`.
    Rpm(VersionBounds<RpmVersion>),
}

/// Bounds that all have to hold; without any, every version of the scheme satisfies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionBounds<V>(Vec<(Relation, V)>);

/// How a version relates to a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Earlier,
    EarlierOrEqual,
    Equal,
    LaterOrEqual,
    Later,
}

/// What operators a scheme has; the longer ones stand before those that they begin with.
type Operators = [(&'static str, Relation); 5];

const DEBIAN_OPERATORS: Operators = [
    ("<<", Relation::Earlier),
    ("<=", Relation::EarlierOrEqual),
    (">=", Relation::LaterOrEqual),
    (">>", Relation::Later),
    ("=", Relation::Equal),
];

const RPM_OPERATORS: Operators = [
    ("<=", Relation::EarlierOrEqual),
    (">=", Relation::LaterOrEqual),
    ("<", Relation::Earlier),
    (">", Relation::Later),
    ("=", Relation::Equal),
];

/// A package states few; more are no requirement but an attempt.
const BOUNDS_MAX: usize = 32;

/// A text that is not a requirement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a requirement of versions: {why}; write one like `>=1.2, <2`, `deb:>= 1.2-3, << 2` or `rpm:>= 1.2, < 2`"
)]
pub struct VersionRequirementError {
    text: String,
    why: String,
}

impl VersionRequirement {
    /// True if `version` satisfies.
    pub fn matches(&self, version: &Version) -> bool {
        match (self, version) {
            (Self::Semantic(required), Version::Semantic(version)) => required.matches(version),
            (Self::Debian(bounds), Version::Debian(version)) => {
                bounds.hold(|bound| version.compare(bound))
            }
            (Self::Rpm(bounds), Version::Rpm(version)) => {
                bounds.hold(|bound| version.compare_to_bound(bound))
            }
            _ => false,
        }
    }

    /// The name of the scheme whose versions can satisfy, as [`Version::scheme`] names it.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Semantic(_) => "semantic",
            Self::Debian(_) => "Debian",
            Self::Rpm(_) => "RPM",
        }
    }
}

impl<V> VersionBounds<V> {
    fn parse(
        text: &str,
        operators: &Operators,
        version: fn(&str) -> Result<V, String>,
    ) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self(Vec::new()));
        }
        if text.split(',').count() > BOUNDS_MAX {
            return Err(format!("it has more than {BOUNDS_MAX} bounds"));
        }
        let bounds = text.split(',').map(|bound| {
            let bound = bound.trim();
            let found = operators
                .iter()
                .find_map(|(sign, relation)| Some((*relation, bound.strip_prefix(sign)?)));
            let (relation, bound) = found.ok_or_else(|| {
                let signs = operators.map(|(sign, _)| format!("`{sign}`")).join(", ");
                format!("a bound begins with one of {signs}, or `*` stands alone")
            })?;
            Ok((relation, version(bound.trim())?))
        });
        bounds.collect::<Result<_, _>>().map(Self)
    }

    fn hold(&self, compare: impl Fn(&V) -> Ordering) -> bool {
        self.0.iter().all(|(relation, bound)| {
            let order = compare(bound);
            match relation {
                Relation::Earlier => order.is_lt(),
                Relation::EarlierOrEqual => order.is_le(),
                Relation::Equal => order.is_eq(),
                Relation::LaterOrEqual => order.is_ge(),
                Relation::Later => order.is_gt(),
            }
        })
    }

    fn text(&self, scheme: &str, operators: &Operators, version: fn(&V) -> &str) -> String {
        let bounds = self.0.iter().map(|(relation, bound)| {
            let sign = operators.iter().find(|(_, known)| known == relation);
            let (sign, _) = sign.expect("every scheme has every operator");
            format!("{sign} {}", version(bound))
        });
        let bounds: Vec<_> = bounds.collect();
        let any = if bounds.is_empty() { "*" } else { "" };
        format!("{scheme}{any}{}", bounds.join(", "))
    }
}

impl FromStr for VersionRequirement {
    type Err = VersionRequirementError;

    fn from_str(text: &str) -> Result<Self, VersionRequirementError> {
        let parsed = if let Some(rest) = text.strip_prefix(DEBIAN) {
            VersionBounds::parse(rest, &DEBIAN_OPERATORS, DebianVersion::parse).map(Self::Debian)
        } else if let Some(rest) = text.strip_prefix(RPM) {
            VersionBounds::parse(rest, &RPM_OPERATORS, RpmVersion::parse).map(Self::Rpm)
        } else {
            let parsed = text.parse().map(Self::Semantic);
            parsed.map_err(|error: semver::Error| error.to_string())
        };
        parsed.map_err(|why| VersionRequirementError {
            text: visible(text).to_string(),
            why,
        })
    }
}

impl fmt::Display for VersionRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Semantic(required) => required.fmt(f),
            Self::Debian(bounds) => {
                f.pad(&bounds.text(DEBIAN, &DEBIAN_OPERATORS, DebianVersion::as_str))
            }
            Self::Rpm(bounds) => f.pad(&bounds.text(RPM, &RPM_OPERATORS, RpmVersion::as_str)),
        }
    }
}

serde_as_text!(VersionRequirement);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Version, VersionRequirement};

    #[track_caller]
    fn check(required: &str, satisfying: &[&str], others: &[&str]) {
        let required: VersionRequirement = required.parse().unwrap();
        let satisfies = |text: &&str| required.matches(&text.parse::<Version>().unwrap());
        assert!(satisfying.iter().all(satisfies), "{required}");
        assert!(!others.iter().any(satisfies), "{required}");
    }

    #[test]
    fn versions_satisfy_by_the_rules_of_their_scheme() {
        check(
            ">=1.2, <2",
            &["1.2.0", "1.10.0"],
            &["1.1.9", "2.0.0", "1.3.0-rc.1"],
        );
        check(
            "deb:>= 3.0.20-1~deb12u1, << 4",
            &["deb:3.0.20-1~deb12u1", "deb:3.0.20-1", "deb:4~rc1"],
            &["deb:3.0.19-1", "deb:4", "deb:4-1", "deb:1:3.1"],
        );
        check("deb:= 1.0", &["deb:1.0", "deb:0:1.00-0"], &["deb:1.0-1"]);
        check("deb:>> 1.0", &["deb:1.0-1"], &["deb:1.0"]);
        check(
            "rpm:= 1.0",
            &["rpm:1.0", "rpm:1.0-7.el9"],
            &["rpm:1.0.1-7", "rpm:1:1.0"],
        );
        check("rpm:> 1.0", &["rpm:1.0.1-1"], &["rpm:1.0-1"]);
        check(
            "rpm:>= 1.0-3, < 2",
            &["rpm:1.0-3.el9", "rpm:2~rc1-1"],
            &["rpm:1.0-2", "rpm:2-1"],
        );
    }

    #[test]
    fn schemes_never_satisfy_each_other() {
        check("*", &["1.0.0"], &["deb:1.0.0", "rpm:1.0.0"]);
        check("deb:*", &["deb:1.0.0"], &["1.0.0", "rpm:1.0.0"]);
        check("rpm:*", &["rpm:1.0.0-1"], &["1.0.0", "deb:1.0.0-1"]);
    }

    #[test]
    fn a_text_that_is_no_requirement_is_refused_with_the_reason() {
        for (text, why) in [
            ("deb:", "a bound begins with one of `<<`"),
            ("deb:1.0", "a bound begins with one of `<<`"),
            ("deb:< 1.0", "a bound begins with one of `<<`"),
            ("deb:>= ", "its upstream version is empty"),
            ("deb:>= 1, *", "a bound begins with"),
            ("rpm:<< 1.0", "its version contains `<`"),
            (">= x", "unexpected character"),
            (
                &format!("rpm:{}", ["= 1"; 33].join(",")),
                "more than 32 bounds",
            ),
        ] {
            let error = text.parse::<VersionRequirement>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn the_text_means_the_same_when_it_is_read_again(
            text in "(deb:(<<|<=|=|>=|>>) ?[01]\\.[01](, ?>= 0)?|rpm:(<|<=|=|>=|>) ?[01](, ?= 0)?|[<>]1)",
        ) {
            let required: VersionRequirement = text.parse().unwrap();
            prop_assert_eq!(&required.to_string().parse::<VersionRequirement>().unwrap(), &required);
        }
    }
}
