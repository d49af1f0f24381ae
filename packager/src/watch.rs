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
