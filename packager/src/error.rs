//! Why a package cannot be built.

use std::fmt;
use std::io;
use std::path::PathBuf;

use placet_logic::LogicError;
use placet_model::{Digest, ModulePath, PackageName, PathError, VersionRequirement, visible};
use placet_package::{ConfigFault, ElfError, PackageError};

use crate::import::ImportError;

/// A place in a package file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1; 0 where it is not known.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", visible(&self.file))?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

/// A package that cannot be built: where, what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The package file or its folder cannot be read.
    #[error("failed to read `{}`", visible(&path.to_string_lossy()))]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The package file, or an API file, is far too large to be one.
    #[error("`{}` has {size} bytes; such a file has at most {most}", visible(&path.to_string_lossy()))]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The limit.
        most: u64,
    },
    /// The file is not YAML, or not a package file or API file as it should be.
    #[error("{place}: {message}")]
    Yaml {
        /// Where.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// `SOURCE_DATE_EPOCH` is not a time.
    #[error("SOURCE_DATE_EPOCH is `{}`; it is a number of seconds since 1970", visible(.0))]
    Epoch(String),
    /// The folder's path cannot stand in compiler options.
    #[error("`{}` cannot be a build folder: {why}; move the package elsewhere", visible(&path.to_string_lossy()))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// A build command could not be started.
    #[error("{place}: failed to run `{}`", visible(command))]
    Start {
        /// Where it stands.
        place: Place,
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A build command failed, or took too long.
    #[error(
        "{place}: `{}` {why}; {}{}",
        visible(command),
        Output(output),
        read_only_hint(*confined, output)
    )]
    Command {
        /// Where it stands.
        place: Place,
        /// The command.
        command: String,
        /// How it came to its end.
        why: String,
        /// The end of what it wrote.
        output: String,
        /// Whether it could write in its own folders alone.
        confined: bool,
    },
    /// The build was cancelled, and its commands were ended.
    #[error("the build was cancelled; nothing was stored")]
    Cancelled,
    /// The folders for build commands cannot be made.
    #[error("failed to prepare a temporary folder for the build commands; `TMPDIR` says where")]
    Prepare(#[source] io::Error),
    /// Build commands were to be confined, and cannot be.
    #[error(
        "failed to confine the build commands in user and mount namespaces, which this machine does not allow; build without `--confine always`, or as root"
    )]
    Confine(#[source] io::Error),
    /// A folder for commands to write in is not there.
    #[error(
        "{place}: `{}` in `buildWritable` is not a folder; name an absolute path, or one that begins with `~/`",
        visible(folder)
    )]
    Writable {
        /// Where it stands.
        place: Place,
        /// The folder.
        folder: String,
    },
    /// A test suite has nothing to run.
    #[error(
        "{place}: a package of purpose `test` needs at least one module with a `process` section: its tests"
    )]
    NoTests {
        /// The package file.
        place: Place,
    },
    /// What the file says cannot be meant.
    #[error("{place}: {fault}")]
    Contradiction {
        /// Where it stands.
        place: Place,
        /// What is wrong.
        fault: Box<FileFault>,
    },
    /// A rule of the format that every reader checks is broken.
    #[error("{place}: {fault}")]
    Config {
        /// Where it stands.
        place: Place,
        /// The rule.
        fault: Box<ConfigFault>,
    },
    /// An archive cannot be read.
    #[error(transparent)]
    Archive(ImportError),
    /// An archive does not say what the package is.
    #[error(
        "`{}` does not say what {what} its package should have; give --{what}",
        visible(archive)
    )]
    Unnamed {
        /// The archive.
        archive: String,
        /// Name or version.
        what: &'static str,
    },
    /// An archive of a package file cannot be read.
    #[error("{place}: import `{}` cannot be used", visible(name))]
    Import {
        /// Where it stands.
        place: Place,
        /// Its name.
        name: String,
        /// What is wrong.
        #[source]
        source: Box<ImportError>,
    },
    /// An archive is not the one that was meant.
    #[error(
        "{place}: import `{}` has digest {found}, and not the one that `digest` says; fetch the right file, or correct it",
        visible(name)
    )]
    ImportDigest {
        /// Where it stands.
        place: Place,
        /// Its name.
        name: String,
        /// What is there.
        found: Digest,
    },
    /// An image in a registry that is named by what may come to name another.
    #[error(
        "{place}: import `{}` is in a registry, where a tag may be moved; add `digest: {found}`, which it has now",
        visible(name)
    )]
    ImportMoves {
        /// Where it stands.
        place: Place,
        /// Its name.
        name: String,
        /// What is there.
        found: Digest,
    },
    /// Two archives of a package file have one name.
    #[error(
        "{place}: there is another import called `{}`; rename one of them",
        visible(name)
    )]
    ImportTwice {
        /// Where the second one stands.
        place: Place,
        /// The name.
        name: String,
    },
    /// A module cannot be delivered.
    #[error("{place}: module `{}` is refused", visible(module))]
    Module {
        /// Where it stands.
        place: Place,
        /// Its path, or what stands for it.
        module: String,
        /// What is wrong.
        #[source]
        fault: Box<ModuleFault>,
    },
    /// The package cannot be stored.
    #[error(transparent)]
    Store(#[from] PackageError),
}

/// What contradicts itself in a package file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// A package requires itself.
    #[error("a package cannot require itself on the same node; leave that out")]
    RequiresItself,
    /// A package upgrades itself.
    #[error(
        "a package cannot upgrade itself: a newer version takes the place of an older one as it is; name another package, or leave that out"
    )]
    UpgradesItself,
    /// No version is what two entries ask for.
    #[error(
        "no version of `{package}` is both `{first}` (line {line}) and `{second}`; correct one of them"
    )]
    NoVersion {
        /// The package.
        package: PackageName,
        /// One range.
        first: VersionRequirement,
        /// Where it stands.
        line: u64,
        /// The other.
        second: VersionRequirement,
    },
    /// A node type to which the package does not apply.
    #[error(
        "node type `{}` is not among the `nodeTypes` of the package; add it there, or leave it out here", visible(.0)
    )]
    OtherType(String),
    /// A requirement that always holds.
    #[error("`at-least: 0` is satisfied by no node at all; say how many are needed")]
    NobodyNeeded,
}

/// What is wrong with a module of a package file.
#[derive(Debug, thiserror::Error)]
pub enum ModuleFault {
    /// A test is described as a service.
    #[error("it is a test, which runs once and ends, so that `{0}` means nothing: leave that out")]
    Test(&'static str),
    /// A feature of which the package knows nothing.
    #[error(
        "feature `{}` is not among the `features` of the package ({}); add it there, or correct it", visible(.0), visible(.1)
    )]
    UnknownFeature(String, String),
    /// It would need itself.
    #[error("`{0}` names the module itself; leave that out")]
    NeedsItself(&'static str),
    /// It is needed, and not needed.
    #[error(
        "`{0}` is both in `supplemental`, where it is needed, and in `optional`; leave out one"
    )]
    NeededAndOptional(ModulePath),
    /// Nothing to choose from.
    #[error("an entry of `supplemental` names no module in `oneOf`; name at least one")]
    NoChoice,
    /// A field that says nothing here.
    #[error("`{0}` means nothing {1}; leave that out")]
    Meaningless(&'static str, &'static str),
    /// None of file, files and link, or several.
    #[error("it needs exactly one of `source`, `sources` and `link`")]
    OneSource,
    /// Nothing says where it is installed.
    #[error("it needs a `path`; only `sources` can do without")]
    NoPath,
    /// A pattern stands for nothing.
    #[error(
        "no file matches `{}`; folders do not count, and `**` reaches into them. Correct the pattern, or add a build command that makes such files", visible(.0)
    )]
    NoMatch(String),
    /// A pattern looks at far too many files.
    #[error("its patterns look at more than {0} files; begin them with the names of folders")]
    TooManyFiles(usize),
    /// A file's name cannot be delivered.
    #[error("the name of file `{}` is not UTF-8; rename it", visible(.0))]
    NotText(String),
    /// A file's name cannot be a path on a node.
    #[error("file `{}` cannot be installed under its name; rename it, or leave it out by `exclude`", visible(.0))]
    Path(String, #[source] PathError),
    /// A link that points where no node may follow.
    #[error("`{}` is a symbolic link that cannot be delivered; make it relative, or leave it out by `exclude`", visible(.0))]
    Link(String, #[source] PathError),
    /// No archive has the name.
    #[error("`imports` has none called `{}`; name one that it has, or add it", visible(.0))]
    NoImport(String),
    /// The archive does not hold the file.
    #[error("the import holds no file `{}`; `sources: \"**\"` would take all that it holds", visible(.0))]
    NotImported(String),
    /// A pattern stands for nothing of an archive.
    #[error("the import holds no file that matches `{}`; names in it begin without `/`", visible(.0))]
    NoneImported(String),
    /// An import and a link, or a source outside of it.
    #[error("an entry with `import` takes files of the archive; leave out `link`")]
    ImportedLink,
    /// A file of an archive has set-id or sticky bits.
    #[error(
        "`{}` has mode {:04o}: set-user-id, set-group-id and sticky bits are refused; leave it out by `exclude` (`--exclude`), or take it without them by `dropSetId: true` (`--drop-set-id`)",
        visible(.0), .1
    )]
    ImportedSetId(String, u32),
    /// A device, pipe or socket of an archive.
    #[error("`{}` is {}, and only files and links can be delivered; leave it out by `exclude` (`--exclude`)", visible(.0), .1)]
    ImportedSpecial(String, &'static str),
    /// A link of an archive to what it does not hold.
    #[error(
        "`{}` is a link to `{}`, which is not in the archive; leave it out by `exclude` (`--exclude`), or have it lead to that path of the node's software by `absoluteLinks: true` (`--absolute-links`)",
        visible(.0), visible(.1)
    )]
    LinkOut(String, String),
    /// The source is not there.
    #[error("source `{}` does not exist; name a file, or add a build command that makes it", visible(.0))]
    Missing(String),
    /// The source is not there, though there are commands to make it.
    #[error("source `{}` does not exist, and none of the build commands ({}) made it; correct them, or the name", visible(.0), .1)]
    NotMade(String, String),
    /// The source is a folder, device, pipe or socket.
    #[error("source `{}` is {}; only files can be delivered", visible(.0), .1)]
    NotAFile(String, &'static str),
    /// The source has set-id or sticky bits.
    #[error(
        "source `{}` has mode {:04o}: set-user-id, set-group-id and sticky bits are refused; remove them with chmod",
        visible(.0), .1
    )]
    SetId(String, u32),
    /// The source was cut short in the meantime.
    #[error("source `{}` became shorter while it was read; build again when nothing writes to it", visible(.0))]
    Shrunk(String),
    /// The source cannot be read.
    #[error("failed to read source `{}`", visible(.0))]
    Read(String, #[source] io::Error),
    /// The source is an ELF file that is damaged.
    #[error("source `{}` cannot be delivered", visible(.0))]
    Elf(String, #[source] ElfError),
    /// The path is taken.
    #[error(
        "its path is taken by the module at line {0}; each path occurs once for an architecture"
    )]
    Duplicate(u64),
    /// The name of the process cannot be had from the path.
    #[error("its file name cannot be the name of a process; give `process.name`")]
    ProcessName,
    /// A link that is a process.
    #[error("a symbolic link cannot be a process; make the file that it points at the process")]
    LinkProcess,
    /// Two things are said of its type.
    #[error("it is of type `{0}`, and only a `process` has a `process` section")]
    ProcessType(placet_model::ModuleType),
    /// A process by type, with nothing said about it.
    #[error("it is of type `process` and has no `process` section that says how to run it")]
    NoProcess,
    /// A simple process that can open what nobody declared.
    #[error(
        "this simple process can open libraries at run time ({0} imports dlopen), and no dependency on them is declared, so that it would go on with old ones; list them in `supplemental`, or confirm with `acknowledgeOpens: true` (`--acknowledge-opens` of an import) that there are none"
    )]
    Opens(ModulePath),
    /// The logic of a process is nowhere.
    #[error("its `voteLogic` is `{0}`, which is no file of this package; add it to `modules`")]
    NoLogic(ModulePath),
    /// The logic of a process could never decide.
    #[error("its `voteLogic`, `{0}`, cannot be used")]
    Logic(ModulePath, #[source] LogicError),
    /// A library that does not have the soname of the API that it is said to provide.
    #[error(
        "it provides API `{}`, whose users look for `{}`, and its soname is {}; link it with -Wl,-soname", visible(.0), visible(.1), visible(.2)
    )]
    ApiSoname(String, String, String),
    /// A library that lacks a part of the API that it is said to provide.
    #[error("it provides API `{}` and does not export {}; export that, or take it out of the API file", visible(.0), Listed(.1))]
    ApiMissing(String, Vec<String>),
}

/// The first names of a list, and how many there are.
struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        for (index, name) in self.0.iter().take(SHOWN).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}`{}`", visible(name))?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl ModuleFault {
    /// True if the source is what has to be looked at.
    pub(crate) fn concerns_source(&self) -> bool {
        matches!(
            self,
            Self::Missing(_)
                | Self::NotMade(..)
                | Self::NotAFile(..)
                | Self::SetId(..)
                | Self::Shrunk(_)
                | Self::Read(..)
                | Self::Elf(..)
                | Self::NoMatch(_)
                | Self::TooManyFiles(_)
                | Self::NotText(_)
                | Self::Path(..)
                | Self::Link(..)
                | Self::NotImported(_)
                | Self::NoneImported(_)
                | Self::ImportedSetId(..)
                | Self::ImportedSpecial(..)
                | Self::LinkOut(..)
        )
    }
}

/// What to do about a command that wrote where it may not.
fn read_only_hint(confined: bool, output: &str) -> &'static str {
    if confined && output.contains("Read-only file system") {
        "\nbuild commands write in their folder, `$TMPDIR` and `$HOME` alone; name others in `buildWritable`"
    } else {
        ""
    }
}

/// What a command wrote, line by line.
struct Output<'a>(&'a str);

impl fmt::Display for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.trim().is_empty() {
            return write!(f, "it wrote nothing");
        }
        write!(f, "it wrote:")?;
        for line in self.0.lines() {
            write!(f, "\n    {}", visible(line))?;
        }
        Ok(())
    }
}
