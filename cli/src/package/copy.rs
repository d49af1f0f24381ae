//! `placet package copy`.

use clap::Args;
use placet_package::Selector;
use placet_package::copy::{CopyOptions, Name, copy};

use super::progress::Bar;
use super::storage::{self, FromLogin};
use crate::arguments::{Common, Login};
use crate::output::Answer;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package copy oci://registry.example.org/fleet/chat:1.1.0 oci-layout:packages/chat
  placet package copy oci://a.example.org/chat:1.1.0 oci://b.example.org/fleet/chat
  placet package copy oci-layout:packages/chat:1.1.0 oci-layout:/media/usb/packages

What is there already does not travel; within one registry nothing does. Signatures, bills of
materials and provenance come along.")]
pub(crate) struct Copy {
    /// The package or composite: `oci-layout:DIR:TAG`, `oci://HOST/REPOSITORY:TAG`, or `@sha256:…`
    /// in the place of `:TAG`.
    pub(crate) from: String,
    /// Where to: `oci-layout:DIR` or `oci://HOST/REPOSITORY`; the tag stays, unless one is given.
    pub(crate) to: String,
    /// Leave behind what refers to it: signatures, bills of materials, provenance.
    #[arg(long)]
    pub(crate) no_referrers: bool,
    #[command(flatten)]
    pub(crate) login: Login,
    #[command(flatten)]
    pub(crate) from_login: FromLogin,
}

/// `placet package copy`.
pub(crate) async fn run(arguments: &Copy, common: &Common) -> anyhow::Result<Answer> {
    let Copy { from, to, .. } = arguments;
    let login = arguments.from_login.or(&arguments.login, from, to);
    let (from, selector) = storage::source(from, &login).await?;
    let (to, tag) = storage::target(to, &arguments.login, Some(&from)).await?;
    let tag = tag.or_else(|| match &selector {
        Selector::Tag(tag) => Some(tag.clone()),
        Selector::Digest(_) => None,
    });
    let options = CopyOptions {
        selector: &selector,
        name: tag.as_deref().map_or(Name::Digest, Name::Tag),
        referrers: !arguments.no_referrers,
    };
    let bar = Bar::new("copying");
    let copied = copy(from.place(), to.place(), options, &bar).await?;
    drop(bar);
    let selector = tag.map_or(Selector::Digest(copied.digest), Selector::Tag);
    storage::show(&to.name(&selector), &copied, common.output)
}
