//! The format of `package.yaml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;

use placet_model::{
    Follow, HealthCommand, Limits, LinkTarget, ListenSocket, Mode, ModulePath, ModuleType,
    PackageName, ProcessKind, ProcessName, Purpose, Quantifier, ReloadSignal, Silence,
    StateFormats, StopSignal, Version, VersionRequirement, VoteCommand, VoteLogic,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_yaml::Spanned;

use crate::glob::Globs;
use crate::import::ImportEntry;
use crate::schema;
use crate::variable::VariableName;

/// A package file: what the package is, how it is built, and which files it delivers.
///
/// ```yaml
/// name: greet
/// version: 1.0.0
/// build:
///   - cc $CFLAGS -g -O2 -o greetd greetd.c
/// modules:
///   - path: usr/bin/greetd
///     source: greetd
///     mode: "0755"
///     process:
///       kind: simple
///       notify: true
/// ```
///
/// Fields that are not described here are refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackageFile {
    /// Name of the package: up to 128 lower-case letters, digits, `-`, `.`, `_` and `+`.
    pub name: PackageName,
    /// Semantic version (`1.2.3`, `1.2.3-rc.1+build.5`), or Debian's or RPM's (`deb:1:2.3-4`,
    /// `rpm:2.3-4.el9`). It becomes the tag; `+` is written `_`.
    #[schemars(schema_with = "schema::version")]
    pub version: Version,
    /// What the package is, in a line.
    #[serde(default)]
    pub description: Option<String>,
    /// Its licence: an SPDX expression (`Apache-2.0 OR MIT`), or what its makers call it.
    #[serde(default)]
    pub license: Option<String>,
    /// Why the package exists: `feature` (the default), `update`, `boot`, or `test`: its processes
    /// are tests that run on nodes in test mode, and are no services.
    #[serde(default)]
    pub purpose: Purpose,
    /// Free characteristics by which nodes choose (`tier: core`).
    #[serde(default)]
    pub characteristics: BTreeMap<String, String>,
    /// Features that the package offers and nodes may ask for (`routing-protocol/bgp`).
    #[serde(default)]
    pub features: BTreeSet<String>,
    /// Node types that it applies to; all where left out. Choosing it elsewhere is an error.
    #[serde(default)]
    pub node_types: BTreeSet<String>,
    /// Package versions needed on the same node.
    #[serde(default)]
    #[schemars(with = "Vec<LocalRequirementEntry>")]
    pub requires: Vec<Spanned<LocalRequirementEntry>>,
    /// Package versions needed on other nodes.
    #[serde(default)]
    #[schemars(with = "Vec<RemoteRequirementEntry>")]
    pub requires_remote: Vec<Spanned<RemoteRequirementEntry>>,
    /// Packages whose modules this one partly replaces.
    #[serde(default)]
    #[schemars(with = "Vec<UpgradeEntry>")]
    pub upgrades: Vec<Spanned<UpgradeEntry>>,
    /// Revision of the source, for people.
    #[serde(default)]
    pub source_revision: Option<String>,
    /// The folder in which commands run and to which sources are relative, itself relative to the
    /// folder of this file; that folder where left out.
    #[serde(default)]
    pub root: Option<String>,
    /// Commands that build the modules, run one after the other by `sh -ec` in the build folder.
    ///
    /// They find an environment that is the same everywhere: `PATH`, an empty `HOME`,
    /// `SOURCE_DATE_EPOCH`, `TZ=UTC`, `LC_ALL=C`, umask 022, and nothing of the caller's
    /// environment that is not named here. Where the machine allows it, the build folder is
    /// `/build`, and nothing else but `/tmp` can be written. Elsewhere `CFLAGS`, `CXXFLAGS`,
    /// `FFLAGS` and `RUSTFLAGS` hold options that replace the folder's path by `/build` in what
    /// compilers write; a command that compiles has to use them. The first command that fails ends
    /// the build.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub build: Vec<Spanned<String>>,
    /// Variables that build commands find beside those.
    #[serde(default)]
    pub build_environment: BTreeMap<VariableName, String>,
    /// Variables of the caller's environment that build commands find.
    #[serde(default)]
    pub pass_environment: BTreeSet<VariableName>,
    /// Folders beside the build folder in which commands may write, absolute or beginning with
    /// `~/`: caches of tools. Those of Cargo and Go are among them without being named.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub build_writable: Vec<Spanned<String>>,
    /// Seconds that each build command may take; 3600 where left out.
    #[serde(default)]
    pub build_seconds: Option<NonZeroU32>,
    /// Archives of other formats whose files may be delivered: Debian and RPM packages, OCI images.
    #[serde(default)]
    #[schemars(with = "Vec<ImportEntry>")]
    pub imports: Vec<Spanned<ImportEntry>>,
    /// API files, relative to the folder in which the package is built. Modules that provide one
    /// of these APIs have to export all of it; those that import its functions use it, whether
    /// they say so or not.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub apis: Vec<Spanned<String>>,
    /// The files that the package delivers.
    #[schemars(with = "Vec<ModuleEntry>")]
    pub modules: Vec<Spanned<ModuleEntry>>,
}

/// A package version needed on the same node.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalRequirementEntry {
    /// The package.
    pub package: PackageName,
    /// The versions that satisfy it (`>=1.2, <2`, `deb:>= 1.2-3, << 2`, `rpm:>= 1.2`), all of one
    /// scheme.
    #[schemars(schema_with = "schema::version_range")]
    pub version: VersionRequirement,
    /// Node types for which it holds; all where left out.
    #[serde(default)]
    pub node_types: BTreeSet<String>,
}

/// A package version needed on other nodes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoteRequirementEntry {
    /// The package.
    pub package: PackageName,
    /// The versions that satisfy it.
    #[schemars(schema_with = "schema::version_range")]
    pub version: VersionRequirement,
    /// Types of nodes with this package for which it holds; all where left out.
    #[serde(default)]
    pub node_types: BTreeSet<String>,
    /// Which other nodes are looked at, by class; all where left out.
    #[serde(default)]
    pub class: Option<String>,
    /// Which other nodes are looked at, by type; all where left out.
    #[serde(default)]
    pub node_type: Option<String>,
    /// Which other nodes are looked at, by label.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How many of them have to satisfy it: `all`, `any`, or `at-least: N`.
    pub quantifier: Quantifier,
}

/// A package that this one partly replaces.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpgradeEntry {
    /// The package.
    pub package: PackageName,
    /// The versions to which the upgrade applies.
    #[schemars(schema_with = "schema::version_range")]
    pub version: VersionRequirement,
}

/// One file that the package delivers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModuleEntry {
    /// Where it is installed, relative to the root of the node's software. With `sources`: the
    /// folder below which the files are installed, the root where left out.
    #[serde(default)]
    pub path: Option<ModulePath>,
    /// The file, relative to the folder of the package file; made by a build command, or there
    /// before. A symbolic link is followed. One of `source`, `sources` and `link` is given.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub source: Option<Spanned<String>>,
    /// The name of one of `imports`, of which `source` and `sources` then name files. Without both,
    /// the file at `path` is taken; with `sources` and no `path`, each stays where it was. Links,
    /// modes and owners are kept.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub import: Option<Spanned<String>>,
    /// Many files at once: a pattern or a list of them (`build/lib/**/*.so`), each of which has to
    /// match something. `*` and `?` stay within a folder, `**` crosses them.
    ///
    /// A file is installed as far below `path` as it lies below the folders that the pattern names
    /// without a wildcard. Symbolic links are kept as links. What else the entry says holds for
    /// each file; a path that has an entry of its own is left to that.
    #[serde(default)]
    #[schemars(with = "Option<Globs>")]
    pub sources: Option<Spanned<Globs>>,
    /// Files that `sources` leaves out: a pattern or a list of them; one without `/` looks at names
    /// in any folder.
    #[serde(default)]
    pub exclude: Globs,
    /// Makes the module a symbolic link to this relative target, which must not leave the tree.
    #[serde(default)]
    pub link: Option<LinkTarget>,
    /// Permission bits, four octal digits in quotes; `"0755"` for a source that may be executed
    /// and `"0644"` for others where left out.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Who owns the installed file; whoever runs the node daemon where left out.
    #[serde(default)]
    pub owner: OwnerEntry,
    /// What it is: `process`, `library`, `plugin`, `parser-file`, `data` or `boot-image`.
    ///
    /// Where left out: `process` with a `process` section, `library` for a shared object with a
    /// soname, `plugin` for one without, `data` for the rest.
    #[serde(rename = "type", default)]
    pub kind: Option<ModuleType>,
    /// What it is for (`routing`, `geo-data`); nodes may choose by it.
    #[serde(default)]
    pub function: Option<String>,
    /// Free characteristics (`size: small`); a node that wants another value of one does not receive
    /// the module.
    #[serde(default)]
    pub characteristics: BTreeMap<String, String>,
    /// Features that it serves, each one of the package's; every node that has the package gets it where left out.
    #[serde(default)]
    pub features: BTreeSet<String>,
    /// Named interfaces that it provides, each with `name` and `version`.
    #[serde(default)]
    pub provides: BTreeSet<ApiEntry>,
    /// Named interfaces that it uses.
    #[serde(default)]
    pub uses: BTreeSet<ApiEntry>,
    /// Dependencies that the linker cannot see: libraries opened at run time, plug-ins.
    #[serde(default)]
    pub supplemental: Vec<SupplementalEntry>,
    /// Modules that it uses only when they are present.
    #[serde(default)]
    pub optional: BTreeSet<ModulePath>,
    /// Set for a process that nodes start and supervise.
    #[serde(default)]
    pub process: Option<ProcessEntry>,
    /// Confirms that a simple process that can open libraries at run time opens none that need
    /// to be named in `supplemental`.
    #[serde(default)]
    pub acknowledge_opens: bool,
}

/// How messages call it before its modules are known.
impl fmt::Display for ModuleEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, &self.sources) {
            (_, Some(sources)) => sources.value.fmt(f),
            (Some(path), None) => path.fmt(f),
            (None, None) => f.write_str("without a path"),
        }
    }
}

/// Who owns an installed file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OwnerEntry {
    /// User name; or a number, where the node has no such name.
    #[serde(default)]
    pub user: Option<String>,
    /// Group name; or a number, where the node has no such name.
    #[serde(default)]
    pub group: Option<String>,
}

/// A dependency that the linker cannot see.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SupplementalEntry {
    /// Any one of these modules satisfies it; a change of any that is present affects the user.
    pub one_of: BTreeSet<ModulePath>,
}

/// A named interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiEntry {
    /// Its name.
    pub name: String,
    /// Its version; a user needs exactly this text.
    pub version: String,
}

/// A rule that objects on behalf of a process.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleEntry {
    /// The name by which it stands in a verdict.
    pub name: ProcessName,
    /// A CEL expression over `node` and `change`; it objects where this is true.
    pub rule: String,
    /// What people are told then.
    pub message: String,
}

/// How a process is run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessEntry {
    /// Its name on the node; the file name of its path where left out.
    #[serde(default)]
    pub name: Option<ProcessName>,
    /// `simple`: restarted when a change affects it. `self-managing`: registers, votes, and handles
    /// changes itself.
    pub kind: ProcessKind,
    /// Arguments after the program's name.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Environment variables beside those that Placet sets.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Processes start in ascending order and stop in descending order; 0 where left out.
    #[serde(default)]
    pub start_order: i32,
    /// True if it says `READY=1` on `NOTIFY_SOCKET`; otherwise it is ready once executed.
    #[serde(default)]
    pub notify: bool,
    /// Seconds that it may take to become ready, or as a test to end; 30 where left out.
    #[serde(default)]
    pub ready_seconds: Option<u32>,
    /// Seconds between the stop signal and SIGKILL; 10 where left out.
    #[serde(default)]
    pub stop_seconds: Option<u32>,
    /// Seconds that it may take to vote, to prepare, and to be done with a change; 5 where left
    /// out.
    #[serde(default)]
    pub vote_seconds: Option<u32>,
    /// What its silence counts as: `no-answer` (the default), `accept` or `veto`.
    #[serde(default)]
    pub silence: Silence,
    /// The user that it runs as; the node daemon's where left out.
    #[serde(default)]
    pub user: Option<String>,
    /// The group that it runs as; that of its user, or the node daemon's, where left out.
    #[serde(default)]
    pub group: Option<String>,
    /// The folder that it starts in, absolute; its run-time folder where left out.
    #[serde(default)]
    pub working_directory: Option<String>,
    /// What it may use at most: `openFiles`, `coreBytes`, `fileBytes`, `lockedBytes`,
    /// `addressBytes` for each process; `memoryBytes`, `tasks`, `cpuPercent` for it with all its
    /// children, where the node has cgroups.
    #[serde(default)]
    pub limits: Limits,
    /// Sockets that the node opens for it and holds while it restarts, so that no connection is
    /// refused meanwhile. It finds them by `LISTEN_FDS` and `LISTEN_FDNAMES`.
    #[serde(default)]
    pub sockets: Vec<ListenSocket>,
    /// How many descriptors it may have stored (`FDSTORE=1`) beside its saved state; 0 where left
    /// out.
    #[serde(default)]
    pub stored_descriptors: u32,
    /// Seconds within which it has to say `WATCHDOG=1` again and again; never where left out.
    #[serde(default)]
    pub watchdog_seconds: u32,
    /// The signal that asks it to end: `TERM` (the default), `INT`, `QUIT`, `USR1`, `USR2` or
    /// `WINCH`.
    #[serde(default)]
    pub stop_signal: StopSignal,
    /// The signal that asks it to read its files again: `HUP` (the default), `USR1` or `USR2`.
    #[serde(default)]
    pub reload_signal: ReloadSignal,
    /// The command that says whether it does its work, after each change that touches it.
    #[serde(default)]
    pub health: Option<HealthCommand>,
    /// The formats of saved state that it writes (`saves`) and reads (`restores`), as `session/3`.
    #[serde(default)]
    pub state: StateFormats,
    /// Modules in whose change it has an interest, though it does not map them: `paths`, `types`,
    /// `functions`, and the `action`, which is `reload` (the default), `restart` or `nothing`.
    #[serde(default)]
    pub follows: Vec<Follow>,
    /// Rules that object on its behalf, each with `name`, `rule` and `message` as in a node class.
    #[serde(default)]
    pub rules: Vec<RuleEntry>,
    /// The command that votes on its behalf, of the generation that runs now: with the change set
    /// as JSON on standard input it exits with 0 to accept, with 1 to veto with the message on
    /// standard error, with 75 to defer.
    #[serde(default)]
    pub vote_command: Option<VoteCommand>,
    /// The logic that decides on its behalf, of the generation that runs now: a WebAssembly module
    /// that is given the change, the node and the files that it names, and nothing else. The same
    /// bytes decide in `placet check`.
    #[serde(default)]
    pub vote_logic: Option<VoteLogic>,
}
