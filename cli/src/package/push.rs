//! `placet package push`.

use anyhow::bail;
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
  placet package push packages/chat oci://registry.example.org/fleet/chat
  placet package push oci-layout:packages/chat:1.1.0 oci://registry.example.org/fleet/chat:1.1.0
  placet package push packages/chat oci+http://127.0.0.1:5000/chat     A registry on this machine")]
pub(crate) struct Push {
    /// The package: `oci-layout:DIR:TAG`, or the folder of a layout that holds one.
    #[arg(value_name = "LAYOUT_OR_DIR")]
    pub(crate) source: String,
    /// Where to: `oci://HOST/REPOSITORY:TAG`; without a tag, the version becomes one.
    pub(crate) reference: String,
    #[command(flatten)]
    pub(crate) login: Login,
}

/// `placet package push`.
pub(crate) async fn run(arguments: &Push, common: &Common) -> anyhow::Result<Answer> {
    let (from, selector) = storage::source(&arguments.source, &Login::default()).await?;
    let Opened::Layout(layout) = &from else {
        bail!(
            "`{}` is in a registry; use `placet package copy`",
            arguments.source
        );
    };
    // What is no reference to a registry is refused before anything is opened there.
    if !storage::is_registry(&arguments.reference) {
        storage::remote(&arguments.reference)?;
    }
    let (to, tag) = storage::target(&arguments.reference, &arguments.login, None).await?;
    let tag = match tag {
        Some(tag) => tag,
        None => version(layout, &selector)?,
    };
    let options = CopyOptions {
        selector: &selector,
        name: Name::Tag(&tag),
        referrers: true,
    };
    let bar = Bar::new("pushing");
    let copied = copy(from.place(), to.place(), options, &bar).await?;
    drop(bar);
    storage::show(
        &to.name(&Selector::Tag(tag.clone())),
        &copied,
        common.output,
    )
}

fn version(layout: &Layout, selector: &Selector) -> anyhow::Result<String> {
    let digest = layout.resolve(selector)?;
    Ok(layout.metadata(&digest)?.config.version.tag())
}
