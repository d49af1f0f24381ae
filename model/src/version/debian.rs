//! Versions by the rules of Debian's policy manual, section 5.6.12.

use std::cmp::Ordering;

use super::{check_part, split_epoch};

/// `[epoch:]upstream-version[-revision]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DebianVersion(String);

struct Parts<'v> {
    epoch: u32,
    upstream: &'v str,
    /// Empty where left out, which is the same as `0`.
    revision: &'v str,
}

impl DebianVersion {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (_, rest) = split_epoch(text)?;
        let has_epoch = rest.len() < text.len();
        let (upstream, revision) = match rest.rsplit_once('-') {
            Some((upstream, revision)) => (upstream, Some(revision)),
            None => (rest, None),
        };
        let extra = if has_epoch { ".+-~:" } else { ".+-~" };
        check_part(upstream, "upstream version", extra)?;
        if !upstream.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return Err("its upstream version does not begin with a digit or letter".to_owned());
        }
        if let Some(revision) = revision {
            check_part(revision, "revision", ".+~")?;
        }
        Ok(Self(text.to_owned()))
    }

    /// The version as Debian writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> Parts<'_> {
        let (epoch, rest) = split_epoch(&self.0).expect("checked when it was made");
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Parts {
            epoch,
            upstream,
            revision,
        }
    }

    /// The order by the rules alone: `1.0` and `1.00` are equal.
    pub fn compare(&self, other: &Self) -> Ordering {
        let (one, other) = (self.parts(), other.parts());
        let epochs = one.epoch.cmp(&other.epoch);
        epochs
            .then_with(|| compare(one.upstream, other.upstream))
            .then_with(|| compare(one.revision, other.revision))
    }
}

impl Ord for DebianVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compare(other).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for DebianVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Text and numbers by turns, until one differs.
fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    while !(one.is_empty() && other.is_empty()) {
        let (text, rest) = split_while(one, |byte| !byte.is_ascii_digit());
        let (other_text, other_rest) = split_while(other, |byte| !byte.is_ascii_digit());
        let (number, rest) = split_while(rest, u8::is_ascii_digit);
        let (other_number, other_rest) = split_while(other_rest, u8::is_ascii_digit);
        let order = compare_text(text, other_text)
            .then_with(|| number_key(number).cmp(&number_key(other_number)));
        if order.is_ne() {
            return order;
        }
        (one, other) = (rest, other_rest);
    }
    Ordering::Equal
}

fn split_while(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !belongs(byte));
    bytes.split_at(end.unwrap_or(bytes.len()))
}

/// `~` comes before the end, the end before letters, letters before all else.
fn compare_text(one: &[u8], other: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    let mut places = 0..one.len().max(other.len());
    places
        .find_map(|at| {
            let order = weight(one.get(at)).cmp(&weight(other.get(at)));
            Some(order).filter(|order| order.is_ne())
        })
        .unwrap_or(Ordering::Equal)
}

/// Orders digits by their value, however many there are.
pub(super) fn number_key(digits: &[u8]) -> (usize, &[u8]) {
    let (_, digits) = split_while(digits, |byte| *byte == b'0');
    (digits.len(), digits)
}
