//! The next version of a package that is made from another.

use std::collections::BTreeSet;

use placet_model::{UpdateTool, Version, VersionError};

use super::UpdateError;

/// How the version of an update is found.
#[derive(Debug, Clone, Copy)]
pub struct Naming<'a> {
    /// The version that a person wants.
    pub version: Option<&'a Version>,
    /// The tags that the target has.
    pub tags: &'a BTreeSet<String>,
}

const TOOLS: [UpdateTool; 4] = [
    UpdateTool::White,
    UpdateTool::Black,
    UpdateTool::Gray,
    UpdateTool::Repack,
];

impl Naming<'_> {
    /// The version that is wanted, or the next after `version`: `1.2.3` is followed by
    /// `1.2.3+1.white`, and that by `1.2.3+2.gray`.
    ///
    /// It comes after what it was made from and after all that was made from that before, and
    /// before the next release. Requirements that the release satisfies it satisfies too, where
    /// the versions are semantic: they do not look behind the `+`.
    pub(super) fn choose(&self, version: &Version, by: UpdateTool) -> Result<Version, UpdateError> {
        match self.version {
            Some(wanted) if wanted == version => Err(UpdateError::Same(wanted.clone())),
            Some(wanted) if self.tags.contains(&wanted.tag()) => {
                Err(UpdateError::Taken(wanted.clone()))
            }
            Some(wanted) => Ok(wanted.clone()),
            None => self.next(version, by),
        }
    }

    fn next(&self, version: &Version, by: UpdateTool) -> Result<Version, UpdateError> {
        let text = version.to_string();
        let (base, number) = split(&text);
        let is_free = |number: &u64| -> bool {
            let of_tool = |tool| made(base, *number, tool).ok();
            let versions = TOOLS.into_iter().filter_map(of_tool);
            versions
                .into_iter()
                .all(|it| !self.tags.contains(&it.tag()))
        };
        // Every tag takes one number at most.
        let most = self.tags.len() as u64 + 1;
        let mut numbers = (1..=most).map(|step| number.saturating_add(step));
        let number = numbers.find(is_free).unwrap_or(u64::MAX);
        made(base, number, by).map_err(|why| UpdateError::NoVersion {
            version: version.clone(),
            why,
        })
    }
}

/// The version before anything was made from it, and the number of the update that it is.
fn split(text: &str) -> (&str, u64) {
    let update = || {
        let (rest, tool) = text.rsplit_once('.')?;
        let separator = rest.rfind(['+', '.'])?;
        let number = rest[separator + 1..].parse().ok()?;
        let known = TOOLS.iter().any(|it| it.to_string() == tool);
        known.then_some((&text[..separator], number))
    };
    update().unwrap_or((text, 0))
}

fn made(base: &str, number: u64, by: UpdateTool) -> Result<Version, String> {
    // A semantic version has one `+`, and dots after it.
    let separator = if base.contains('+') { '.' } else { '+' };
    let text = format!("{base}{separator}{number}.{by}");
    text.parse()
        .map_err(|error: VersionError| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use placet_model::{UpdateTool, VersionRequirement};

    use super::Naming;

    #[track_caller]
    fn check(version: &str, tags: &[&str], by: UpdateTool, expected: &str) {
        let tags: BTreeSet<_> = tags.iter().map(ToString::to_string).collect();
        let naming = Naming {
            version: None,
            tags: &tags,
        };
        let version = version.parse().unwrap();
        let next = naming.choose(&version, by).unwrap();
        assert_eq!(next.to_string(), expected);
        assert!(next > version, "{next} comes after {version}");
    }

    #[test]
    fn the_next_version_comes_after_all_that_was_made_before() {
        check("1.2.3", &["1.2.3"], UpdateTool::White, "1.2.3+1.white");
        check("1.2.3+1.white", &[], UpdateTool::Gray, "1.2.3+2.gray");
        let tags = ["1.2.3", "1.2.3_1.white", "1.2.3_2.repack"];
        check("1.2.3", &tags, UpdateTool::Black, "1.2.3+3.black");
        check("1.2.3+1.white", &tags, UpdateTool::Gray, "1.2.3+3.gray");
        check("1.0.0-rc.1", &[], UpdateTool::Repack, "1.0.0-rc.1+1.repack");
        check("1.0.0+b.5", &[], UpdateTool::White, "1.0.0+b.5.1.white");
        check(
            "1.0.0+b.5.1.white",
            &[],
            UpdateTool::White,
            "1.0.0+b.5.2.white",
        );
        check("1.0.0+9.white", &[], UpdateTool::White, "1.0.0+10.white");
        check(
            "deb:1:2.3-4",
            &["deb-1_.2.3-4"],
            UpdateTool::White,
            "deb:1:2.3-4+1.white",
        );
        let tags = ["deb-2.3-4_-1.gray"];
        check("deb:2.3-4", &tags, UpdateTool::White, "deb:2.3-4+2.white");
        check(
            "deb:3-1+deb12u2",
            &[],
            UpdateTool::Gray,
            "deb:3-1+deb12u2.1.gray",
        );
        check(
            "rpm:2.3-4.el9",
            &[],
            UpdateTool::Black,
            "rpm:2.3-4.el9+1.black",
        );
    }

    #[test]
    fn requirements_of_the_release_hold_for_what_was_made_from_it() {
        let version = "1.2.3+1.white".parse().unwrap();
        for requirement in ["=1.2.3", ">=1.2.3", "^1.2"] {
            let requirement: VersionRequirement = requirement.parse().unwrap();
            assert!(requirement.matches(&version), "{requirement}");
        }
    }

    #[test]
    fn a_version_that_is_there_is_not_given_again() {
        let tags = BTreeSet::from(["2.0.0_x".to_owned()]);
        let (old, wanted) = ("1.0.0".parse().unwrap(), "2.0.0+x".parse().unwrap());
        let naming = |version| Naming {
            version: Some(version),
            tags: &tags,
        };
        let taken = naming(&wanted).choose(&old, UpdateTool::White).unwrap_err();
        assert!(taken.to_string().contains("has version 2.0.0+x already"));
        let same = naming(&old).choose(&old, UpdateTool::White).unwrap_err();
        assert!(same.to_string().contains("give another"), "{same}");
    }
}
