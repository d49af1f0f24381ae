//! Command lines that people copy: from the documentation, and from the examples of `--help`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, Parser as _};

use super::{commands, shown};
use crate::arguments::Cli;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages, and the files at the top.
fn pages() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for folder in ["", "docs"] {
        let files = fs::read_dir(root().join(folder)).unwrap();
        let paths = files.map(|it| it.unwrap().path());
        for path in paths.filter(|it| it.extension().is_some_and(|it| it == "md")) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            pages.push((name, fs::read_to_string(path).unwrap()));
        }
    }
    assert!(pages.len() > 15);
    pages
}

/// What is typed at prompts, with lines that end in `\` joined.
fn typed(page: &str) -> Vec<String> {
    let (mut found, mut is_code, mut open) = (Vec::new(), false, None::<String>);
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            (is_code, open) = (!is_code, None);
            continue;
        }
        let begun = line.trim_start().strip_prefix("$ ").filter(|_| is_code);
        let Some(text) = open
            .take()
            .map(|open| open + line)
            .or(begun.map(str::to_owned))
        else {
            continue;
        };
        match text.strip_suffix('\\') {
            Some(part) => open = Some(part.to_owned()),
            None => found.push(text),
        }
    }
    found
}

/// The words of the first command of a line of shell; variables stay as they are.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), it) if it == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | ';' | '&' | '>' | '<') => break,
            (None, ' ') => words.extend(word.take()),
            (_, character) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// Lines that end in `\` are one with the next.
fn joined(text: &str) -> String {
    let lines = text.lines().map(str::trim_end);
    lines.fold(String::new(), |text, line| match text.strip_suffix('\\') {
        Some(open) => format!("{open}{}", line.trim_start()),
        None => format!("{text}\n{line}"),
    })
}

#[track_caller]
fn check(line: &str, place: &str) {
    let words = words(line);
    if words.first().is_none_or(|it| it != "placet") {
        return;
    }
    if let Err(error) = Cli::try_parse_from(words) {
        assert!(!error.use_stderr(), "{place}: {line}\n{error}");
    }
}

#[test]
fn every_command_line_of_the_documentation_is_one() {
    let mut count = 0;
    for (name, page) in pages() {
        for line in typed(&page) {
            check(&line, &name);
            count += usize::from(line.starts_with("placet "));
        }
    }
    assert!(count > 40, "{count} lines were found");
}

#[test]
fn every_example_of_help_can_be_typed() {
    let mut open: Vec<Command> = vec![commands()];
    let mut count = 0;
    while let Some(command) = open.pop() {
        open.extend(shown(&command).cloned());
        let after = command.get_after_help().map(ToString::to_string);
        let after = joined(&after.unwrap_or_default());
        for line in after.lines().filter(|it| it.starts_with("  placet ")) {
            // What follows two blanks explains the line.
            let line = line.trim_start().split("  ").next().unwrap_or_default();
            check(line, command.get_name());
            count += 1;
        }
    }
    assert!(count > 40, "{count} examples were found");
}

/// `placet package build`, `placet check --from REVISION`: named in passing.
#[test]
fn every_command_that_a_sentence_names_exists_with_its_options() {
    let commands = commands();
    for (name, page) in pages() {
        for span in spans(&page) {
            let Some(rest) = span.strip_prefix("placet ") else {
                continue;
            };
            if let Err(why) = find(&commands, rest) {
                panic!("{name}: `{span}`: {why}");
            }
        }
    }
}

/// Inline code, outside of code blocks; it may go on in the next line.
fn spans(page: &str) -> Vec<String> {
    let blocks = page.split("```");
    let prose: Vec<_> = blocks.step_by(2).collect();
    let prose = prose.join(" ").replace('\n', " ");
    let spans = prose.split('`').skip(1).step_by(2);
    spans.map(str::to_owned).collect()
}

fn find(root: &Command, text: &str) -> Result<(), String> {
    let mut command = root;
    for word in text.split_whitespace() {
        if let Some(found) = command.find_subcommand(word) {
            command = found;
        } else if let Some(option) = word.strip_prefix("--") {
            let name = option.split('=').next().unwrap_or_default();
            let name = name.trim_end_matches(|it: char| !it.is_ascii_alphanumeric());
            let mut arguments = command.get_arguments();
            if !arguments.any(|it| it.get_long() == Some(name)) {
                return Err(format!("`{}` has no option --{name}", command.get_name()));
            }
        } else if command.has_subcommands() && word.bytes().all(|it| it.is_ascii_lowercase()) {
            return Err(format!("`{}` has no command {word}", command.get_name()));
        }
    }
    Ok(())
}

#[test]
fn lines_are_read_as_a_shell_reads_them() {
    assert_eq!(
        words("placet a 'b c' \"d\"  # e"),
        ["placet", "a", "b c", "d"]
    );
    assert_eq!(words("placet a | jq ."), ["placet", "a"]);
    let page = "text\n```console\n$ placet a \\\n    b\nout\n```\n$ placet c\n";
    assert_eq!(typed(page), ["placet a     b"]);
    assert_eq!(
        spans("a `placet\nup` b\n```\n`x`\n```\n`y`"),
        ["placet up", "y"]
    );
}
