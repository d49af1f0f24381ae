//! Build commands, in an environment in which the same sources give the same bytes.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use placet_model::visible;
use serde_yaml::Spanned;

use crate::error::Error;
use crate::yaml;

/// What stands for the build folder in debug data and `__FILE__`.
pub(crate) const MAPPED_ROOT: &str = "/build";

/// How much of a failed command's output is shown: the end, where compilers sum up.
const OUTPUT_MAX: u64 = 16 << 10;

/// Runs the commands one after the other in `folder`, until one fails.
pub(crate) fn run(
    file: &Path,
    commands: &[Spanned<String>],
    folder: &Path,
    epoch: i64,
) -> Result<(), Error> {
    if !commands.is_empty() {
        check_folder(folder)?;
    }
    commands
        .iter()
        .try_for_each(|command| run_one(file, command, folder, epoch))
}

fn run_one(file: &Path, command: &Spanned<String>, folder: &Path, epoch: i64) -> Result<(), Error> {
    let place = || yaml::place(file, Some(command.referenced));
    let failed = |source| Error::Start {
        place: place(),
        command: command.value.clone(),
        source,
    };
    let mut output = tempfile::tempfile().map_err(failed)?;
    let status = shell(&command.value, folder, epoch, &output)
        .and_then(|mut shell| shell.status())
        .map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        place: place(),
        command: command.value.clone(),
        status: describe(status),
        output: tail(&mut output).map_err(failed)?,
    })
}

fn shell(command: &str, folder: &Path, epoch: i64, output: &File) -> io::Result<Command> {
    let mut shell = Command::new("sh");
    shell
        .arg("-ec")
        .arg(format!("umask 022\n{command}"))
        .current_dir(folder)
        .env("PWD", folder)
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        // Cargo prefers it to RUSTFLAGS.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?);
    for (name, option) in [
        ("CFLAGS", "-ffile-prefix-map="),
        ("CXXFLAGS", "-ffile-prefix-map="),
        ("RUSTFLAGS", "--remap-path-prefix="),
    ] {
        shell.env(name, with_option(name, option, folder));
    }
    Ok(shell)
}

/// The value of the variable `name`, and the option that maps the folder.
fn with_option(name: &str, option: &str, folder: &Path) -> OsString {
    let mut value = env::var_os(name).unwrap_or_default();
    if !value.is_empty() {
        value.push(" ");
    }
    value.push(option);
    value.push(folder);
    value.push("=");
    value.push(MAPPED_ROOT);
    value
}

/// Shells split variables at white space, and the option at `=`.
fn check_folder(folder: &Path) -> Result<(), Error> {
    let text = folder.to_string_lossy();
    let why = if text.chars().any(char::is_whitespace) {
        "its path contains white space, which compiler options cannot carry"
    } else if text.contains(['=', '*', '?', '[']) || text.chars().any(char::is_control) {
        "its path contains `=`, `*`, `?`, `[` or a control character, which compiler options cannot carry"
    } else {
        return Ok(());
    };
    let path = folder.to_owned();
    Err(Error::Folder { path, why })
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => visible(&status.to_string()).to_string(),
    }
}

fn tail(output: &mut File) -> io::Result<String> {
    let size = output.seek(SeekFrom::End(0))?;
    output.seek(SeekFrom::Start(size.saturating_sub(OUTPUT_MAX)))?;
    let mut bytes = Vec::new();
    output.take(OUTPUT_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
