//! Symbols that nothing defines which a process would load.

use std::collections::BTreeSet;
use std::fmt;

use placet_model::{ModulePath, NodeName, PackageName, ProcessName, Version, few, visible};

use crate::problem::{Candidates, Names};

/// Symbols that a module imports and that nothing defines which its processes would load.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingSymbols {
    /// The nodes.
    pub nodes: BTreeSet<NodeName>,
    /// The package of the module.
    pub package: PackageName,
    /// The module that imports them.
    pub module: ModulePath,
    /// The symbols: `name`, or `name@version`.
    pub symbols: BTreeSet<String>,
    /// The library that should define them, by the name under which the module needs it; none where
    /// that is not known.
    pub library: Option<String>,
    /// The programs that load the module and in which they are missing, or the module itself.
    pub loaded_by: BTreeSet<ModulePath>,
    /// The processes as which these run.
    pub processes: BTreeSet<ProcessName>,
    /// Packages whose library of that name defines all of them.
    pub candidates: Vec<String>,
    /// With what the module runs where they are not missing yet. What nodes run is no part of a
    /// target, and so only plans know it.
    pub now: Option<RunsWith>,
}

/// What a module runs with on a node as the fleet is now, of what it would not run with any more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunsWith {
    /// The first node on which it does.
    pub node: NodeName,
    /// The libraries with other symbols than they are to have.
    pub libraries: BTreeSet<RunningLibrary>,
}

/// A library that a node runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunningLibrary {
    /// Its path.
    pub path: ModulePath,
    /// Its package.
    pub package: PackageName,
    /// The package's version.
    pub version: Version,
}

/// Enough to see what is meant, few enough for a line.
const SYMBOLS_SHOWN: usize = 5;

impl fmt::Display for MissingSymbols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            nodes,
            package,
            module,
            symbols,
            library,
            loaded_by: _,
            processes,
            candidates,
            now,
        } = self;
        write!(f, "{}: {module} of package {package} needs ", Names(nodes))?;
        write_list(f, "symbol", symbols.iter().map(String::as_str))?;
        match library {
            Some(library) => write!(f, ", which {} does not define", visible(library))?,
            None => f.write_str(", which nothing defines that it loads")?,
        }
        if !processes.is_empty() {
            f.write_str(", in ")?;
            write_list(f, "process", processes.iter().map(ProcessName::as_str))?;
        }
        write!(f, "; {}", Candidates(candidates))?;
        match now {
            Some(now) => write!(f, "; {now}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for RunsWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, libraries } = self;
        write!(f, "on node {node} it runs with ")?;
        for (index, library) in libraries.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let RunningLibrary {
                path,
                package,
                version,
            } = library;
            write!(f, "{comma}{path} of {package} {version}")?;
        }
        f.write_str(" now")
    }
}

/// `symbol a`, `symbols a, b and 7 more`.
fn write_list<'a>(
    f: &mut fmt::Formatter<'_>,
    word: &str,
    names: impl ExactSizeIterator<Item = &'a str>,
) -> fmt::Result {
    let plural = match names.len() {
        1 => "",
        _ if word.ends_with('s') => "es",
        _ => "s",
    };
    let shown = few(names, SYMBOLS_SHOWN);
    write!(f, "{word}{plural} {}", visible(&shown))
}
