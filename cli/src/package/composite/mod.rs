//! `placet package composite`: one artifact with packages, boot images and declarations.

mod build;
mod fill;
mod inspect;
mod install;
mod tree;

use clap::Subcommand;

use crate::arguments::Common;
use crate::output::{self, Answer, Format};

#[derive(Debug, Subcommand)]
pub(crate) enum CompositeCommand {
    /// Build a composite from its composite file.
    Build(build::Build),
    /// Show what a composite carries.
    Inspect(inspect::Inspect),
    /// Fill a registry or layout with the packages of a composite, and write its declarations into a
    /// git working tree.
    Install(install::Install),
    /// Print the JSON schema of composite files, for editors.
    #[command(
        after_help = "Example:\n  placet package composite schema > composite.schema.json\n\nA file that begins with `# yaml-language-server: $schema=composite.schema.json` is completed\nand checked by editors."
    )]
    Schema,
}

/// `placet package composite`.
pub(crate) async fn run(command: &CompositeCommand, common: &Common) -> anyhow::Result<Answer> {
    match command {
        CompositeCommand::Build(arguments) => build::run(arguments, common).await,
        CompositeCommand::Inspect(arguments) => inspect::run(arguments, common).await,
        CompositeCommand::Install(arguments) => install::run(arguments, common).await,
        CompositeCommand::Schema => {
            let schema = placet_packager::CompositeFile::schema();
            let format = match common.output {
                Format::Table => Format::Json,
                format => format,
            };
            output::print(&schema, format)?;
            Ok(Answer::Done)
        }
    }
}
