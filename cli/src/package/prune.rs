//! `placet package prune`.

use std::path::Path;

use clap::Args;
use indicatif::HumanBytes;
use placet_package::Layout;
use serde_json::json;

use crate::arguments::Common;
use crate::output::{self, Answer, Format};

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  placet package prune packages/chat

Every package stays, named by a tag or not: `placet package remove` removes those.")]
pub(crate) struct Prune {
    /// The layout: `oci-layout:DIR`, or its folder.
    #[arg(value_name = "LAYOUT")]
    pub(crate) layout: String,
}

/// `placet package prune`.
pub(crate) fn run(arguments: &Prune, common: &Common) -> anyhow::Result<Answer> {
    let text = &arguments.layout;
    let folder = text.strip_prefix("oci-layout:").unwrap_or(text);
    let freed = Layout::open(Path::new(folder))?.prune()?;
    if common.output == Format::Table {
        anstream::println!("{} blobs freed ({})", freed.blobs, HumanBytes(freed.bytes));
    } else {
        let value = json!({"blobs": freed.blobs, "bytes": freed.bytes});
        output::print(&value, common.output)?;
    }
    Ok(Answer::Done)
}
