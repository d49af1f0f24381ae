//! Build commands, in an environment in which the same sources give the same bytes.

mod child;
mod environment;
mod sandbox;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use jiff::Timestamp;
use placet_model::visible;
use serde_yaml::Spanned;
use tempfile::TempDir;

use crate::error::Error;
use crate::file::PackageFile;
use crate::watch::{Step, Watch};
use crate::yaml;
use child::{End, Running};
use environment::{Declared, Folders};
use sandbox::{Places, Sandbox};

pub(crate) use environment::MAPPED_ROOT;

/// Whether build commands run in a namespace of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Confine {
    /// Where the machine allows it.
    #[default]
    Auto,
    /// Never: paths are replaced in what compilers write, and nothing keeps commands from writing
    /// elsewhere.
    Never,
    /// Always: a build on a machine that does not allow it is refused.
    Always,
}

/// How the build commands were run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confinement {
    /// There were none.
    NoCommands,
    /// In a namespace with the build folder at `/build`, where they could write nowhere else.
    Namespace,
    /// In the folder itself, for this reason.
    None(String),
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCommands => f.write_str("no build commands"),
            Self::Namespace => f.write_str("build commands ran in a namespace, at /build"),
            Self::None(why) => write!(
                f,
                "build commands were not confined ({}): paths were replaced in what compilers \
                 write, and nothing kept the commands from writing elsewhere",
                visible(why)
            ),
        }
    }
}

/// Seconds that each command may take where the package file does not say: what hangs ends, and what
/// compiles large programs does not.
const SECONDS: u32 = 3_600;

/// What to run, and where.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) package_yaml: &'a Path,
    pub(crate) file: &'a PackageFile,
    /// The build folder.
    pub(crate) folder: &'a Path,
    /// The build date.
    pub(crate) epoch: i64,
    pub(crate) confine: Confine,
}

/// Where commands run, and what they find.
#[derive(Debug)]
struct Workplace {
    sandbox: Result<Sandbox, String>,
    variables: BTreeMap<OsString, OsString>,
    /// Removed with everything in it once the commands have run.
    scratch: TempDir,
}

/// How and when the commands of a build ran.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) confinement: Confinement,
    /// The folder for temporary files, where it has another path for each build.
    pub(crate) scratch: Option<PathBuf>,
    pub(crate) started: Timestamp,
    pub(crate) ended: Timestamp,
}

/// Runs the commands one after the other, until one fails; `None` if there are none.
pub(crate) fn run(plan: &Plan<'_>, watch: Watch<'_>) -> Result<Option<Ran>, Error> {
    let commands = &plan.file.build;
    if commands.is_empty() {
        return Ok(None);
    }
    let started = Timestamp::now();
    let workplace = plan.workplace()?;
    for (index, command) in commands.iter().enumerate() {
        plan.run_one(&workplace, command, |line| {
            let (number, count) = (index + 1, commands.len());
            let command = &command.value;
            watch(Step::Command {
                number,
                count,
                command,
                line,
            })
            .is_continue()
        })?;
    }
    let scratch = workplace.scratch.path().to_owned();
    let (confinement, scratch) = match workplace.sandbox {
        Ok(_) => (Confinement::Namespace, None),
        Err(why) => (Confinement::None(why), Some(scratch)),
    };
    Ok(Some(Ran {
        confinement,
        scratch,
        started,
        ended: Timestamp::now(),
    }))
}

impl Plan<'_> {
    fn workplace(&self) -> Result<Workplace, Error> {
        let prepare = Error::Prepare;
        let scratch = tempfile::Builder::new()
            .prefix("placet-build-")
            .tempdir()
            .map_err(prepare)?;
        let temporary = scratch.path().join("tmp");
        let stage = scratch.path().join("root");
        for folder in [&temporary.join("home"), &stage] {
            fs::create_dir_all(folder).map_err(prepare)?;
        }
        let sandbox = self.sandbox(&temporary, &stage)?;
        let folders = if sandbox.is_ok() {
            Folders {
                build: Path::new(MAPPED_ROOT),
                temporary: Path::new("/tmp"),
            }
        } else {
            environment::check_folder(self.folder)?;
            Folders {
                build: self.folder,
                temporary: &temporary,
            }
        };
        let declared = Declared {
            set: &self.file.build_environment,
            pass: &self.file.pass_environment,
        };
        let variables = environment::variables(&declared, &folders, self.epoch);
        Ok(Workplace {
            sandbox,
            variables,
            scratch,
        })
    }

    /// The sandbox, or why there is none.
    fn sandbox(&self, temporary: &Path, stage: &Path) -> Result<Result<Sandbox, String>, Error> {
        if self.confine == Confine::Never {
            return Ok(Err("this was asked for".to_owned()));
        }
        let writable = self.writable(temporary)?;
        let sandbox = Sandbox::prepare(&Places {
            build: self.folder,
            temporary,
            stage,
            writable: &writable,
        });
        match sandbox {
            Err(error) if self.confine == Confine::Always => Err(Error::Confine(error)),
            sandbox => Ok(sandbox.map_err(|error| {
                format!("this machine does not allow user and mount namespaces: {error}")
            })),
        }
    }

    /// The folders beside the build's own in which commands may write: those that the file names,
    /// and those in which toolchains keep what they download.
    fn writable(&self, temporary: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut folders = Vec::new();
        for entry in &self.file.build_writable {
            let folder = expand_home(&entry.value);
            if !folder.is_absolute() || !folder.is_dir() {
                return Err(Error::Writable {
                    place: yaml::place(self.package_yaml, Some(entry.referenced)),
                    folder: entry.value.clone(),
                });
            }
            folders.push(folder);
        }
        let toolchains = environment::toolchains().filter(|(name, _)| *name != "RUSTUP_HOME");
        folders.extend(toolchains.map(|(_, folder)| folder));
        // A link in a path would lead out of the namespace while that is put together.
        for folder in &mut folders {
            *folder = fs::canonicalize(&*folder).map_err(Error::Prepare)?;
        }
        // What lies in the machine's own `/tmp` needs a place in that of the build.
        for folder in &folders {
            if let Ok(rest) = folder.strip_prefix("/tmp") {
                fs::create_dir_all(temporary.join(rest)).map_err(Error::Prepare)?;
            }
        }
        Ok(folders)
    }

    fn run_one(
        &self,
        workplace: &Workplace,
        command: &Spanned<String>,
        goes_on: impl FnMut(&str) -> bool,
    ) -> Result<(), Error> {
        let place = || yaml::place(self.package_yaml, Some(command.referenced));
        let failed = |source: io::Error| Error::Start {
            place: place(),
            command: command.value.clone(),
            source,
        };
        let mut shell = self.shell(workplace, &command.value);
        let mut running = Running::start(&mut shell).map_err(failed)?;
        let seconds = self.file.build_seconds.map_or(SECONDS, NonZeroU32::get);
        let limit = Duration::from_secs(seconds.into());
        let end = running.wait(limit, goes_on).map_err(failed)?;
        let why = match end {
            End::Status(status) if status.success() => return Ok(()),
            End::Status(status) => format!("ended with {}", describe(status)),
            End::Overtime => format!(
                "was ended after {seconds} seconds; if it needs longer, say so by `buildSeconds`"
            ),
            End::Cancelled => return Err(Error::Cancelled),
        };
        Err(Error::Command {
            place: place(),
            command: command.value.clone(),
            why,
            output: running.tail().map_err(failed)?,
            confined: workplace.sandbox.is_ok(),
        })
    }

    fn shell(&self, workplace: &Workplace, command: &str) -> Command {
        let mut shell = Command::new("sh");
        shell
            .arg("-ec")
            .arg(format!("umask 022\n{command}"))
            .env_clear()
            .envs(&workplace.variables);
        match &workplace.sandbox {
            Ok(sandbox) => sandbox.confine(&mut shell),
            Err(_) => drop(shell.current_dir(self.folder)),
        }
        shell
    }
}

/// `~/` is the home of whoever builds.
fn expand_home(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => visible(&status.to_string()).to_string(),
    }
}
