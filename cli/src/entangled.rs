//! What `package entangled` and `fleet entangled` have in common.

use clap::Args;
use placet_simulator::entangled::{Entangled, Shown, dot, text};
use serde::Serialize;

use crate::arguments::Common;
use crate::output::{self, Format};

/// What is printed, and how.
#[derive(Debug, Args)]
pub(crate) struct Shape {
    /// List groups that touch one process alone, and modules that restart nothing, too.
    #[arg(long)]
    all: bool,
    /// How many dependencies to cut are named for each group.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    pub(crate) cuts: usize,
    /// Print a graph for Graphviz.
    #[arg(long)]
    dot: bool,
}

impl Shape {
    /// True if a graph is printed.
    pub(crate) fn is_graph(&self) -> bool {
        self.dot
    }

    /// Prints `value`, or its parts for people, each under its heading if it has one.
    pub(crate) fn print<'e>(
        &self,
        value: &impl Serialize,
        parts: impl IntoIterator<Item = (&'e str, &'e Entangled)>,
        common: &Common,
    ) -> anyhow::Result<()> {
        if !self.dot && common.output != Format::Table {
            return output::print(&serde_json::to_value(value)?, common.output);
        }
        let shown = Shown {
            all: self.all,
            paint: output::PAINT,
        };
        for (heading, entangled) in parts {
            if self.dot {
                anstream::print!("{}", dot(entangled));
                continue;
            }
            if !heading.is_empty() {
                anstream::println!("{head}{heading}{head:#}", head = output::HEAD);
            }
            anstream::print!("{}", text(entangled, shown));
        }
        Ok(())
    }
}
