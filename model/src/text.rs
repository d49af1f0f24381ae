//! Text that came from outside, made safe to show.

use std::fmt;

/// Shows `text` with control characters, bidirectional overrides and invisible marks escaped, and
/// cut after 1,000 characters, so that what a process, a registry or a git host says can neither
/// forge a log line nor drive a terminal.
pub fn visible(text: &str) -> Visible<'_> {
    Visible(text)
}

/// See [`visible`].
#[derive(Debug, Clone, Copy)]
pub struct Visible<'a>(&'a str);

/// Long enough for every message that a person would write, short enough for a status field.
const MOST: usize = 1_000;

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(MOST) {
            if is_hidden(character) {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        if characters.next().is_some() {
            f.write_char('…')?;
        }
        Ok(())
    }
}

fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        assert_eq!(
            visible("a\0b\u{1b}[31m\n\u{202e}é").to_string(),
            "a\\u{0}b\\u{1b}[31m\\n\\u{202e}é"
        );
        assert_eq!(
            visible(&"x".repeat(1_001)).to_string().chars().count(),
            1_001
        );
    }
}
