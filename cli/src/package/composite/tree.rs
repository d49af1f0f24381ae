//! Files of declarations in a git working tree.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, bail};
use placet_crds::SourceFile;

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    New,
    Same,
    /// Another text is there.
    Differs,
}

impl Change {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Same => "unchanged",
            Self::Differs => "changed",
        }
    }
}

/// A git working tree, and the folder of it that holds the declarations.
pub(super) struct Tree {
    folder: PathBuf,
}

impl Tree {
    /// Opens the folder `path` of the working tree that `dir` is, or is in.
    pub(super) fn open(dir: &Path, path: &Path) -> anyhow::Result<Self> {
        let asked = git(dir, &["rev-parse", "--is-inside-work-tree"])?;
        if !asked.status.success() || asked.stdout.trim_ascii() != b"true" {
            bail!(
                "`{}` is no git working tree; clone one, or `git init`",
                dir.display()
            );
        }
        let is_inner = |part: std::path::Component<'_>| {
            matches!(
                part,
                std::path::Component::Normal(_) | std::path::Component::CurDir
            )
        };
        if !path.components().all(is_inner) {
            bail!("`{}` leaves the working tree", path.display());
        }
        Ok(Self {
            folder: dir.join(path),
        })
    }

    /// What writing `file` would change.
    pub(super) fn compare(&self, file: &SourceFile) -> anyhow::Result<Change> {
        let path = self.path(file)?;
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Change::New),
            Err(error) => {
                Err(error).with_context(|| format!("failed to look at {}", path.display()))
            }
            Ok(found) if !found.is_file() => {
                bail!("`{}` is there and is no file; move it away", path.display())
            }
            Ok(_) => {
                let text = fs::read(&path);
                let text = text.with_context(|| format!("failed to read {}", path.display()))?;
                Ok(if text == file.text.as_bytes() {
                    Change::Same
                } else {
                    Change::Differs
                })
            }
        }
    }

    /// Where a file goes. No link below the working tree leads there, and not into git's own folder.
    fn path(&self, file: &SourceFile) -> anyhow::Result<PathBuf> {
        let mut path = self.folder.clone();
        for part in Path::new(&file.name) {
            if is_git_folder(part) {
                bail!("`{}` would be written into git's own folder", file.name);
            }
            let is_link = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
            if is_link && path != self.folder {
                bail!(
                    "`{}` is a link; declarations are not written through links",
                    path.display()
                );
            }
            path.push(part);
        }
        Ok(path)
    }

    /// The difference that writing `file` would make, as git shows it.
    pub(super) fn difference(&self, file: &SourceFile) -> anyhow::Result<String> {
        let path = self.path(file)?;
        let mut new = tempfile::NamedTempFile::new().context("failed to make a temporary file")?;
        new.write_all(file.text.as_bytes())
            .context("failed to write a temporary file")?;
        let path = std::path::absolute(&path).context("failed to find the file")?;
        let arguments = ["diff", "--no-index", "--no-color", "--"].map(OsStr::new);
        let names = [path.as_os_str(), new.path().as_os_str()];
        let shown = git(&self.folder, &[arguments.as_slice(), &names].concat())?;
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        let lines = text.lines().skip_while(|line| !line.starts_with("@@"));
        let lines: Vec<_> = lines
            .map(|line| placet_model::visible(line).to_string())
            .collect();
        Ok(format!(
            "--- {}\n+++ {}\n{}",
            file.name,
            file.name,
            lines.join("\n")
        ))
    }

    /// Writes a file, all of it or nothing.
    pub(super) fn write(&self, file: &SourceFile) -> anyhow::Result<()> {
        let path = self.path(file)?;
        let failed = || format!("failed to write {}", path.display());
        let folder = path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder).with_context(failed)?;
        let mut draft = tempfile::Builder::new()
            .prefix(".placet-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder)
            .with_context(failed)?;
        draft.write_all(file.text.as_bytes()).with_context(failed)?;
        draft.as_file().sync_all().with_context(failed)?;
        draft.persist(&path).with_context(failed)?;
        Ok(())
    }

    /// Commits these files and no others, as the user who is known to git; the commit, or none where
    /// nothing changed.
    pub(super) fn commit(
        &self,
        files: &[SourceFile],
        message: &str,
    ) -> anyhow::Result<Option<String>> {
        let names: Vec<&OsStr> = files.iter().map(|file| OsStr::new(&file.name)).collect();
        let with = |before: &[&'static str]| -> Vec<&OsStr> {
            let before = before.iter().map(|word| OsStr::new(*word));
            before.chain(names.iter().copied()).collect()
        };
        succeed(
            &git(&self.folder, &with(&["add", "--"]))?,
            "stage the declarations",
        )?;
        let staged = git(&self.folder, &with(&["diff", "--cached", "--quiet", "--"]))?;
        if staged.status.success() {
            return Ok(None);
        }
        let commit = ["commit", "--quiet", "--message"].map(OsStr::new);
        let rest = with(&["--"]);
        let arguments = [commit.as_slice(), &[OsStr::new(message)], &rest].concat();
        succeed(&git(&self.folder, &arguments)?, "commit the declarations")?;
        let head = git(&self.folder, &["rev-parse", "HEAD"])?;
        Ok(Some(
            String::from_utf8_lossy(&head.stdout).trim().to_owned(),
        ))
    }
}

/// Also as file systems that know no case see it.
fn is_git_folder(part: &OsStr) -> bool {
    part.eq_ignore_ascii_case(".git")
}

fn git<S: AsRef<OsStr>>(folder: &Path, arguments: &[S]) -> anyhow::Result<Output> {
    // A folder that is made only when the files are written is asked for by the one around it.
    let there = folder.ancestors().find(|folder| folder.is_dir());
    let output = Command::new("git")
        .arg("-C")
        .arg(there.unwrap_or(folder))
        .args(arguments)
        .output();
    output.context("failed to start git; install it")
}

fn succeed(output: &Output, what: &str) -> anyhow::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> = said
        .lines()
        .map(|line| placet_model::visible(line).to_string())
        .collect();
    bail!("git failed to {what}: {}", said.join("\n  "))
}
