//! Commits and tags taken apart into what is signed, and the signature.

use jiff::Timestamp;
use placet_model::visible;

use super::{HOW, time};

/// Longer addresses are nobody's.
const EMAIL_MAX: usize = 320;

/// What was signed.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) payload: Vec<u8>,
    pub(super) signature: String,
    /// When, as whoever made it says.
    pub(super) time: Timestamp,
    /// The address of whoever made it, as they say.
    pub(super) email: String,
}

impl Signed {
    /// Takes a commit apart: its signature stands in one header, and is over everything else.
    pub(super) fn commit(bytes: &[u8]) -> Result<Self, String> {
        let mut payload = Vec::with_capacity(bytes.len());
        let mut signature = Vec::new();
        let mut made = None;
        let mut in_signature = false;
        let mut rest = bytes;
        while let Some((line, after)) = next_line(rest) {
            if line == b"\n" {
                break;
            }
            rest = after;
            if let Some(continued) = line.strip_prefix(b" ").filter(|_| in_signature) {
                signature.extend_from_slice(continued);
                continue;
            }
            in_signature = line.starts_with(b"gpgsig");
            if let Some(first) = line.strip_prefix(b"gpgsig ") {
                if !signature.is_empty() {
                    return Err("it has two signatures".to_owned());
                }
                signature.extend_from_slice(first);
            } else if in_signature {
                return Err("it has a signature for another form of git's ids".to_owned());
            } else {
                payload.extend_from_slice(line);
                made = made.or(line.strip_prefix(b"committer "));
            }
        }
        payload.extend_from_slice(rest);
        if signature.is_empty() {
            return Err(format!("it is not signed; {HOW}"));
        }
        Self::new(payload, &signature, made)
    }

    /// Takes an annotated tag apart: its signature stands at the end, and is over what comes before.
    /// It must be the tag `name` and name the commit `target`: a good tag under another name says
    /// nothing about this one.
    pub(super) fn tag(bytes: &[u8], name: &str, target: &str) -> Result<Self, String> {
        let begins = |line: &[u8]| line.starts_with(b"-----BEGIN ");
        let (mut made, mut named, mut object) = (None, None, None);
        let mut rest = bytes;
        while let Some((line, after)) = next_line(rest).filter(|(line, _)| *line != b"\n") {
            rest = after;
            made = made.or(line.strip_prefix(b"tagger "));
            named = named.or(line.strip_prefix(b"tag "));
            object = object.or(line.strip_prefix(b"object "));
        }
        let is = |header: Option<&[u8]>, value: &str| {
            header.is_some_and(|it| it.trim_ascii_end() == value.as_bytes())
        };
        if !is(named, name) || !is(object, target) {
            let named = String::from_utf8_lossy(named.unwrap_or_default());
            return Err(format!(
                "the tag object calls itself `{}` and does not name commit `{target}` under this name",
                visible(named.trim_end())
            ));
        }
        let mut found = None;
        while let Some((line, after)) = next_line(rest) {
            if begins(line) && found.replace(bytes.len() - rest.len()).is_some() {
                return Err("it has two signatures".to_owned());
            }
            rest = after;
        }
        let Some(at) = found else {
            return Err(format!("it is not signed; {HOW}"));
        };
        let (payload, signature) = bytes.split_at(at);
        Self::new(payload.to_vec(), signature, made)
    }

    fn new(payload: Vec<u8>, signature: &[u8], made: Option<&[u8]>) -> Result<Self, String> {
        let made = std::str::from_utf8(made.unwrap_or_default()).unwrap_or_default();
        let mut words = made.trim_end().rsplitn(3, ' ');
        let (_zone, seconds) = (words.next(), words.next().unwrap_or_default());
        let email = words.next().and_then(|who| who.rsplit_once('<'));
        let email = email.and_then(|(_, email)| email.strip_suffix('>'));
        let email = email.filter(|email| email.len() <= EMAIL_MAX);
        let text = String::from_utf8(signature.to_vec());
        Ok(Self {
            payload,
            signature: text.map_err(|_| "its signature is garbled".to_owned())?,
            time: time(seconds)?,
            email: email.unwrap_or_default().to_owned(),
        })
    }
}

/// The first line with its end, and what comes after it.
fn next_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if bytes.is_empty() {
        return None;
    }
    let end = bytes.iter().position(|byte| *byte == b'\n');
    Some(bytes.split_at(end.map_or(bytes.len(), |end| end + 1)))
}

#[cfg(test)]
mod tests {
    use super::Signed;

    const HEAD: &str = "tree 1\nauthor A <a@x> 5 +0000\ncommitter B C <b@x> 7 +0000\n";

    #[test]
    fn everything_but_the_signature_is_signed() {
        let text = format!("{HEAD}gpgsig one\n two\nencoding x\n\nsubject\n\ngpgsig no\n");
        let signed = Signed::commit(text.as_bytes()).unwrap();
        assert_eq!(signed.signature, "one\ntwo\n");
        let payload = format!("{HEAD}encoding x\n\nsubject\n\ngpgsig no\n");
        assert_eq!(signed.payload, payload.as_bytes());
        assert_eq!(signed.time.as_second(), 7);
        assert_eq!(signed.email, "b@x");
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        for text in [
            format!("{HEAD}gpgsig one\ngpgsig two\n\nx"),
            format!("{HEAD}gpgsig-sha256 one\n two\n\nx"),
            format!("{HEAD}gpgsigx\n\nx"),
            format!("{HEAD}\ngpgsig one\n"),
            "gpgsig one\n\nno committer".to_owned(),
            String::new(),
        ] {
            Signed::commit(text.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn a_tag_is_held_to_its_name_and_its_commit() {
        let text = "object 1\ntype commit\ntag v1\ntagger A <a@x> 5 +0000\n\nx\n";
        let signed = format!("{text}-----BEGIN SSH SIGNATURE-----\ny\n");
        let tag = Signed::tag(signed.as_bytes(), "v1", "1").unwrap();
        assert_eq!(tag.payload, text.as_bytes());
        assert!(tag.signature.ends_with("y\n"));
        Signed::tag(signed.as_bytes(), "v2", "1").unwrap_err();
        Signed::tag(signed.as_bytes(), "v1", "2").unwrap_err();
        Signed::tag(text.as_bytes(), "v1", "1").unwrap_err();
        let twice = format!("{signed}-----BEGIN SSH SIGNATURE-----\ny\n");
        Signed::tag(twice.as_bytes(), "v1", "1").unwrap_err();
    }
}
