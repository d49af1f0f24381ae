//! Reading `package.yaml`, and other files that people write, within limits.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_yaml::{Error as YamlError, Location, UserMessageFormatter};

use crate::error::{Error, Place};
use crate::file::PackageFile;
use crate::{contradictions, suite};

/// What a file may have at most.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Bytes.
    pub(crate) size: u64,
    /// Levels of nesting.
    pub(crate) depth: usize,
    /// Values.
    pub(crate) values: usize,
}

pub(crate) const PACKAGE_FILE: Limits = Limits {
    // Far more than 500 modules need.
    size: 1 << 20,
    // The format nests five levels deep.
    depth: 16,
    values: 50_000,
};
const REPEATED_MAX: usize = 10_000;

/// Reads and checks the package file at `path`.
pub(crate) fn read(path: &Path) -> Result<PackageFile, Error> {
    check(path, read_as(path)?)
}

/// Checks the package file `text`, which messages call `path`.
pub(crate) fn from_text(path: &Path, text: &str) -> Result<PackageFile, Error> {
    check(path, parse(text, path, &PACKAGE_FILE)?)
}

/// Reads the file at `path`, which is no larger than a package file, as what it should be.
pub(crate) fn read_as<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = read_text(path, PACKAGE_FILE.size)?;
    parse(&text, path, &PACKAGE_FILE)
}

fn check(path: &Path, file: PackageFile) -> Result<PackageFile, Error> {
    suite::check(path, &file)?;
    contradictions::check(path, &file)?;
    Ok(file)
}

/// What a build reads before it runs anything, from bytes: for tests with damaged files.
///
/// # Errors
///
/// As [`build`](crate::build).
#[doc(hidden)]
pub fn parse_package_file(bytes: &[u8]) -> Result<PackageFile, Error> {
    let path = Path::new("package.yaml");
    let text = std::str::from_utf8(bytes).map_err(|error| Error::Read {
        path: path.to_owned(),
        source: std::io::Error::other(error),
    })?;
    check(path, parse(text, path, &PACKAGE_FILE)?)
}

/// What `text` says, which stands in the file at `path`.
pub(crate) fn parse<T: DeserializeOwned>(
    text: &str,
    path: &Path,
    limits: &Limits,
) -> Result<T, Error> {
    serde_yaml::from_str_with_options(text, options(limits)).map_err(|error| Error::Yaml {
        place: place(path, error.location()),
        message: explain(&error, limits),
    })
}

/// The file at `path`, of at most `most` bytes.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut text = String::new();
    let count = file.take(most + 1).read_to_string(&mut text);
    let size = size.max(count.map_err(failed)? as u64);
    if size > most {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            size,
            most,
        });
    }
    Ok(text)
}

/// Where something stands in the file at `path`.
pub(crate) fn place(path: &Path, location: Option<Location>) -> Place {
    let file = path.to_string_lossy().into_owned();
    let (line, column) = location.map_or((0, 0), |location| (location.line(), location.column()));
    Place { file, line, column }
}

fn explain(error: &YamlError, limits: &Limits) -> String {
    match error.without_snippet() {
        YamlError::AliasError { error, .. } => explain(error, limits),
        YamlError::AliasReplayCounterOverflow { .. }
        | YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. } => {
            format!("aliases repeat more than {REPEATED_MAX} values; write the values out instead")
        }
        YamlError::Budget { .. } => {
            let Limits { values, depth, .. } = limits;
            format!(
                "more than {values} values or {depth} levels, or too many aliases; split the file"
            )
        }
        error => {
            let text = error.render_with_formatter(&UserMessageFormatter);
            let text = text.split(" at line ").next().unwrap_or_default();
            placet_model::visible(text).to_string()
        }
    }
}

fn options(limits: &Limits) -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: limits.depth,
            flow_nesting_limit: limits.depth,
            max_nodes: limits.values,
            max_events: 3 * limits.values,
            max_documents: 1,
            max_anchors: 1_000,
            max_aliases: 1_000,
            max_merge_keys: 1_000,
            max_recorded_anchor_events: PACKAGE_FILE.values,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: REPEATED_MAX,
            max_replay_stack_depth: 16,
            max_alias_expansions_per_anchor: 1_000,
        },
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}
