//! `placet package tags`.

use clap::Args;
use serde_json::json;

use super::storage;
use crate::arguments::{Common, Login};
use crate::output::{self, Answer, Format};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  placet package tags oci://registry.example.org/fleet/chat")]
pub(crate) struct Tags {
    /// The repository: `oci://HOST/REPOSITORY`.
    pub(crate) repository: String,
    #[command(flatten)]
    pub(crate) login: Login,
}

/// `placet package tags`.
pub(crate) async fn run(arguments: &Tags, common: &Common) -> anyhow::Result<Answer> {
    let repository = storage::repository(&arguments.repository)?;
    let registry = storage::connect(&repository, &arguments.login).await?;
    let tags = registry.tags(&repository).await?;
    if common.output == Format::Table {
        for tag in tags {
            anstream::println!("{tag}");
        }
    } else {
        output::print(&json!({"tags": tags}), common.output)?;
    }
    Ok(Answer::Done)
}
