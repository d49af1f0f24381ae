//! The licences that a Debian package lists, in its machine-readable `copyright` file
//! (<https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The longest of real packages have a few hundred thousand bytes.
const COPYRIGHT_MAX: u64 = 1 << 20;

/// The licences that the file names, each once, in its order; none where it is not of that format.
pub(super) fn licenses(file: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(file).ok()?;
    // What is no text or too long names no licence that could be relied on.
    file.take(COPYRIGHT_MAX).read_to_string(&mut text).ok()?;
    named_in(&text)
}

fn named_in(text: &str) -> Option<String> {
    let first = text.lines().find(|line| !line.trim().is_empty())?;
    let format = first.strip_prefix("Format:")?;
    if !format.contains("copyright-format/1.0") {
        return None;
    }
    let mut names: Vec<&str> = Vec::new();
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix("License:"));
    for name in values.map(str::trim).filter(|name| !name.is_empty()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::named_in;

    #[test]
    fn licences_are_named_once_and_other_files_name_none() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: BSD-2-clause\n\nFiles: debian/*\nLicense: GPL-2+ or MIT\n\nLicense: BSD-2-clause\n License: not a field\n";
        assert_eq!(named_in(text).unwrap(), "BSD-2-clause, GPL-2+ or MIT");
        assert_eq!(named_in("This is free software.\nLicense: X\n"), None);
        assert_eq!(named_in(""), None);
    }
}
