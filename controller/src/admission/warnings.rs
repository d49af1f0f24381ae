//! What a person reads beside the answer, within what an API server passes on.

/// The API server passes on 4,096 characters in all, and cuts every line short when there are more.
const TOTAL_MOST: usize = 3_900;

/// A line longer than this says nothing more.
const LINE_MOST: usize = 1_000;

/// The warnings to send: as many of `lines` as fit, how many more there are, and the summary.
pub(super) fn bounded(lines: &[String], summary: Option<&str>) -> Vec<String> {
    let summary = summary.map(cut);
    let room = TOTAL_MOST - summary.as_ref().map_or(0, String::len);
    let lines: Vec<String> = lines.iter().map(|line| cut(line)).collect();
    let total: usize = lines.iter().map(String::len).sum();
    let fits = if total <= room {
        lines.len()
    } else {
        let mut left = room - MORE.len() - DIGITS;
        let fits = |line: &&String| {
            let after = left.checked_sub(line.len());
            left = after.unwrap_or(0);
            after.is_some()
        };
        lines.iter().take_while(fits).count()
    };
    let more = lines.len() - fits;
    let mut warnings: Vec<String> = lines.into_iter().take(fits).collect();
    if more > 0 {
        warnings.push(format!("{more}{MORE}"));
    }
    warnings.extend(summary);
    warnings
}

const MORE: &str = " more such lines; the controller's log has all of them";

/// Digits of a number of lines.
const DIGITS: usize = 10;

fn cut(line: &str) -> String {
    if line.len() <= LINE_MOST {
        return line.to_owned();
    }
    let end = line.floor_char_boundary(LINE_MOST - 3);
    format!("{}…", &line[..end])
}

#[cfg(test)]
mod tests {
    use super::{TOTAL_MOST, bounded};

    #[test]
    fn what_fits_is_told_whole_with_the_summary_last() {
        let lines = vec!["one".to_owned(), "two".to_owned()];
        let told = bounded(&lines, Some("both"));
        assert_eq!(told, ["one", "two", "both"]);
        assert!(bounded(&[], None).is_empty());
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        for length in [1, 40, 999, 5_000] {
            let lines = vec!["é".repeat(length); 9_000];
            let told = bounded(&lines, Some(&"summary".repeat(30)));
            let total: usize = told.iter().map(String::len).sum();
            assert!(total <= TOTAL_MOST, "{total}");
            let more = &told[told.len() - 2];
            let count: usize = more.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(count + told.len() - 2, 9_000, "{more}");
        }
    }
}
