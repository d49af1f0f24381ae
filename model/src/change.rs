//! The change set: what differs between two manifests of a node, and which processes it touches.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, ModulePath, ModuleType, PackageName, ProcessKind, ProcessName, Signature, StateFormat,
    Version, VetoRule, visible, wrapped,
};

/// What differs between two manifests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ChangeSet {
    /// Modules that differ, sorted by path.
    pub modules: Vec<ModuleChange>,
    /// Processes affected, in the order in which the system manager handles them: by start order,
    /// then users of a library after the library's own process, then by name.
    pub processes: Vec<ProcessChange>,
    /// Present if the node has to be started anew, from another boot image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<NodeRestart>,
    /// Packages that come to be stored without being active, or are not there any more, in the order
    /// of the manifests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inactive: Vec<InactiveChange>,
}

impl ChangeSet {
    /// True if nothing differs.
    pub fn is_empty(&self) -> bool {
        let Self {
            modules,
            processes,
            restart,
            inactive,
        } = self;
        modules.is_empty() && processes.is_empty() && restart.is_none() && inactive.is_empty()
    }
}

/// The boot image for which a node is started anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeRestart {
    /// The package that holds it.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// Package and version of what it takes the place of, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// A package that comes to be stored without being active, or that was and is not there any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct InactiveChange {
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// True if the new manifest has it.
    pub stored: bool,
}

/// How a module differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Only in the new manifest.
    Added,
    /// In both, with another signature, mode, owner, link target or process definition.
    Changed,
    /// Only in the old manifest.
    Removed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        })
    }
}

/// One module that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ModuleChange {
    /// Where it is installed.
    pub path: ModulePath,
    /// How it differs.
    pub change: Change,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ModuleType,
    /// What the old manifest has; none for an added module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ModuleVersion>,
    /// What the new manifest has; none for a removed module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ModuleVersion>,
}

/// The content of a module at one side of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ModuleVersion {
    /// The package it comes from.
    pub package: PackageName,
    /// That package's version.
    pub version: Version,
    /// Digest of the bytes.
    pub digest: Digest,
    /// Signature of the content.
    pub signature: Signature,
}

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ProcessAction {
    /// It is new and gets started.
    Start,
    /// It is gone from the manifest and gets stopped.
    Stop,
    /// It is stopped and started anew by the system manager.
    Restart,
    /// It follows a module that changes, and gets the signal to read its files again.
    Reload,
    /// It follows a module that changes, and is told if it listens; otherwise it is left alone.
    Notify,
    /// It is self-managing: it is asked, told, and acts by itself or asks for the default, which is
    /// a restart.
    Ask,
}

impl fmt::Display for ProcessAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Notify => "notify",
            Self::Ask => "ask",
        })
    }
}

/// One process that a change touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProcessChange {
    /// Its name on the node.
    pub name: ProcessName,
    /// The module that it runs.
    pub path: ModulePath,
    /// Simple or self-managing; of the old manifest where it is in both.
    pub kind: ProcessKind,
    /// What happens to it.
    pub action: ProcessAction,
    /// Every reason why, sorted; never empty.
    pub because: Vec<Because>,
    /// What becomes of its saved state; none where it saves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<Handover>,
    /// The rules that object on its behalf, as it runs now: those of its package.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<VetoRule>,
}

/// What becomes of the saved state of a process that is started anew (C-S6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Handover {
    /// On the way to the new manifest.
    pub there: Transfer,
    /// On the way back, if the change is given back.
    pub back: Transfer,
}

/// What a successor makes of saved state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Transfer {
    /// There is none.
    Nothing,
    /// It restores all of it.
    Hitless,
    /// It cannot restore some of it, and starts without.
    Cold {
        /// The formats that it does not know.
        unknown: BTreeSet<StateFormat>,
        /// The package and version of the successor.
        to: String,
    },
}

/// Why a change touches a process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(
    tag = "reason",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Because {
    /// The process is in the new manifest only.
    New,
    /// The process is in the old manifest only.
    Gone,
    /// Its own module changed.
    OwnModule,
    /// How it is run changed: arguments, environment, kind, owner or mode.
    Definition,
    /// A library that it maps changed.
    Library {
        /// The library that changed.
        library: ModulePath,
        /// How.
        change: Change,
        /// The libraries between the process and it, nearest to the process first; empty for a
        /// direct user.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        via: Vec<ModulePath>,
    },
    /// A module changed that it follows, though it does not map it.
    Follows {
        /// The module that changed.
        module: ModulePath,
        /// How.
        change: Change,
    },
    /// A module changed on which it depends in a way that the linker cannot see, or which it
    /// opened at run time.
    Opened {
        /// The module that changed.
        module: ModulePath,
        /// How.
        change: Change,
    },
    /// The whole node is started anew.
    NodeRestart(NodeRestart),
}

impl fmt::Display for ChangeSet {
    /// A line for each module, then each process with its reasons, for 80 columns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            modules,
            processes,
            restart,
            inactive,
        } = self;
        if self.is_empty() {
            return writeln!(f, "  nothing that a process could notice");
        }
        if let Some(restart) = restart {
            let text = format!("the node, for {restart}");
            writeln!(f, "  {:8} {}", "restart", wrapped(&text, 11))?;
        }
        modules.iter().try_for_each(|module| module.fmt(f))?;
        inactive.iter().try_for_each(|package| package.fmt(f))?;
        processes.iter().try_for_each(|process| process.fmt(f))
    }
}

impl fmt::Display for NodeRestart {
    /// `its boot image: core-image 1.0.0 -> 1.1.0`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            package,
            version,
            from,
        } = self;
        match from {
            None => write!(f, "its boot image: {package} {version}"),
            Some(from) => write!(
                f,
                "its boot image: {} -> {package} {version}",
                visible(from)
            ),
        }
    }
}

impl fmt::Display for InactiveChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            package,
            version,
            stored,
        } = self;
        if *stored {
            writeln!(
                f,
                "  {:8} {package} {version}, which stays inactive",
                "store"
            )
        } else {
            writeln!(f, "  {:8} {package} {version}, which was inactive", "drop")
        }
    }
}

impl fmt::Display for ModuleChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            change,
            kind,
            from,
            to,
        } = self;
        let path = visible(path.as_str()).to_string();
        write!(f, "  {change:8} {path:36} {kind:11} ")?;
        match (from, to) {
            (Some(from), Some(to)) if from.package == to.package => {
                writeln!(f, "{} {} -> {}", to.package, from.version, to.version)
            }
            (Some(from), Some(to)) => writeln!(
                f,
                "{} {} -> {} {}",
                from.package, from.version, to.package, to.version
            ),
            (Some(one), None) | (None, Some(one)) => writeln!(f, "{} {}", one.package, one.version),
            (None, None) => writeln!(f),
        }
    }
}

impl fmt::Display for ProcessChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            path: _,
            kind: _,
            action,
            because,
            handover,
            rules: _,
        } = self;
        writeln!(f, "  {action:8} {name}")?;
        let because = because.iter().map(ToString::to_string);
        for line in because.chain(handover.iter().flat_map(Handover::lines)) {
            writeln!(f, "      {}", wrapped(&line, 6))?;
        }
        Ok(())
    }
}

impl Handover {
    /// What people are told of it, a sentence a line.
    pub fn lines(&self) -> Vec<String> {
        let Self { there, back } = self;
        let there = match there {
            Transfer::Nothing => None,
            Transfer::Hitless => Some("hitless: its successor takes over what it saves".to_owned()),
            Transfer::Cold { unknown, to } => {
                Some(format!("cold restart: {}", not_known(unknown, to)))
            }
        };
        let back = match back {
            Transfer::Nothing | Transfer::Hitless => None,
            Transfer::Cold { unknown, to } => Some(format!(
                "the way back would be cold: {}",
                not_known(unknown, to)
            )),
        };
        there.into_iter().chain(back).collect()
    }
}

/// `format session/3 is unknown to chat 1.4.0`
fn not_known(unknown: &BTreeSet<StateFormat>, to: &str) -> String {
    let names: Vec<_> = unknown.iter().map(ToString::to_string).collect();
    let (what, is) = if names.len() == 1 {
        ("format", "is")
    } else {
        ("formats", "are")
    };
    format!(
        "{what} {} {is} unknown to {}",
        names.join(", "),
        visible(to)
    )
}

impl Because {
    /// True if it is an interest alone.
    pub fn is_followed(&self) -> bool {
        matches!(self, Self::Follows { .. })
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("it is new"),
            Self::Gone => f.write_str("it is no longer wanted"),
            Self::OwnModule => f.write_str("its own program changed"),
            Self::Definition => f.write_str("the way it is run changed"),
            Self::Library {
                library,
                change,
                via,
            } if via.is_empty() => {
                write!(f, "it uses {library}, which is {change}")
            }
            Self::Library {
                library,
                change,
                via,
            } => {
                write!(f, "it uses {library}, which is {change}, through ")?;
                for (index, step) in via.iter().enumerate() {
                    let separator = if index > 0 { " and " } else { "" };
                    write!(f, "{separator}{}", visible(step.as_str()))?;
                }
                Ok(())
            }
            Self::Follows { module, change } => {
                write!(f, "it follows {module}, which is {change}")
            }
            Self::Opened { module, change } => write!(f, "it opens {module}, which is {change}"),
            Self::NodeRestart(restart) => write!(f, "the node restarts for {restart}"),
        }
    }
}
