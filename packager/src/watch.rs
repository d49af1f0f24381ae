//! How a build tells what it does, and is asked to stop.

use std::ops::ControlFlow;

use placet_model::ModulePath;

/// What a build does at the moment.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// A build command runs; told when it starts and ten times a second.
    Command {
        /// Which, from 1.
        number: usize,
        /// How many there are.
        count: usize,
        /// The command.
        command: &'a str,
        /// The last line that it wrote.
        line: &'a str,
    },
    /// An image comes from a registry; told ten times a second.
    Fetching {
        /// Bytes that have come.
        bytes: u64,
        /// Bytes of all its layers, compressed.
        of: u64,
    },
    /// An archive is read; told often.
    Reading {
        /// Bytes that were read.
        bytes: u64,
        /// Bytes of the whole file, or of all layers of an image, compressed.
        of: u64,
    },
    /// A module is read.
    Module {
        /// Which, from 1.
        number: usize,
        /// How many there are.
        count: usize,
        /// Where it is installed.
        path: &'a ModulePath,
    },
}

/// Follows a build. It is cancelled, and its commands end, at the first `Break`.
pub type Watch<'a> = &'a dyn Fn(Step<'_>) -> ControlFlow<()>;

/// Lets a build go on to its end.
pub(crate) fn unwatched(_: Step<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
