//! Versions by the rules of RPM, as its `rpmvercmp` and its manual on versions have them.

use std::cmp::Ordering;

use super::debian::number_key;
use super::{check_part, split_epoch};

/// `[epoch:]version[-release]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RpmVersion(String);

struct Parts<'v> {
    epoch: u32,
    version: &'v str,
    release: Option<&'v str>,
}

impl RpmVersion {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (_, rest) = split_epoch(text)?;
        let (version, release) = match rest.split_once('-') {
            Some((version, release)) => (version, Some(release)),
            None => (rest, None),
        };
        check_part(version, "version", "._+~^")?;
        if let Some(release) = release {
            check_part(release, "release", "._+~^")?;
        }
        Ok(Self(text.to_owned()))
    }

    /// The version as RPM writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> Parts<'_> {
        let (epoch, rest) = split_epoch(&self.0).expect("checked when it was made");
        let (version, release) = match rest.split_once('-') {
            Some((version, release)) => (version, Some(release)),
            None => (rest, None),
        };
        Parts {
            epoch,
            version,
            release,
        }
    }

    /// The order by the rules alone: `1.0` and `1_0` are equal.
    pub fn compare(&self, other: &Self) -> Ordering {
        let (one, other) = (self.parts(), other.parts());
        let epochs = one.epoch.cmp(&other.epoch);
        epochs
            .then_with(|| compare(one.version, other.version))
            .then_with(|| match (one.release, other.release) {
                (Some(one), Some(other)) => compare(one, other),
                (one, other) => one.is_some().cmp(&other.is_some()),
            })
    }

    /// As [`Self::compare`], but where `bound` has no release, any release is the same as none.
    pub(super) fn compare_to_bound(&self, bound: &Self) -> Ordering {
        let (one, other) = (self.parts(), bound.parts());
        if one.release.is_some() && other.release.is_some() {
            return self.compare(bound);
        }
        let epochs = one.epoch.cmp(&other.epoch);
        epochs.then_with(|| compare(one.version, other.version))
    }
}

impl Ord for RpmVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compare(other).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for RpmVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a version consists of, in ascending order; all else parts segments and does not count.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Segment<'v> {
    Tilde,
    End,
    Caret,
    Letters(&'v [u8]),
    /// How many digits, without leading zeros, and those.
    Number((usize, &'v [u8])),
}

fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        let segment = next(&mut one);
        let order = segment.cmp(&next(&mut other));
        if order.is_ne() || segment == Segment::End {
            return order;
        }
    }
}

fn next<'v>(rest: &mut &'v [u8]) -> Segment<'v> {
    let counts = |byte: &u8| byte.is_ascii_alphanumeric() || b"~^".contains(byte);
    let start = rest.iter().position(counts).unwrap_or(rest.len());
    let text = &rest[start..];
    let length = |belongs: fn(&u8) -> bool| text.iter().take_while(|byte| belongs(byte)).count();
    let (segment, length) = match text.first() {
        None => (Segment::End, 0),
        Some(b'~') => (Segment::Tilde, 1),
        Some(b'^') => (Segment::Caret, 1),
        Some(byte) if byte.is_ascii_digit() => {
            let length = length(u8::is_ascii_digit);
            (Segment::Number(number_key(&text[..length])), length)
        }
        Some(_) => {
            let length = length(u8::is_ascii_alphabetic);
            (Segment::Letters(&text[..length]), length)
        }
    };
    *rest = &text[length..];
    segment
}
