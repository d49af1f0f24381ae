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

/// Shows `text` in lines of at most 80 columns where its words allow; every line after the first
/// is indented by `indent` columns, and the first is taken to begin there.
pub fn wrapped(text: &str, indent: usize) -> Wrapped<'_> {
    Wrapped { text, indent }
}

/// See [`wrapped`].
#[derive(Debug, Clone, Copy)]
pub struct Wrapped<'a> {
    text: &'a str,
    indent: usize,
}

/// What every terminal can show.
const COLUMNS: usize = 80;

impl fmt::Display for Wrapped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut column = self.indent;
        for (index, word) in self.text.split(' ').enumerate() {
            let width = word.chars().count();
            if index > 0 && column + 1 + width > COLUMNS {
                write!(f, "\n{:indent$}", "", indent = self.indent)?;
                column = self.indent;
            } else if index > 0 {
                f.write_str(" ")?;
                column += 1;
            }
            f.write_str(word)?;
            column += width;
        }
        Ok(())
    }
}

/// The first `most` of some names, and how many more there are: `core-1, core-2 and 7 more`.
pub fn few<Names>(names: Names, most: usize) -> String
where
    Names: IntoIterator<IntoIter: ExactSizeIterator, Item: fmt::Display>,
{
    let names = names.into_iter();
    let more = names.len().saturating_sub(most);
    let shown: Vec<_> = names.take(most).map(|name| name.to_string()).collect();
    let shown = shown.join(", ");
    match more {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::{visible, wrapped};

    #[test]
    fn lines_end_before_the_last_column_and_go_on_where_they_began() {
        let text = format!("{} {} {}", "a".repeat(70), "b".repeat(5), "c".repeat(3));
        let shown = wrapped(&text, 4).to_string();
        let expected = format!("{} {}\n    ccc", "a".repeat(70), "b".repeat(5));
        assert_eq!(shown, expected);
        assert_eq!(wrapped(&"x".repeat(100), 4).to_string().len(), 100);
    }

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
