//! What git leaves in a file that somebody has yet to finish: a merge, or a download.

/// Why a file is not what its author means it to be.
#[derive(Debug)]
pub(crate) struct Unfinished {
    /// Where it shows, counted from 1.
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// How a file begins that stands for one in Git LFS.
const LFS: &str = "version https://git-lfs.github.com/spec/";

impl Unfinished {
    /// What shows that `text` is unfinished.
    pub(crate) fn of(text: &str) -> Option<Self> {
        if text.starts_with(LFS) {
            let message = "the file is a pointer to Git LFS, and its content is elsewhere; fetch it with `git lfs pull`, or better keep declarations out of LFS: commits are read without it";
            return Some(Self {
                line: 1,
                message: message.to_owned(),
            });
        }
        conflict(text)
    }
}

/// A conflict that a merge left. No YAML that means anything has all three marks at the beginning of
/// lines, and in this order.
fn conflict(text: &str) -> Option<Unfinished> {
    if !text.contains("<<<<<<< ") {
        return None;
    }
    let lines = || text.lines().enumerate();
    let (start, _) = lines().find(|(_, line)| line.starts_with("<<<<<<< "))?;
    let (middle, _) = lines().find(|(at, line)| *at > start && *line == "=======")?;
    let (end, _) = lines().find(|(at, line)| *at > middle && line.starts_with(">>>>>>> "))?;
    Some(Unfinished {
        line: start + 1,
        message: format!(
            "a merge conflict is not resolved, up to line {}; choose between the two sides and remove the marks",
            end + 1
        ),
    })
}
