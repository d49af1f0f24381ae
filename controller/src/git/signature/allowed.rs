//! Who may sign, in the format of ssh's `allowed_signers` file.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use placet_model::visible;

use super::key::PublicKey;

/// As much as the field of the resource holds.
const TEXT_MAX: usize = 64 << 10;

/// As long as an address may be.
const PRINCIPAL_MAX: usize = 254;

/// Everybody who may sign.
#[derive(Debug, Clone)]
pub(in crate::git) struct AllowedSigners(Vec<Line>);

#[derive(Debug, Clone)]
struct Line {
    number: usize,
    principals: Vec<String>,
    /// None where there is no such option: then it is for all.
    namespaces: Option<Vec<String>>,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
    key: PublicKey,
}

/// What the list says of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may sign, as this principal.
    Allowed(String),
    /// It may not, though it is in the list.
    NotNow(String),
    Unknown,
}

impl AllowedSigners {
    /// Reads the list, or says which line is wrong, and why.
    pub(in crate::git) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("it has more than {TEXT_MAX} characters"));
        }
        if text.contains("-----BEGIN PGP") {
            return Err(
                "it holds an OpenPGP key, whose signatures are not carried out; name ssh keys"
                    .to_owned(),
            );
        }
        let lines = text.lines().enumerate();
        let lines: Result<Vec<Line>, String> = lines
            .map(|(index, line)| (index + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(number, line)| {
                parse_line(number, line).map_err(|why| format!("line {number}: {why}"))
            })
            .collect();
        match lines? {
            lines if lines.is_empty() => Err("it names nobody; add a line for each key".to_owned()),
            lines => Ok(Self(lines)),
        }
    }

    /// What the list says of `key` at `time`, used by somebody who calls himself `email`.
    pub(super) fn judge(&self, key: &PublicKey, time: Timestamp, email: &str) -> Verdict {
        let mut verdict = Verdict::Unknown;
        for line in self.0.iter().filter(|line| line.key == *key) {
            match line.objection(time) {
                None => return Verdict::Allowed(line.principal(email)),
                Some(why) => verdict = Verdict::NotNow(why),
            }
        }
        verdict
    }
}

impl Line {
    /// Why the key may not sign a commit of `time`.
    fn objection(&self, time: Timestamp) -> Option<String> {
        let line = self.number;
        let is_for_git = |names: &Vec<String>| names.iter().any(|name| matches(name, "git"));
        if !self.namespaces.as_ref().is_none_or(is_for_git) {
            return Some(format!(
                "line {line} of the allowed signers lets that key sign for other things than `git`; add `git` to its `namespaces`"
            ));
        }
        if let Some(from) = self.valid_after.filter(|from| time < *from) {
            return Some(format!(
                "line {line} of the allowed signers lets that key sign from {from} on, and it was made at {time}"
            ));
        }
        if let Some(until) = self.valid_before.filter(|until| time >= *until) {
            return Some(format!(
                "line {line} of the allowed signers lets that key sign until {until}, and it was made at {time}; sign with a newer key"
            ));
        }
        None
    }

    /// As whom the key signs: the address given where the line allows it, since whoever has the key
    /// may use each of its names; else the first name.
    fn principal(&self, email: &str) -> String {
        let is_denied = |name: &String| name.strip_prefix('!').is_some_and(|no| matches(no, email));
        let is_meant = |name: &String| !name.starts_with('!') && matches(name, email);
        if !self.principals.iter().any(is_denied) && self.principals.iter().any(is_meant) {
            return email.to_owned();
        }
        let plain = |name: &&String| !name.starts_with('!') && !name.contains(['*', '?']);
        let first = self.principals.iter().find(plain);
        first
            .or(self.principals.first())
            .cloned()
            .unwrap_or_default()
    }
}

/// Whether `text` is as `pattern` says, in which `*` stands for anything and `?` for one character.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut of) = (0, 0);
    // Where to go on if what came after the last `*` did not fit.
    let mut again = None;
    while of < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                again = Some((at, of));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == text[of] => {
                at += 1;
                of += 1;
            }
            _ => {
                let Some((star, from)) = again else {
                    return false;
                };
                again = Some((star, from + 1));
                at = star + 1;
                of = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

fn parse_line(number: usize, line: &str) -> Result<Line, String> {
    let (principals, rest) = word(line)?;
    let (second, mut rest) = word(rest)?;
    let mut options = "";
    let mut kind = second;
    if !is_kind(second) {
        options = second;
        (kind, rest) = word(rest)?;
    }
    let (key, _comment) = word(rest)?;
    if !is_kind(kind) || key.is_empty() {
        return Err(
            "it is not `principals [options] kind-of-key key`, as in `ann@example.org ssh-ed25519 AAAA…`"
                .to_owned(),
        );
    }
    let mut line = Line {
        number,
        principals: names(unquoted(principals)),
        namespaces: None,
        valid_after: None,
        valid_before: None,
        key: PublicKey::from_text(kind, key)?,
    };
    if line.principals.is_empty() {
        return Err("it names no principal".to_owned());
    }
    if line.principals.iter().any(|it| it.len() > PRINCIPAL_MAX) {
        return Err(format!(
            "a principal has at most {PRINCIPAL_MAX} characters"
        ));
    }
    for option in split(options) {
        line.set(option)?;
    }
    Ok(line)
}

impl Line {
    fn set(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = unquoted(value);
        match name.to_ascii_lowercase().as_str() {
            "namespaces" => self.namespaces = Some(names(value)),
            "valid-after" => self.valid_after = Some(time(value)?),
            "valid-before" => self.valid_before = Some(time(value)?),
            "cert-authority" => {
                return Err(
                    "certificates (`cert-authority`) are not carried out; name each key".to_owned(),
                );
            }
            _ => {
                return Err(format!(
                    "`{}` is none of the options `namespaces`, `valid-after` and `valid-before`",
                    visible(name)
                ));
            }
        }
        Ok(())
    }
}

fn is_kind(word: &str) -> bool {
    word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-")
}

/// The first word, in which blanks may stand between quotes, and what comes after it.
fn word(line: &str) -> Result<(&str, &str), String> {
    let line = line.trim_start();
    let mut quoted = false;
    let end = line.find(|it: char| {
        quoted ^= it == '"';
        it.is_ascii_whitespace() && !quoted
    });
    if quoted && end.is_none() {
        return Err("it has a quote that does not end".to_owned());
    }
    Ok(line.split_at(end.unwrap_or(line.len())))
}

/// The options, separated by commas outside of quotes.
fn split(options: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let parts = options.split(move |it: char| {
        quoted ^= it == '"';
        it == ',' && !quoted
    });
    parts.filter(|part| !part.is_empty())
}

fn unquoted(text: &str) -> &str {
    let inner = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    inner.unwrap_or(text)
}

fn names(text: &str) -> Vec<String> {
    let names = text.split(',').map(str::trim);
    let names = names.filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, with or without `Z`; always UTC.
fn time(text: &str) -> Result<Timestamp, String> {
    let digits = text.strip_suffix('Z').unwrap_or(text);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let padded = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        14 => digits.to_owned(),
        _ => String::new(),
    };
    DateTime::strptime("%Y%m%d%H%M%S", padded)
        .ok()
        .filter(|_| is_number)
        .and_then(|time| time.to_zoned(TimeZone::UTC).ok())
        .map(|time| time.timestamp())
        .ok_or_else(|| {
            format!(
                "`{}` is not a time like `20270131` or `20270131120000Z`",
                visible(text)
            )
        })
}

#[cfg(test)]
mod tests {
    use super::{AllowedSigners, Verdict, matches};
    use jiff::Timestamp;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    #[track_caller]
    fn verdict(line: &str, time: &str, email: &str) -> Verdict {
        let allowed = AllowedSigners::parse(line).unwrap();
        let key = allowed.0[0].key.clone();
        allowed.judge(&key, time.parse::<Timestamp>().unwrap(), email)
    }

    #[test]
    fn the_principal_is_who_the_line_lets_them_be() {
        for (principals, email, expected) in [
            ("ann@example.org", "eve@example.org", "ann@example.org"),
            (
                "*@example.org,!eve@example.org",
                "bob@example.org",
                "bob@example.org",
            ),
            (
                "!eve@example.org,*@example.org,ann",
                "eve@example.org",
                "ann",
            ),
            ("\"ann b,bob\"", "bob", "bob"),
            ("*@example.org", "eve@elsewhere.org", "*@example.org"),
        ] {
            let line = format!("# who\n\n{principals} {KEY} comment here\n");
            let found = verdict(&line, "2026-01-01T00:00:00Z", email);
            assert_eq!(found, Verdict::Allowed(expected.to_owned()), "{principals}");
        }
    }

    #[test]
    fn options_limit_what_for_and_when() {
        let ok = Verdict::Allowed("ann".to_owned());
        let at = |options: &str, time: &str| verdict(&format!("ann {options} {KEY}"), time, "");
        assert_eq!(at("namespaces=\"file,git\"", "2026-01-01T00:00:00Z"), ok);
        assert_eq!(at("namespaces=\"g*\"", "2026-01-01T00:00:00Z"), ok);
        assert_ne!(at("namespaces=\"file\"", "2026-01-01T00:00:00Z"), ok);
        let both = "valid-after=\"20260101\",valid-before=20270101120000Z";
        assert_eq!(at(both, "2026-01-01T00:00:00Z"), ok);
        assert_ne!(at(both, "2025-12-31T23:59:59Z"), ok);
        assert_eq!(at(both, "2027-01-01T11:59:59Z"), ok);
        assert_ne!(at(both, "2027-01-01T12:00:00Z"), ok);
    }

    #[test]
    fn lines_that_are_wrong_are_told_by_number() {
        for (line, because) in [
            ("ann", "line 2"),
            ("ann ssh-ed25519", "line 2"),
            ("ann ssh-ed25519 !!", "not base64"),
            ("ann ssh-ed25519 AAAA", "garbled"),
            (
                "ann ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
                "ssh-ed25519",
            ),
            (
                "ann sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t",
                "not carried out",
            ),
            (&format!("ann cert-authority {KEY}"), "certificates"),
            (&format!("ann valid-after=yesterday {KEY}"), "not a time"),
            (&format!("ann valid-after=20261399 {KEY}"), "not a time"),
            (&format!("ann touch {KEY}"), "none of the options"),
            (&format!("\"ann {KEY}"), "quote"),
        ] {
            let error = AllowedSigners::parse(&format!("#\n{line}\n")).unwrap_err();
            assert!(error.starts_with("line 2: "), "{line}: {error}");
            assert!(error.contains(because), "{line}: {error}");
        }
        for text in ["", "# nobody\n", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n"] {
            AllowedSigners::parse(text).unwrap_err();
        }
    }

    #[test]
    fn patterns_are_linear_and_exact() {
        assert!(matches("a*c?e", "abbbcde") && matches("*", "") && matches("**", "x"));
        assert!(!matches("a*c", "abd") && !matches("", "x") && !matches("?", ""));
        let long = "a".repeat(10_000);
        assert!(!matches(&format!("{}b", "a*".repeat(50)), &long));
    }
}
