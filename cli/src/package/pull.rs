//! `placet package pull`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use placet_package::copy::{CopyOptions, Name, copy};
use placet_package::{Layout, Selector};

use super::progress::Bar;
use super::storage::{self, Opened};
use crate::arguments::{Common, Login};
use crate::output::Answer;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package pull oci://registry.example.org/fleet/chat:1.1.0 packages/chat
  placet package pull oci://registry.example.org/fleet/chat@sha256:… packages/chat -o json
  placet package pull oci://registry.example.org/chat:1 chat --ca-file ca.crt \\
      --username ann --password-file password")]
pub(crate) struct Pull {
    /// The package: `oci://HOST/REPOSITORY:TAG` or `oci://HOST/REPOSITORY@sha256:…`.
    pub(crate) reference: String,
    /// The folder of the layout; made if absent.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    #[command(flatten)]
    pub(crate) login: Login,
}

/// `placet package pull`.
pub(crate) async fn run(arguments: &Pull, common: &Common) -> anyhow::Result<Answer> {
    let reference = storage::remote(&arguments.reference)?;
    let registry = storage::connect(&reference, &arguments.login).await?;
    let selector = reference.selector.clone();
    let from = Opened::Repository(Arc::new(registry), reference);
    let to = Opened::Layout(Layout::create(&arguments.folder)?);
    let options = CopyOptions {
        selector: &selector,
        name: match &selector {
            Selector::Tag(tag) => Name::Tag(tag),
            Selector::Digest(_) => Name::Digest,
        },
        referrers: true,
    };
    let bar = Bar::new("pulling");
    let copied = copy(from.place(), to.place(), options, &bar).await?;
    drop(bar);
    storage::show(&to.name(&selector), &copied, common.output)
}
