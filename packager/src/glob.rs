//! Patterns that name many files of a folder at once.

use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};
use placet_model::visible;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A pattern for names of files: `*` and `?` stay within a folder, `**` crosses them, `[a-z]` and
/// `{a,b}` choose.
#[derive(Debug, Clone)]
pub struct Glob {
    text: String,
    matcher: GlobMatcher,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a pattern for files: {why}")]
pub struct GlobError {
    text: String,
    why: String,
}

/// Long enough for any path; patterns are compiled, so that their length is bounded.
const LENGTH_MAX: usize = 1_024;

impl Glob {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if it stands for the file `name`. A pattern without `/` looks at the last component
    /// alone, where `anywhere`.
    pub fn covers(&self, name: &str, anywhere: bool) -> bool {
        let last = name.rsplit('/').next().unwrap_or(name);
        let by_name = anywhere && !self.text.contains('/');
        self.matcher.is_match(if by_name { last } else { name })
    }

    /// The folder below which all files lie that it can stand for: its components before the first
    /// with a wildcard, and never the last; empty where there is none.
    pub(crate) fn base(&self) -> &str {
        let wild = self.text.find(['*', '?', '[', '{', '\\']);
        let literal = &self.text[..wild.unwrap_or(self.text.len())];
        match literal.rfind('/') {
            Some(0) => "/",
            Some(end) => &literal[..end],
            None => "",
        }
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        let refuse = |why: &str| GlobError {
            text: visible(text).to_string(),
            why: why.to_owned(),
        };
        if text.is_empty() || text.len() > LENGTH_MAX {
            return Err(refuse("it has 1 to 1024 bytes"));
        }
        if text.contains("//") || text.split('/').any(|part| part == ".") || text.ends_with('/') {
            return Err(refuse("leave out `.`, and empty components"));
        }
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        let glob = glob.map_err(|error| refuse(&error.kind().to_string()))?;
        Ok(Self {
            text: text.to_owned(),
            matcher: glob.compile_matcher(),
        })
    }
}

/// One pattern, or a list of them.
#[derive(Debug, Clone, Default)]
pub struct Globs(pub Vec<Glob>);

impl fmt::Display for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.0.iter().map(Glob::as_str).collect();
        visible(&texts.join("`, `")).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Globs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany)
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Globs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pattern for files, or a list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Globs, E> {
        let glob = text.parse().map_err(E::custom)?;
        Ok(Globs(vec![glob]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Globs, A::Error> {
        let mut globs = Vec::new();
        while let Some(glob) = items.next_element()? {
            globs.push(glob);
        }
        if globs.is_empty() {
            return Err(de::Error::custom("an empty list names no files"));
        }
        Ok(Globs(globs))
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    fn glob(text: &str) -> Glob {
        text.parse().unwrap()
    }

    #[test]
    fn the_base_is_what_no_wildcard_can_change() {
        for (text, base) in [
            ("*.so", ""),
            ("build/lib/*.so", "build/lib"),
            ("build/l?b/x", "build"),
            ("build/lib/x.so", "build/lib"),
            ("/opt/*", "/opt"),
            ("/*", "/"),
            ("../out/{a,b}/c", "../out"),
            ("a/b\\*/c", "a"),
        ] {
            assert_eq!(glob(text).base(), base, "{text}");
        }
    }

    #[test]
    fn stars_stay_within_a_folder() {
        assert!(glob("a/*.so").covers("a/b.so", false));
        assert!(!glob("a/*.so").covers("a/b/c.so", false));
        assert!(glob("a/**/*.so").covers("a/c.so", false));
        assert!(glob("a/**").covers("a/b/c", false));
        assert!(glob("*.md").covers("a/b.md", true));
        assert!(!glob("*.md").covers("a/b.md", false));
    }

    #[test]
    fn texts_that_are_no_patterns_are_refused() {
        for text in ["", "a//b", "./a", "a/", "a[", "a{b", &"x".repeat(1_025)] {
            assert!(text.parse::<Glob>().is_err(), "{text}");
        }
    }
}
